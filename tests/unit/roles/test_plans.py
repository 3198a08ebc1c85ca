"""Has every picture the plan that it was taken under?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.model.video import Placement, Plan, SafePlan, StageRole, VideoConf
from node.roles.edge.plans import FRAME_LIFE_S, Plans


def plan(epoch: int, node: str = "edge-2") -> Plan:
    role = StageRole.HOST if node == "edge-1" else StageRole.EDGE
    return Plan(epoch=epoch, video_conf=VideoConf(), flow_mapping={"face_detection": Placement(node=node, role=role)})


def test_a_picture_keeps_its_plan_from_start_to_end() -> None:
    plans = Plans("edge-1", plan(1), None)
    assert plans.use(plan(3, "cloud-1"), None)
    assert plans.of(1) == plan(1)
    assert plans.of(3) == plan(3, "cloud-1")


def test_the_safe_plan_is_taken_once_and_left_with_the_next_plan() -> None:
    plans = Plans("edge-1", plan(1), SafePlan(plan=plan(2, "edge-1"), after=1.0))
    assert plans.leaves(plans.now, "face_detection")
    assert plans.fall_back()
    assert not plans.fall_back()
    assert plans.now.epoch == 2
    assert not plans.leaves(plans.now, "face_detection")
    assert not plans.use(plan(1), None)
    assert plans.use(plan(3), None)
    assert not plans.fall_back()


def test_a_picture_has_less_patience_where_a_safe_plan_waits() -> None:
    plans = Plans("edge-1", plan(1), SafePlan(plan=plan(2, "edge-1"), after=1.0))
    assert plans.life(plans.now) == 1.0
    plans.fall_back()
    assert plans.life(plans.now) == FRAME_LIFE_S


def test_only_other_nodes_of_the_plan_can_be_lacking() -> None:
    plans = Plans("edge-1", plan(1), None)
    assert plans.lacks(lambda node: False) == ["edge-2"]
    assert Plans("edge-1", plan(1, "edge-1"), None).lacks(lambda node: False) == []


@given(st.lists(st.one_of(st.integers(1, 20), st.just("back")), max_size=30))
def test_epochs_never_go_down(steps: list[int | str]) -> None:
    plans = Plans("edge-1", plan(1), None)
    for step in steps:
        before = plans.now.epoch
        if isinstance(step, int):
            plans.use(plan(step * 2 + 1), SafePlan(plan=plan(step * 2 + 2, "edge-1"), after=1.0))
        else:
            plans.fall_back()
        assert plans.now.epoch >= before
        assert plans.of(plans.now.epoch) == plans.now
