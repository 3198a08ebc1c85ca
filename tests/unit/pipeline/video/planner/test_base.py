"""Which schedulers can be named in a config?"""

from __future__ import annotations

import pytest

from node.errors import ConfigInvalid
from node.model.video import Resolution
from node.pipeline.video.planner.base import ResourceInfo, load_scheduler
from node.pipeline.video.planner.ewma import Ewma
from node.pipeline.video.planner.fixed import Fixed


@pytest.mark.parametrize(
    ("name", "kind"), [("ewma", Ewma), ("fixed", Fixed), ("node.pipeline.video.planner.fixed:Fixed", Fixed)]
)
def test_a_scheduler_is_found_by_its_name_or_its_place(name: str, kind: type) -> None:
    assert type(load_scheduler(name)) is kind


@pytest.mark.parametrize("name", ["emwa", "", "nowhere.at.all:X", "node.pipeline.video.planner.fixed:Fluid"])
def test_a_scheduler_that_is_not_there_is_a_problem_of_the_config(name: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"no scheduler '{name}'") as caught:
        load_scheduler(name)
    assert "ewma" in caught.value.hint
    assert [problem.path for problem in caught.value.problems] == ["cloud.scheduler"]


@pytest.mark.parametrize(
    ("height", "largest"),
    [(0, Resolution.P1080), (240, Resolution.P360), (480, Resolution.P480), (1000, Resolution.P720), (2160, Resolution.P1080)],
)
def test_no_resolution_above_the_cameras_is_worth_choosing(height: int, largest: Resolution) -> None:
    offered = ResourceInfo((), 25.0, height).resolutions()
    assert offered[0] is Resolution.P360
    assert offered[-1] is largest
