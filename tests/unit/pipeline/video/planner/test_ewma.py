"""Does the scheduler keep what holds, leave what does not, and stay calm in between?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import CLOUD, DAG, EDGE, LIMIT, SEEN, cloud, host, node, places, plan_of, resources, seen

from node.model.cluster import ServiceReport
from node.model.video import FPS_CHOICES, Constraint, Placement, Resolution, Runtime, StageRole
from node.pipeline.video.planner.base import Choice, NodeResource, ResourceInfo
from node.pipeline.video.planner.ewma import Ewma


def choose(ewma: Ewma, info: ResourceInfo, constraint: Constraint = LIMIT) -> Choice | None:
    return ewma.plan("q", DAG, info, SEEN, constraint)


def test_a_quick_camera_edge_keeps_its_pictures_at_home() -> None:
    assert places(choose(Ewma(), resources(host(speed=40.0), cloud()))) == dict.fromkeys(DAG, "edge-1")


def test_a_slow_camera_edge_gives_its_stages_to_the_cloud() -> None:
    assert "cloud-1" in places(choose(Ewma(), resources(host(), cloud()))).values()


def test_a_lone_slow_edge_takes_fewer_or_smaller_pictures_instead() -> None:
    slow, quick = (choose(Ewma(), resources(host(speed))) for speed in (1.0, 40.0))
    assert slow is not None
    assert quick is not None
    assert (slow[0].fps, slow[0].resolution.size) < (quick[0].fps, quick[0].resolution.size)


def test_a_stage_leaves_a_host_that_proves_too_slow() -> None:
    ewma, info = Ewma(), resources(host(speed=40.0), cloud())
    first = plan_of(choose(ewma, info))
    assert {place.node for place in first.flow_mapping.values()} == {"edge-1"}
    for _ in range(10):
        ewma.observe("q", first, seen(first, {"face_detection": 0.4, "face_alignment": 0.5}))
    assert "cloud-1" in places(choose(ewma, info)).values()


def test_that_a_node_was_slow_once_is_forgotten() -> None:
    ewma, info = Ewma(), resources(host(speed=40.0), cloud())
    first = plan_of(choose(ewma, info))
    for _ in range(10):
        ewma.observe("q", first, seen(first, {"face_detection": 0.4, "face_alignment": 0.5}))
    assert places(ewma.plan("next", DAG, info, SEEN, LIMIT)) != dict.fromkeys(DAG, "edge-1")
    later = replace(info, at=300.0)
    assert places(ewma.plan("much later", DAG, later, SEEN, LIMIT)) == dict.fromkeys(DAG, "edge-1")


def test_one_slow_frame_moves_nothing() -> None:
    ewma, info = Ewma(), resources(host(speed=40.0), cloud())
    first = plan_of(choose(ewma, info))
    times = {stage: 2.5 * EDGE[stage][list(Resolution).index(first.video_conf.resolution)] / 40 for stage in DAG}
    ewma.observe("q", first, seen(first, times))
    assert places(choose(ewma, info)) == dict.fromkeys(DAG, "edge-1")


def test_no_plan_while_nobody_has_measured_a_stage() -> None:
    unmeasured = NodeResource("edge-1", StageRole.HOST, 2, 0.1, 0.0, {stage: ServiceReport(name=stage) for stage in DAG})
    assert choose(Ewma(), resources(unmeasured)) is None
    assert choose(Ewma(), resources()) is None
    assert choose(Ewma(), resources(node("edge-1", StageRole.HOST, EDGE, stages=DAG[:1]))) is None


def test_a_stage_goes_where_it_is_offered() -> None:
    half = node("edge-1", StageRole.HOST, EDGE, speed=40.0, stages=DAG[:1])
    assert places(choose(Ewma(), resources(half, cloud())))["face_alignment"] == "cloud-1"


def test_a_little_better_is_not_worth_a_switch() -> None:
    ewma = Ewma()
    first = choose(ewma, resources(host(speed=20.0)))
    assert choose(ewma, resources(host(speed=20.0), node("edge-2", StageRole.EDGE, EDGE, speed=20.4, rtt_s=1e-4))) == first


def test_nothing_new_changes_nothing() -> None:
    ewma, info = Ewma(), resources(host(), cloud())
    assert len({str(choose(ewma, info)) for _ in range(50)}) == 1


def test_a_node_that_has_gone_is_left_at_once() -> None:
    ewma = Ewma()
    assert "cloud-1" in places(choose(ewma, resources(host(), cloud()))).values()
    assert places(choose(ewma, resources(host()))) == dict.fromkeys(DAG, "edge-1")


def test_the_predicted_delay_keeps_to_the_limit_wherever_it_can() -> None:
    for limit in (0.3, 0.2, 0.1):
        info = resources(host(), cloud())
        conf, mapping = (
            plan_of(choose(Ewma(), info, Constraint(delay=limit))).video_conf,
            places(choose(Ewma(), info, Constraint(delay=limit))),
        )
        column = list(Resolution).index(conf.resolution)
        seconds = sum({"edge-1": EDGE, "cloud-1": CLOUD}[at][stage][column] for stage, at in mapping.items())
        assert seconds / (25.0 / min(conf.fps, 25.0) + 1) <= limit


def test_a_tighter_latency_takes_smaller_pictures() -> None:
    calm = SEEN.replace(obj_size=200.0**2, obj_speed=20.0)
    loose, tight = (Ewma().plan("q", DAG, resources(cloud()), calm, Constraint(latency=limit)) for limit in (2.0, 0.2))
    assert loose is not None
    assert tight is not None
    assert tight[0].resolution.size < loose[0].resolution.size


def test_a_far_node_is_left_out_where_the_way_takes_too_long() -> None:
    wanted = Constraint(latency=0.3)
    assert places(choose(Ewma(), resources(host(speed=8.0), cloud(rtt_s=2.0)), wanted)) == dict.fromkeys(DAG, "edge-1")


@pytest.mark.parametrize("height", [360, 480, 720, 1080])
def test_no_resolution_above_the_cameras_is_chosen(height: int) -> None:
    chosen = choose(Ewma(), resources(host(speed=1000.0), fps=25.0, height=height), Constraint())
    assert chosen is not None
    assert chosen[0].resolution.size[1] <= height


def test_a_query_that_is_over_is_forgotten_and_the_others_are_not() -> None:
    ewma, info = Ewma(), resources(host(speed=20.0))
    kept = ewma.plan("other", DAG, info, SEEN, LIMIT)
    choose(ewma, info)
    ewma.forget("q")
    ewma.forget("q")
    better = resources(host(speed=20.0), node("edge-2", StageRole.EDGE, EDGE, speed=20.4, rtt_s=1e-4))
    assert ewma.plan("other", DAG, better, SEEN, LIMIT) == kept


def test_a_result_of_an_unknown_node_teaches_nothing_and_harms_nothing() -> None:
    ewma, info = Ewma(), resources(host(speed=40.0))
    first = plan_of(choose(ewma, info))
    strange = first.replace(flow_mapping={stage: Placement(node="edge-9", role=StageRole.EDGE) for stage in DAG})
    ewma.observe("q", strange, seen(strange, dict.fromkeys(DAG, 9.0)))
    ewma.observe("q", first, seen(first, {}))
    assert choose(ewma, info) == (first.video_conf, first.flow_mapping)


@given(
    speeds=st.lists(st.floats(0.05, 100.0), min_size=1, max_size=6),
    fps=st.floats(1.0, 120.0),
    height=st.integers(0, 4000),
    limit=st.one_of(st.none(), st.floats(0.01, 10.0)),
    objects=st.floats(0.0, 200.0),
)
def test_whatever_the_machines_are_the_choice_is_one_that_they_offer(
    speeds: list[float], fps: float, height: int, limit: float | None, objects: float
) -> None:
    nodes = [node("edge-0", StageRole.HOST, EDGE, speed=speeds[0])]
    nodes += [
        node(f"edge-{place}", StageRole.EDGE, EDGE, speed=speed, rtt_s=0.005) for place, speed in enumerate(speeds[1:], 1)
    ]
    info = resources(*nodes, fps=fps, height=height)
    chosen = Ewma().plan("q", DAG, info, Runtime(obj_n=objects), Constraint(delay=limit))
    assert chosen is not None
    conf, mapping = chosen
    assert conf.fps in FPS_CHOICES
    assert conf.resolution in info.resolutions()
    assert tuple(mapping) == DAG
    assert {place.node for place in mapping.values()} <= {each.name for each in nodes}
    assert all((place.role is StageRole.HOST) == (place.node == "edge-0") for place in mapping.values())
