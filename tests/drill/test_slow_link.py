"""Control on a link that video offers more than it carries: two real transports on 10 Mbit/s in a network namespace."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
CONTROL_P95_S = 0.150
LINK = "ip link set lo mtu 1500 up && tc qdisc add dev lo root tbf rate 10mbit burst 16kb latency 200ms"

ENDS = """
import asyncio, json
from contextlib import AsyncExitStack
import peers
from peers import CLOCK, ECHO, Ask, Scene
from node.errors import Superseded
from node.model.cluster import Role
from node.model.wire.method import Lane, Method
from node.roles.edge.credit import FrameCredit
from node.transport.base import Answer
from node.transport.options import LinkOptions

TAKE = Method("test.take", Ask, Ask, frozenset(Role), Lane.DATA)
LINK_BYTES_S, OFFERED, PICTURE_BYTES, SECONDS = 10e6 / 8, 2.4, 100_000, 20.0
peers.FAST = LinkOptions("cloud-1")

async def main():
    async with AsyncExitStack() as stack:
        scene = Scene(stack)
        await scene.open(options=peers.FAST, register=lambda it: it.answer(TAKE, lambda _call, body: Answer(body)))
        edge = await scene.joined("edge-1")
        credit, picture = FrameCredit(), bytes(PICTURE_BYTES)
        waits, delivered, offered, superseded, pause = [], 0, 0, 0, PICTURE_BYTES / (OFFERED * LINK_BYTES_S)
        end = CLOCK.monotonic() + SECONDS

        async def show():
            nonlocal delivered, superseded
            try:
                async with credit.spend("cloud-1", "q-1"):
                    await edge.call("cloud-1", TAKE, Ask(), blobs=[picture], timeout=30)
                    delivered += 1
            except Superseded:
                superseded += 1

        async def film():
            nonlocal offered
            async with asyncio.TaskGroup() as showing:
                while CLOCK.monotonic() < end:
                    showing.create_task(show())
                    offered += 1
                    await CLOCK.sleep(pause)

        async def control():
            while CLOCK.monotonic() < end:
                began = CLOCK.monotonic()
                await edge.call("cloud-1", ECHO, Ask(), timeout=30)
                waits.append(CLOCK.monotonic() - began)
                await CLOCK.sleep(0.05)

        async with asyncio.TaskGroup() as both:
            both.create_task(film())
            both.create_task(control())
        waits.sort()
        print(json.dumps({
            "offered": offered, "delivered": delivered, "superseded": superseded, "calls": len(waits),
            "p50_s": waits[len(waits) // 2], "p95_s": waits[int(len(waits) * 0.95)], "most_s": waits[-1],
            "video_mbit_s": delivered * PICTURE_BYTES * 8 / SECONDS / 1e6,
        }))

asyncio.run(main())
"""


@pytest.mark.drill
def test_control_does_not_wait_behind_video_that_offers_more_than_the_link_carries() -> None:
    trial = ["unshare", "-n", "sh", "-c", LINK]
    if shutil.which("tc") is None or subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("needs tc and the right to make a network namespace")
    command = ["unshare", "-n", "sh", "-c", f'{LINK} && exec "$0" -c "$1"', sys.executable, ENDS]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    log.info("%s", found)
    assert found["video_mbit_s"] >= 8.0, found  # the link is full
    assert found["p95_s"] <= CONTROL_P95_S, found
