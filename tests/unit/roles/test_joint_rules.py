"""When the parts of a joint task start, and what their ends mean."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from node.errors import Invalid
from node.model.task import Artifact, Joint, Task, TaskRequest, TaskState
from node.model.value import new_id
from node.roles.shared.joint_rules import (
    Done,
    GiveUp,
    Start,
    Wait,
    barrier,
    outcome,
    part_id,
    planned_combine,
    planned_parts,
)

PARENT = new_id("t", 1.0)


def part(node: str, state: str, *, stopping: bool = False, reason: str = "") -> Task:
    id = part_id(PARENT, 1, node, 1.0)
    words = {"id": id, "state": TaskState(state), "node": node, "stopping": stopping, "reason": reason, "parent": PARENT}
    return Task.model_validate({**words, "created_at": 1.0, "updated_at": 1.0})


def joint_task(**changes: object) -> Task:
    words = {"id": PARENT, "name": "fit", "state": TaskState.RUNNING, "node": "cloud-1", "origin": "cloud-1", "round": 1}
    return Task.model_validate({**words, "created_at": 1.0, "updated_at": 1.0, **changes})


def test_parts_start_once_all_are_ready_and_not_before() -> None:
    verdict = barrier([part("a", "ready"), part("b", "staging", reason="fetches")], 1, late=False)
    assert verdict == Wait("waits for b: fetches")
    both = [part("a", "ready"), part("b", "ready")]
    assert barrier(both, 2, late=False) == Start((both[0].id, both[1].id), "2 of 2 are ready")


def test_after_the_deadline_a_quorum_starts_without_the_late_ones() -> None:
    parts = [part("a", "ready"), part("b", "staging"), part("c", "ready")]
    assert barrier(parts, 2, late=True) == Start((parts[0].id, parts[2].id), "2 of 3 are ready")
    verdict = barrier(parts, 3, late=True)
    assert verdict == GiveUp("2 of 3 were ready in time, 3 are needed; a: ready; b: staging; c: ready")


def test_nobody_waits_for_the_deadline_where_a_quorum_is_out_of_reach() -> None:
    parts = [part("a", "ready"), part("b", "failed", reason="refused: nobody's code")]
    assert barrier(parts, 2, late=False) == GiveUp("1 of 2 can start, 2 are needed; a: ready; b: refused: nobody's code")
    assert isinstance(barrier(parts, 1, late=False), Start)


def test_a_part_that_is_told_to_stop_is_not_started() -> None:
    assert isinstance(barrier([part("a", "ready", stopping=True)], 1, late=False), GiveUp)


def test_parts_are_waited_for_as_long_as_enough_may_finish() -> None:
    parts = [part("a", "finished"), part("b", "running"), part("c", "failed", reason="exit: 3")]
    assert outcome(parts, 2) == Wait("1 of 3 run")
    assert outcome(parts, 3) == GiveUp("2 of 3 can finish, 3 are needed; b: running; c: exit: 3")
    over = [parts[0], part("b", "finished"), parts[2]]
    assert outcome(over, 2) == Done((over[0], over[1]))


def test_a_part_knows_which_one_it_is_and_has_the_same_id_when_it_is_planned_again() -> None:
    request = TaskRequest(script="pass", config={"rate": 0.1}, joint=Joint(rounds=2, combine={"script": "pass"}))
    first, second = planned_parts(joint_task(), request, ["a", "b"], 1, ())
    assert first[1].config["rate"] == 0.1
    told = {"part": 1, "node": "b", "parts": 2, "nodes": ["a", "b"], "round": 1, "rounds": 2}
    assert second[1].config["joint"] == told
    assert (second[0].name, second[0].held, second[0].node, second[1].joint) == ("fit/1/b", True, "b", None)
    assert planned_parts(joint_task(), request, ["a", "b"], 1, ())[1][0].id == second[0].id
    assert planned_parts(joint_task(), request, ["a", "b"], 2, ())[1][0].id != second[0].id


def test_what_combines_finds_what_each_part_has_left() -> None:
    joint = Joint(combine={"script": "pass"})
    made = part("a", "finished").replace(artifacts=(Artifact(path="m/w.npy", blob="0" * 64, size=3),))
    task, request = planned_combine(joint_task(), joint, [made], ())
    assert [file.path for file in request.data] == ["a/m/w.npy"]
    assert (task.node, task.held, task.name) == ("cloud-1", False, "fit/combine")
    many = made.replace(artifacts=tuple(made.artifacts[0].replace(path=str(n)) for n in range(200)))
    with pytest.raises(Invalid, match="400 files"):
        planned_combine(joint_task(), joint, [many, many.replace(node="b")], ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"joint": {"nodes": ["a", "a"]}},
        {"joint": {"nodes": ["a"], "quorum": 2}},
        {"joint": {"rounds": 2}},
        {"joint": {}, "node": "a"},
        {"joint": {}, "config": {"joint": 1}},
    ],
)
def test_a_joint_task_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TaskRequest.model_validate({"script": "pass", **wrong})
