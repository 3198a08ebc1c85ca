"""Does a scheduler of the original's kind find what it knows, and is what it answers checked?"""

from __future__ import annotations

import originals
import pytest
from machines import DAG, LIMIT, SEEN, cloud, host, node, places, resources

from node.errors import Invalid
from node.model.video import Runtime, StageRole
from node.pipeline.video.planner.original import Original


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    originals.asked.clear()


def test_it_is_asked_in_its_own_words() -> None:
    choice = Original(originals.scheduler).plan("q", DAG, resources(host(), cloud()), SEEN, LIMIT)
    assert places(choice) == dict.fromkeys(DAG, "cloud-1")
    assert choice is not None
    assert choice[1][DAG[0]].role is StageRole.CLOUD
    (known,) = originals.asked
    assert known["job_uid"] == "q"
    assert known["dag"]["flow"] == list(DAG)
    assert set(known["resource_info"]) == {"host", "edge", "cloud"}
    assert known["resource_info"]["host"]["edge-1"]["face_detection"]["n_process"] == 4
    assert known["runtime_info"] == {"delay": 0.1, "obj_n": 7.0, "obj_size": 4800.0, "obj_stable": False}
    assert known["user_constraint"] == {"delay": 0.3, "accuracy": 0.9}


def test_before_the_first_result_it_is_told_nothing_so_that_it_starts_cold() -> None:
    Original(originals.scheduler).plan("q", DAG, resources(host()), Runtime(), LIMIT)
    assert originals.asked[0]["runtime_info"] == {}


def test_no_plan_is_asked_for_while_a_stage_is_offered_nowhere() -> None:
    half = node("edge-1", StageRole.HOST, {DAG[0]: (1.0,) * 4}, stages=DAG[:1])
    assert Original(originals.scheduler).plan("q", DAG, resources(half), SEEN, LIMIT) is None
    assert not originals.asked


@pytest.mark.parametrize("conf", [{"fps": 7, "resolution": "720p"}, {"fps": 5}, {"fps": 5, "resolution": "8k"}])
def test_an_answer_that_is_no_plan_is_refused(conf: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(originals.answer, "video_conf", conf)
    with pytest.raises(Invalid, match="no plan"):
        Original(originals.scheduler).plan("q", DAG, resources(host()), SEEN, LIMIT)


def test_a_node_that_is_not_there_is_refused() -> None:
    def far(**known: object) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
        return {"fps": 5, "resolution": "720p"}, {stage: {"node_ip": "edge-9"} for stage in DAG}

    with pytest.raises(Invalid, match="edge-1 are there"):
        Original(far).plan("q", DAG, resources(host()), SEEN, LIMIT)
