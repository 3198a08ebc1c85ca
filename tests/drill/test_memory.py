"""A system that runs for ten minutes takes no more memory at the end than when it had warmed up."""

from __future__ import annotations

import threading
from statistics import median

import psutil
import pytest
from systems import CLOCK, FAST, connect, measured, until

from node.cli.system import LocalSystem
from node.model.video import QueryRequest

WARM_UP_S = 90.0  # models are loaded, windows and outboxes filled, the plan has settled
RUN_S = 600.0
EVERY_S = 2.0
GROWTH_MIB = 10.0


def resident_mib(system: LocalSystem, name: str) -> float:
    """Memory of a node and its children that no other process shares."""
    node = psutil.Process(system.pid(name))
    total = 0
    for process in (node, *node.children(recursive=True)):
        try:
            total += process.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue  # a worker that nobody needed any more
    return total / 2**20


@pytest.mark.drill
def test_memory_is_flat_over_ten_minutes(clips, assets):
    with LocalSystem(1, [clips["lobby"]], assets, pace=FAST) as system:
        system.start()
        with connect(system) as client:
            until(lambda: measured(client, system.names), 60)
            query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=("face_detection", "face_alignment")))
            until(lambda: client.results(query.id, 0, 1, 1.0).items)
            began, samples = CLOCK.monotonic(), {name: [] for name in system.names}
            while (spent := CLOCK.monotonic() - began) < WARM_UP_S + RUN_S:
                for name in system.names:
                    if spent >= WARM_UP_S:
                        samples[name].append(resident_mib(system, name))
                threading.Event().wait(EVERY_S)
            assert client.query(query.id).state == "running"
        for name, seen in samples.items():
            tenth = max(len(seen) // 10, 1)
            growth = median(seen[-tenth:]) - median(seen[:tenth])
            assert growth <= GROWTH_MIB, f"{name} grew by {growth:.1f} MiB, from {seen[0]:.1f} to {seen[-1]:.1f}"
        assert system.stop() == (0, 0)
