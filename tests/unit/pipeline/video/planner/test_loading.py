"""Which schedulers can be named in a config?"""

from __future__ import annotations

import pytest

from node.errors import ConfigInvalid
from node.pipeline.video.planner.cold_start import ColdStart
from node.pipeline.video.planner.ewma import Ewma
from node.pipeline.video.planner.fixed import Fixed
from node.pipeline.video.planner.loading import load_scheduler
from node.pipeline.video.planner.original import Original
from node.pipeline.video.planner.pid import Pid
from node.pipeline.video.planner.robust import Robust


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("robust", Robust),
        ("ewma", Ewma),
        ("cold_start", ColdStart),
        ("pid", Pid),
        ("fixed", Fixed),
        ("node.pipeline.video.planner.fixed:Fixed", Fixed),
        ("originals:scheduler", Original),
    ],
)
def test_a_scheduler_is_found_by_its_name_or_its_place(name: str, kind: type) -> None:
    assert type(load_scheduler(name)) is kind


@pytest.mark.parametrize("name", ["emwa", "", "nowhere.at.all:X", "node.pipeline.video.planner.fixed:Fluid"])
def test_a_scheduler_that_is_not_there_is_a_problem_of_the_config(name: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"no scheduler '{name}'") as caught:
        load_scheduler(name)
    assert "ewma" in caught.value.hint
    assert [problem.path for problem in caught.value.problems] == ["cloud.scheduler"]
