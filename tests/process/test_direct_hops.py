"""Stages on two other edges, as real processes: what the one gives goes straight to the other, also while one is killed."""

from __future__ import annotations

import pytest
from systems import FAST, all_results, connect, measured, until

from node.cli.system import LocalSystem
from node.client import Client
from node.model.document import PlanChoice
from node.model.video import Placement, QueryRequest, StageRole, Tally, VideoConf

PIPELINE = ("face_detection", "face_alignment")


def over(detection: str, alignment: str) -> PlanChoice:
    nodes = zip(PIPELINE, (detection, alignment), strict=True)
    mapping = {stage: Placement(node=node, role=StageRole.EDGE) for stage, node in nodes}
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
