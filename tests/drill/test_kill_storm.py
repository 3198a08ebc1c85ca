"""Nodes are killed at random under running queries; what was accepted is there, once, and the frames add up."""

from __future__ import annotations

import random
import threading
from collections import Counter

import psutil
import pytest
from systems import CLOCK, FAST, all_results, connect, measured, until

from node.cli.system import CLOUD, LocalSystem
from node.client import Client
from node.errors import EcnodeError, PeerUnreachable
from node.model.video import QUERY_LIFE, Query, QueryRequest

STORM_S = 60.0
EVERY_S = 3.0
SEED = 20_261_121


def a_request(number: int) -> QueryRequest:
    return QueryRequest(id=f"q-{number:026d}", node="edge-1", source="lobby", pipeline=("face_detection", "face_alignment"))


def is_sound(query: Query) -> bool:
    tally = query.tally
    return tally.captured == tally.processed + tally.skipped + tally.failed


@pytest.mark.drill_short
def test_a_kill_storm_loses_no_accepted_query_and_doubles_no_result(clips, assets):
    chance = random.Random(SEED)
    accepted: list[str] = []
    kills: Counter[str] = Counter()
    with LocalSystem(2, [clips["lobby"]], assets, pace=FAST) as system:
        system.start()
        with connect(system) as client:
            until(lambda: measured(client, system.names), 60)
        end = CLOCK.monotonic() + STORM_S
        while CLOCK.monotonic() < end:
            with connect(system) as client:
                query = until(lambda c=client: submitted(c, a_request(len(accepted) + 1)))
                accepted.append(query.id)
                if len(accepted) > 3:  # three run at a time: the machine is small, the storm is what is tested
                    stop(client, accepted[-4])
                threading.Event().wait(EVERY_S * chance.uniform(0.3, 1.0))
                assert all(is_sound(client.query(query_id)) for query_id in accepted)
            victim = chance.choice([CLOUD, "edge-1", "edge-2"])
            system.kill(victim)
            kills[victim] += 1
            system.restart(victim)
        with connect(system) as client:
            for query_id in accepted[-3:]:
                before = len(all_results(client, query_id))
                until(lambda q=query_id, n=before: is_over(client.query(q)) or len(all_results(client, q)) > n, 60)
                if not is_over(client.query(query_id)):
                    client.stop(query_id)
            for query_id in accepted:
                query = client.query(query_id)
                assert is_over(query), f"{query.id} is {query.state}"
                assert is_sound(query), query.tally
                seen = Counter((item.attempt, item.n_loop) for item in all_results(client, query_id))
                assert not [key for key, times in seen.items() if times > 1]
        processes = [one for name in system.names for one in psutil.Process(system.pid(name)).children(recursive=True)]
        assert system.stop() == (0, 0, 0)
    assert psutil.wait_procs(processes, timeout=2)[1] == []
    assert sum(kills.values()) >= 10


def submitted(client: Client, request: QueryRequest) -> Query | None:
    """The accepted query; None while its edge has not come back to a restarted cloud."""
    try:
        return client.submit(request)
    except PeerUnreachable:
        return None


def is_over(query: Query) -> bool:
    return query.state in QUERY_LIFE.terminal


def stop(client, query_id: str) -> None:
    try:
        client.stop(query_id)
    except EcnodeError:
        assert is_over(client.query(query_id))
