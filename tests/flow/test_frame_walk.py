"""The walk of a frame in one process: two nodes over the loopback transport, real children, a real clip, a memory store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import psutil
import pytest

from node import assets as store
from node.app import Node, Opened
from node.client import Client
from node.clock import SystemClock
from node.config import load
from node.errors import NotFound
from node.model.video import Constraint, QueryRequest
from node.roles.shared.processes import ProcessSpawner
from node.transport.loopback import LoopbackHub

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
    roles = config.node.roles
    node = Node(config, CLOCK, ProcessSpawner(CLOCK), make_transport=lambda *_: hub.transport(config.node.name, roles, CLOCK))
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


@pytest.fixture
async def system(tmp_path, assets):
    hub = LoopbackHub()
    source = [f"edge.sources.lobby.url={store.path(assets, 'collage.mp4')}", "edge.sources.lobby.loop=true"]
    async with (
        running(hub, a_config(tmp_path, assets, "cloud-1", "cloud")) as (cloud, opened),
        running(hub, a_config(tmp_path, assets, "edge-1", "edge", *source)) as (edge, _),
    ):
        token = (cloud.config.node.data_dir / "token").read_text().strip()
        with Client(opened.urls[0], token, 10.0) as client:

            async def measured():
                reports = [cloud.here(), *(view.report for view in cloud.views())]
                return len(reports) == 2 and all(service.profile for each in reports for service in each.services)

            await until(measured)
            yield cloud, edge, client
    assert psutil.Process().children(recursive=True) == []


REQUEST = QueryRequest(
    node="edge-1",
    source="lobby",
    pipeline=("face_detection", "face_alignment"),
    constraint=Constraint(delay=0.5, accuracy=0.9),
)


async def test_a_frame_walks_from_the_door_to_the_store(system):
    _, _, client = system
    query = await asyncio.to_thread(client.submit, REQUEST)

    async def some():
        found = await asyncio.to_thread(client.results, query.id, 0, 100, 1.0)
        return found.items if len(found.items) >= 5 else None

    items = await until(some)
    assert all(item.output["count_result"]["total"] == len(item.output["bbox"]) > 0 for item in items)
    events = await asyncio.to_thread(client.events, query.id)
    assert [event.event for event in events] == ["plan", "start"]
    plan, history = await asyncio.to_thread(client.plans, query.id)
    assert plan == history[-1].plan
    stopped = await asyncio.to_thread(client.stop, query.id)
    assert stopped.state == "stopped"


async def test_a_long_poll_ends_when_the_query_is_stopped(system):
    _, _, client = system
    query = await asyncio.to_thread(client.submit, REQUEST)
    with Client(client.url, client._token, 10.0) as other:
        waiting = asyncio.create_task(asyncio.to_thread(other.results, query.id, 10**9, 10, 20.0))
        await until(lambda: asyncio.to_thread(lambda: client.query(query.id).state == "running"))
        began = CLOCK.monotonic()
        await asyncio.to_thread(client.stop, query.id)
        assert (await waiting).items == ()
    assert CLOCK.monotonic() - began < 10


async def test_an_edge_answers_for_itself_and_keeps_no_queries(system):
    _, edge, _ = system
    token = (edge.config.node.data_dir / "token").read_text().strip()
    with Client(edge.here().http, token, 10.0) as client:
        assert (await asyncio.to_thread(client.node)).report.sources[0].name == "lobby"
        with pytest.raises(NotFound, match="cloud"):
            await asyncio.to_thread(client.queries)
