"""Results are on the edge's disk before they are on their way: kills of the edge and of the cloud lose and double none."""

from __future__ import annotations

import threading

import pytest
from systems import FAST, all_results, connect, measured, until

from node.cli.system import CLOUD, LocalSystem
from node.client import Client
from node.model.video import QueryRequest

PIPELINE = ("face_detection", "face_alignment")


@pytest.fixture(scope="module")
def system(clips, assets):
    with LocalSystem(1, [clips["lobby"]], assets, pace=FAST) as running:
        running.start()
        with connect(running) as client:
            until(lambda: measured(client, running.names), 60)
        yield running


def numbers(client: Client, query_id: str) -> dict[int, list[int]]:
    """The numbers of the results by attempt, in the order in which they are kept."""
    found: dict[int, list[int]] = {}
    for item in all_results(client, query_id):
        found.setdefault(item.attempt, []).append(item.n_loop)
    return found


def waiting(system: LocalSystem) -> int:
    """Messages that wait in the edge's outbox."""
    with connect(system, "edge-1") as client:
        line = next(line for line in client.metrics().splitlines() if line.startswith("ecnode_delivery_waiting "))
    return int(float(line.split()[1]))


@pytest.mark.drill_short
def test_kills_of_the_cloud_and_the_edge_lose_and_double_no_result(system):
    with connect(system) as client:
        query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=PIPELINE))
        until(lambda: len(all_results(client, query.id)) >= 5)

    # the cloud is killed while results come, and is away until some wait on the edge's disk
    system.kill(CLOUD)
    until(lambda: waiting(system) >= 4)
    system.restart(CLOUD)
    with connect(system) as client:
        before = len(all_results(client, query.id))
        until(lambda: len(all_results(client, query.id)) > before and waiting(system) <= 2, 60)
        kept = numbers(client, query.id)  # read once: results go on coming
        assert kept == {1: list(range(1, len(kept[1]) + 1))}

    # both are killed: what the edge has found while the cloud was away comes from its disk, though its process is gone
    system.kill(CLOUD)
    with connect(system, "edge-1"):
        until(lambda: waiting(system) >= 4)
        left = waiting(system)
    system.kill("edge-1")
    system.restart(CLOUD)
    with connect(system) as client:
        kept = len(numbers(client, query.id)[1])
    system.restart("edge-1")
    with connect(system) as client:
        until(lambda: 2 in numbers(client, query.id), 60)
        found = numbers(client, query.id)
        assert len(found[1]) >= kept + left
        for attempt, order in found.items():
            assert order == list(range(1, len(order) + 1)), attempt
        client.stop(query.id)
        after = client.query(query.id).tally
        assert after.captured == after.processed + after.skipped + after.failed


def test_an_edge_killed_in_the_middle_loses_nothing_that_it_has_told(system):
    with connect(system) as client:
        query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=PIPELINE))
        for attempt in (1, 2):
            until(lambda a=attempt: len(numbers(client, query.id).get(a, ())) >= 5, 60)
            system.kill("edge-1")
            threading.Event().wait(0.2)
            system.restart("edge-1")
        until(lambda: len(numbers(client, query.id).get(3, ())) >= 5, 60)
        for order in numbers(client, query.id).values():
            assert order == list(range(1, len(order) + 1))
        client.stop(query.id)
