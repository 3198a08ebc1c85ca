"""Whole nodes in one process, over the loopback transport."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from node.app import Node, Opened
from node.clock import SystemClock
from node.config import load
from node.model.cluster import Role
from node.roles.shared.processes import ProcessSpawner
from node.transport.loopback import LoopbackHub
from node.transport.options import LinkOptions

CLOCK = SystemClock()


def a_config(folder, assets, name: str, role: str, *more: str):
    return load(
        [],
        {},
        [
            f"node.name={name}",
            f'node.roles=["{role}"]',
            f"node.data_dir={folder / name}",
            f"node.assets_dir={assets}",
            "http.listen=127.0.0.1:0",
            "storage.database=sqlite:///:memory:",
            "transport.heartbeat=0.2",
            "transport.suspect_after=1",
            "edge.workers=1",
            "cloud.tick=0.2",
            *more,
        ],
    ).config


@asynccontextmanager
async def running(hub: LoopbackHub, config):
    """A node in this process: the node, and what it said when it opened."""
    options = LinkOptions(config.node.name, roles=frozenset(Role(role) for role in config.node.roles))
    node = Node(
        config,
        CLOCK,
        ProcessSpawner(CLOCK),
        make_transport=lambda *_: hub.transport(options.name, options.roles, CLOCK, options),
    )
    opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    life = asyncio.create_task(node.run(stop, opened.set_result))
    try:
        await asyncio.wait({life, opened}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        yield node, await opened
    finally:
        stop.set()
        await life


async def until(condition, seconds: float = 30.0):
    async with CLOCK.timeout(seconds):
        while not (found := await condition()):
            await CLOCK.sleep(0.05)
        return found
