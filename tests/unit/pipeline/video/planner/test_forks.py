"""What a pipeline that forks takes, and what a way past the host is worth."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from choices import LIMITS, Given, goal, offers
from hypothesis import given, settings
from machines import CLOUD, DAG, EDGE, LIMIT, SEEN, node, plan_of, resources, seen

from node.model.video import FPS_CHOICES, Constraint, Resolution, StageRole, in_order
from node.pipeline.graph import Dag, check_graph
from node.pipeline.video.planner.base import NodeLink
from node.pipeline.video.planner.choice import BEST, placed_at, rank, uses
from node.pipeline.video.planner.fixed import Fixed
from node.pipeline.video.planner.forks import is_joined, time_of_fork
from node.pipeline.video.planner.lognormal import Time
from node.pipeline.video.planner.offers import Option, Way
from node.pipeline.video.planner.pid import Pid
from node.pipeline.video.planner.robust import Robust

LIST = ((), (0,), (1,))
SPLIT = ((), (0,), (0,))
DIAMOND = ((), (0,), (0,), (1, 2))


def home(seconds: float, lanes: int = 2) -> Option:
    return Option(0, Time(seconds, 0.0), Time(), Time(), seconds / lanes, 0.0, 0.0, 0.0, 0.0, lanes=lanes)


def away(place: int, seconds: float, *, enter: float = 0.1, leave: float = 0.05, **more: object) -> Option:
    return Option(place, Time(seconds, 0.0), Time(enter, 0.0), Time(leave, 0.0), seconds, 1e5, 1e4, enter, leave, **more)


def time(chain: tuple[Option, ...], takes) -> float:
    return time_of_fork(chain, takes).mean


def test_the_longest_way_counts_and_not_the_sum() -> None:
    chain = (home(0.1), home(0.2), home(0.3))
    assert time(chain, LIST) == pytest.approx(0.6)
    assert time(chain, SPLIT) == pytest.approx(0.4)
    assert time((*chain, home(0.05)), DIAMOND) == pytest.approx(0.45)


def test_branches_of_a_node_with_one_worker_run_one_after_the_other() -> None:
    one = (home(0.1, 1), home(0.2, 1), home(0.3, 1))
    assert time(one, SPLIT) == pytest.approx(0.6)
    assert time((one[0], one[1], away(1, 0.3, enter=0.0)), SPLIT) == pytest.approx(0.4)


def test_a_stage_that_shares_its_input_is_no_call_with_the_one_before() -> None:
    chain = (away(1, 0.1), away(1, 0.2), away(1, 0.2))
    assert is_joined(chain, LIST, 1)
    assert not is_joined(chain, SPLIT, 1)
    assert time((*chain,), LIST) == pytest.approx(0.1 + 0.1 + 0.2 + 0.2)
    # there, back, there again to two branches that wait for one worker
    assert time(chain, SPLIT) == pytest.approx(0.1 + 0.1 + 0.05 + 0.1 + 0.2 + 0.2)


def test_what_two_branches_take_from_one_stage_comes_back_once() -> None:
    chain = (away(1, 0.1), home(0.2), away(2, 0.2))
    shares = uses(chain, SPLIT)
    assert shares.sent == 1e5 + 1e4 + 1e5
    assert shares.ways == pytest.approx({1: 0.1 + 0.05, 2: 0.1})


def test_a_way_past_the_host_takes_the_place_of_two_and_sends_nothing_by_it() -> None:
    second = away(2, 0.2, straight={1: Way(Time(0.01, 0.0), 0.008)})
    aim = goal(3, Constraint())
    placed = placed_at((away(1, 0.1), second), aim)
    assert placed.mean == pytest.approx(0.1 + 0.1 + 0.01 + 0.2)
    assert placed.sent == 1e5
    assert uses((away(1, 0.1), second), ()).straight == {(1, 2): 0.008}
    assert time((away(1, 0.1), second), ((), (0,))) == pytest.approx(placed.mean)
    narrow = placed_at((away(1, 0.1), second), goal_between({(1, 2): (0.004, 2.0)}))
    assert narrow.rate_most == pytest.approx(0.5)
    assert narrow.price == pytest.approx(placed.price + 0.016)


def goal_between(between):
    aim = goal(3, Constraint())
    return replace(aim, between=between)


def test_a_list_is_timed_the_same_whether_it_is_taken_for_a_graph_or_not() -> None:
    options = [[home(0.1, 1), away(1, 0.05), away(2, 0.02)] for _ in range(3)]
    aim = goal(3, Constraint())
    for chain in product(*options):
        assert time(chain, LIST) == pytest.approx(placed_at(chain, aim).mean)


@given(offers(stages=3), LIMITS)
@settings(max_examples=6, deadline=None)
def test_nothing_that_was_left_out_of_a_fork_is_better(found: Given, limits: Constraint) -> None:
    aim = goal(3, limits)
    aim = replace(aim, takes=SPLIT)
    every = [
        aim.judge(placed_at(chain, aim), fps, resolution).utility
        for resolution in Resolution
        for chain in product(*found.at(resolution))
        for fps in FPS_CHOICES
    ]
    assert [one.utility for one in rank(found, aim)] == pytest.approx(sorted(every, reverse=True)[:BEST])


GRAPH = {"face_detection": (), "face_alignment": ("face_detection",), "car_detection": ()}
TIMES = EDGE | {"car_detection": EDGE["face_detection"]}


def forked(**more: float):
    dag = Dag.of(check_graph(in_order(GRAPH), GRAPH))
    nodes = (
        node("edge-1", StageRole.HOST, TIMES, stages=dag, workers=1),
        node("edge-2", StageRole.EDGE, TIMES, stages=dag, rtt_s=0.001, workers=1, **more),
    )
    return dag, resources(*nodes)


@pytest.mark.parametrize("make", [Robust, Pid, Fixed])
def test_every_scheduler_places_a_fork(make) -> None:
    dag, info = forked()
    choice = make().plan("q", dag, info, SEEN, LIMIT)
    assert set(choice[1]) == set(dag)


def test_branches_of_one_pipeline_go_to_different_nodes_where_that_is_quicker() -> None:
    dag, info = forked()
    robust = Robust()
    choice = robust.plan("q", dag, info, SEEN, Constraint(latency=0.45))
    assert {choice[1]["car_detection"].node, choice[1]["face_detection"].node} == {"edge-1", "edge-2"}
    told = robust.explain("q").predicted
    alone = sum(TIMES[stage][list(Resolution).index(told.video_conf.resolution)] for stage in dag)
    assert told.latency < alone


def three(link: NodeLink | None):
    """A slow host, a peer that only detects, one that only aligns; between the two a link or none."""
    links = {"edge-3": link} if link else {}
    detector = node("edge-2", StageRole.EDGE, CLOUD, stages=DAG[:1], rtt_s=0.005)
    aligner = node("edge-3", StageRole.EDGE, CLOUD, stages=DAG[1:], rtt_s=0.005)
    return replace(resources(replace(detector, links=links), aligner), owner="edge-1")


def latency(link: NodeLink | None, robust: Robust | None = None):
    robust = robust or Robust(curious=False)
    choice = robust.plan("q", DAG, three(link), SEEN, Constraint(latency=1.0))
    return choice, robust.explain("q").predicted.latency


def test_the_planner_counts_the_link_between_two_nodes_where_there_is_one() -> None:
    over_host, slow = latency(None)
    straight, quick = latency(NodeLink(0.001, bytes_s=1e7, probed_at=1.0))
    assert quick < slow - 0.01
    assert not straight[1]["face_alignment"].by_host
    assert not over_host[1]["face_alignment"].by_host


def test_a_link_that_is_narrower_than_the_way_over_the_host_is_left_alone() -> None:
    choice, took = latency(NodeLink(0.001, bytes_s=4.2e5, probed_at=1.0))
    assert choice[1]["face_alignment"].by_host
    assert took == pytest.approx(latency(None)[1], rel=0.05)


def test_what_a_way_past_the_host_took_is_learned_of_its_own_link() -> None:
    robust = Robust(curious=False)
    choice, before = latency(NodeLink(0.001, bytes_s=1e7, probed_at=1.0), robust)
    plan = plan_of(choice)
    size = list(Resolution).index(plan.video_conf.resolution)
    spent = {stage: CLOUD[stage][size] for stage in DAG}
    hops = {"face_detection": 0.07, "face_alignment": 0.4}
    result = seen(plan, {stage: spent[stage] + hops[stage] for stage in DAG}, hops).replace(direct=("face_alignment",))
    for _ in range(8):
        robust.observe("q", plan, result)
    assert latency(NodeLink(0.001, bytes_s=1e7, probed_at=1.0), robust)[0][1]["face_alignment"].by_host
    assert robust._delays._machine("edge-2", "edge-3").link.value < 0
    assert before < 0.5
