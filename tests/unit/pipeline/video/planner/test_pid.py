"""Does the controller find its rung, and come back?"""

from __future__ import annotations

from machines import DAG, SEEN, cloud, host, node, places, resources

from node.model.video import Constraint, Runtime, StageRole
from node.pipeline.video.planner.base import Choice
from node.pipeline.video.planner.pid import Pid

LIMIT = Constraint(latency=0.5)


def drive(pid: Pid, latency: float, begin: float, seconds: float) -> Choice:
    choice: Choice | None = None
    for tick in range(int(seconds)):
        figures = SEEN.replace(latency_p50=latency, fps=10.0)
        choice = pid.plan("q", DAG, resources(host(), cloud(), at=begin + tick), figures, LIMIT)
    assert choice is not None
    return choice


def test_a_pid_that_is_rebuilt_every_tick_and_never_moves_work_back() -> None:
    """Here it remembers, and what it gave up for the sake of the delay comes back when there is time again."""
    pid = Pid()
    first = pid.plan("q", DAG, resources(host(), cloud()), Runtime(), LIMIT)
    assert first is not None
    slow = drive(pid, 2.0, 1.0, 60.0)
    assert (slow[0].fps, slow[0].resolution.size) <= (first[0].fps, first[0].resolution.size)
    assert slow != first
    back = drive(pid, 0.1, 100.0, 120.0)
    assert (back[0].fps, back[0].resolution.size) > (slow[0].fps, slow[0].resolution.size)


def test_a_delay_at_the_set_point_turns_nothing() -> None:
    pid = Pid()
    first = pid.plan("q", DAG, resources(host(), cloud()), Runtime(), LIMIT)
    assert drive(pid, 0.425, 1.0, 60.0) == first


def test_each_rung_is_more_accurate_and_slower_than_the_one_below() -> None:
    pid, calm = Pid(), SEEN.replace(obj_size=300.0**2, obj_speed=20.0, latency_p50=0.05, fps=10.0)
    chosen = []
    for at in range(0, 90, 3):
        choice = pid.plan("q", DAG, resources(host(), cloud(), at=at), calm, LIMIT)
        assert choice is not None
        if not chosen or chosen[-1] != choice:
            chosen.append(choice)
    sizes = [(choice[0].resolution.size, choice[0].fps) for choice in chosen]
    assert len(sizes) == len(set(sizes)) > 1


def test_a_node_that_is_gone_is_not_on_the_ladder() -> None:
    pid = Pid()
    pid.plan("q", DAG, resources(host(), cloud()), Runtime(), LIMIT)
    assert set(places(pid.plan("q", DAG, resources(host(), at=1.0), SEEN, LIMIT)).values()) == {"edge-1"}


def test_no_plan_while_a_stage_is_offered_nowhere() -> None:
    half = node("edge-1", StageRole.HOST, {DAG[0]: (0.1,) * 4}, stages=DAG[:1])
    assert Pid().plan("q", DAG, resources(half), SEEN, LIMIT) is None
