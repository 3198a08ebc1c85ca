"""A thousand edges join one cloud, keep their leases cheaply, and come back after it was killed."""

from __future__ import annotations

import logging

import pytest
from crowd import CLOCK, Cloud, crowd

log = logging.getLogger(__name__)

EDGES = 1000
JOIN_S = 15.0
BACK_S = 20.0
LEASES_S = 10.0
CORE = 0.30
MIB = 2**20


@pytest.mark.drill
async def test_a_thousand_edges_join_and_come_back(tmp_path):
    cloud = Cloud(tmp_path, [f"edge-{number}" for number in range(EDGES)])
    cloud.start()
    try:
        began = CLOCK.monotonic()
        async with crowd(cloud) as people:
            await people.wait_for(EDGES, 4 * JOIN_S)
            joined = CLOCK.monotonic() - began
            before = sum(cloud.system.cpu_times()[:2])
            await CLOCK.sleep(LEASES_S)
            leases = (sum(cloud.system.cpu_times()[:2]) - before) / LEASES_S
            memory = cloud.system.memory_info().rss / MIB
            cloud.kill()
            await people.wait_for(0, BACK_S)
            began = CLOCK.monotonic()
            cloud.start()
            await people.wait_for(EDGES, 4 * BACK_S)
            back = CLOCK.monotonic() - began
    finally:
        cloud.kill()
    found = f"{EDGES} edges: joined {joined:.1f} s, leases {leases:.0%} of a core, {memory:.0f} MiB, back {back:.1f} s"
    log.info(found)
    assert joined <= JOIN_S, found
    assert leases <= CORE, found
    assert back <= BACK_S, found
