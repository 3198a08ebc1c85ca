"""Stages on two other edges, as real processes: what the one gives goes straight to the other, also while one is killed."""

from __future__ import annotations

import pytest
from systems import FAST, all_results, connect, measured, until

from node.cli.system import LocalSystem
from node.client import Client
from node.model.document import PlanChoice
from node.model.video import Placement, QueryRequest, StageRole, Tally, VideoConf

PIPELINE = ("face_detection", "face_alignment")


GRAPH = {"face_detection": [], "face_alignment": ["face_detection"], "motion_detection": []}


def over(detection: str, alignment: str, **more: str) -> PlanChoice:
    nodes = {"face_detection": detection, "face_alignment": alignment, **more}
    mapping = {stage: Placement(node=node, role=StageRole.EDGE) for stage, node in nodes.items()}
    return PlanChoice(video_conf=VideoConf(fps=10, resolution="480p"), flow_mapping=mapping)


@pytest.fixture(scope="module")
def system(clips, assets):
    with LocalSystem(3, [clips["lobby"]], assets, pace=FAST) as running:
        running.start()
        with connect(running) as client:
            until(lambda: measured(client, running.names) and linked(client), 60)
        yield running


@pytest.fixture
def client(system):
    with connect(system) as connected:
        yield connected


def linked(client: Client) -> bool:
    """Whether each edge has told that it has links to the others and to the cloud."""
    return all(len(view.report.links) >= 3 for view in client.nodes())


def is_exact(tally: Tally) -> bool:
    return tally.captured == tally.processed + tally.skipped + tally.failed


def test_branches_of_a_graph_run_on_three_nodes_and_the_longest_is_the_delay(client):
    spec = {"node": "edge-1", "source": "lobby", "pipeline": GRAPH, "constraint": {"accuracy": 0.8}}
    query = client.submit(spec)
    first = until(lambda: client.results(query.id, 0, 1).items)
    assert set(first[0].stage_ms) == set(GRAPH), "the plan of the scheduler's own choice"
    plan = client.choose_plan(query.id, over("edge-2", "edge-3", motion_detection="edge-1")).plan
    item = until(lambda: [item for item in all_results(client, query.id) if item.plan_epoch == plan.epoch])[0]
    assert item.direct == ("face_alignment",)
    assert set(item.output) >= {"pose", "face_alignment_count_result", "motion_detection_count_result"}
    longest = max(item.stage_ms["face_detection"] + item.stage_ms["face_alignment"], item.stage_ms["motion_detection"])
    assert item.delay == pytest.approx(longest / 1000 / (25 / 10 + 1), rel=0.01)
    assert is_exact(client.stop(query.id).tally)


def test_crops_go_from_edge_to_edge_and_frames_add_up_while_the_middle_one_is_killed(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=PIPELINE))
    until(lambda: client.query(query.id).state == "running")
    plan = client.choose_plan(query.id, over("edge-2", "edge-3")).plan

    def straight() -> list:
        assert is_exact(client.query(query.id).tally)
        return [item for item in all_results(client, query.id) if item.plan_epoch == plan.epoch]

    items = until(lambda: len(found := straight()) >= 10 and found)
    assert {item.direct for item in items} == {("face_alignment",)}
    assert all(len(item.output["pose"]) == len(item.output["bbox"]) for item in items)
    assert all(item.latency >= sum(item.stage_ms.values()) / 1000 - 0.001 for item in items)

    system.kill("edge-2")
    after = until(lambda: (found := client.query(query.id)).plan.epoch > plan.epoch and found, 10)
    assert "edge-2" not in {place.node for place in after.plan.flow_mapping.values()}
    until(lambda: straight() and any(item.plan_epoch >= after.plan.epoch for item in all_results(client, query.id)), 10)
    tally = client.stop(query.id).tally
    assert is_exact(tally)
    assert tally.failed <= 4, "more than were on their way when it died"
    system.restart("edge-2")
