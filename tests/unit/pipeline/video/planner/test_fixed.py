"""Does the fixed scheduler keep to the camera, and to what there is?"""

from __future__ import annotations

from node.model.cluster import ServiceReport
from node.model.video import Constraint, Placement, Resolution, Runtime, StageRole, VideoConf
from node.pipeline.video.planner.base import Choice, NodeResource, ResourceInfo
from node.pipeline.video.planner.fixed import Fixed

DAG = ("face_detection", "face_alignment")


def node(name: str, role: StageRole, rtt_s: float, *services: str) -> NodeResource:
    offered = {each: ServiceReport(name=each, profile={"480p": 0.02}) for each in services}
    return NodeResource(name, role, 2, 0.1, rtt_s, offered)


def plan(*nodes: NodeResource, height: int = 720) -> Choice | None:
    return Fixed().plan("q", DAG, ResourceInfo(nodes, 25.0, height), Runtime(), Constraint())


HOST = node("edge-1", StageRole.HOST, 0.0, *DAG)
PEER = node("edge-2", StageRole.EDGE, 0.002, *DAG)
CLOUD = node("cloud-1", StageRole.CLOUD, 0.02, *DAG)


def test_every_stage_stays_at_the_camera_where_it_is_offered() -> None:
    chosen = plan(CLOUD, PEER, HOST)
    assert chosen is not None
    conf, mapping = chosen
    assert conf == VideoConf(fps=10, resolution=Resolution.P480)
    assert mapping == {stage: Placement(node="edge-1", role=StageRole.HOST) for stage in DAG}


def test_a_stage_that_the_camera_lacks_goes_to_the_nearest_node() -> None:
    chosen = plan(node("edge-1", StageRole.HOST, 0.0, "face_detection"), CLOUD, PEER)
    assert chosen is not None
    assert {stage: place.node for stage, place in chosen[1].items()} == {"face_detection": "edge-1", "face_alignment": "edge-2"}


def test_no_plan_while_a_stage_is_offered_nowhere() -> None:
    assert plan(node("edge-1", StageRole.HOST, 0.0, "face_detection")) is None
    assert plan() is None


def test_a_service_that_was_not_measured_yet_is_no_offer() -> None:
    unmeasured = {each: ServiceReport(name=each) for each in DAG}
    assert plan(NodeResource("edge-1", StageRole.HOST, 2, 0.1, 0.0, unmeasured)) is None


def test_a_small_camera_is_not_blown_up() -> None:
    chosen = plan(HOST, height=360)
    assert chosen is not None
    assert chosen[0].resolution is Resolution.P360


def test_a_camera_of_unknown_size_gets_the_usual_resolution() -> None:
    chosen = plan(HOST, height=0)
    assert chosen is not None
    assert chosen[0].resolution is Resolution.P480
