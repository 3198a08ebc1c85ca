"""What does the front door cost beside a bare handler of the same web framework, and how many events does it carry?

Subjects in processes of their own, on the same loop, asked over loopback by the same raw client with 16 connections:
`status` is GET /api/v1/node of a node as `ecnode up` starts it, with its token; `submit` is POST /api/v1/queries into a store
on the disk, acknowledged when it is committed, without a scheduler behind it that would run the queries. The comparators are
aiohttp handlers: one answers a constant, one parses a body and answers a constant. Rounds are interleaved, a ratio is the
median of its pairs. `sse` is the highest rate of events at which one listener got every one of them.

`python benchmarks/api.py [--quick] [--json]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import click
import uvloop
from parts.report import Bar, Row, ratio, row, show

from node import heap

if TYPE_CHECKING:
    from node.roles.shared.events import EventBus

CONNECTIONS: Final = 16
TOKEN: Final = "a-token-of-the-benchmark-0123456789"  # noqa: S105 - for a door that is open for seconds
RATES: Final = (25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000)
SLICE: Final = 0.005
BODY: Final = json.dumps(
    {
        "name": "head count",
        "node": "edge-1",
        "source": "lobby",
        "pipeline": ["face_detection", "face_alignment"],
        "constraint": {"delay": 0.3},
    }
).encode()


# The servers


async def serve_bare(stop: asyncio.Event, _: asyncio.Queue[str]) -> None:
    """What the web framework does by itself."""
    from aiohttp import web

    async def status(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def submit(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response({"status": "ok"}, status=201)

    application = web.Application()
    application.router.add_get("/status", status)
    application.router.add_post("/submit", submit)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    click.echo(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await stop.wait()
    await runner.cleanup()


async def serve_door(stop: asyncio.Event, lines: asyncio.Queue[str]) -> None:
    """The door, a query manager and a store on the disk; an edge that has reported, no scheduler. `lines` order events."""
    from node.api.ports import Ports
    from node.api.server import HttpServer
    from node.clock import SystemClock
    from node.config import load
    from node.journal import Metrics
    from node.model.cluster import NodeReport, NodeView, Role, SourceReport
    from node.model.wire.member import NODE_REPORT, Report
    from node.roles.cloud.query_manager import QueryManager
    from node.roles.shared.delivery import Delivery
    from node.roles.shared.events import EventBus
    from node.roles.shared.news import QueryNews
    from node.roles.shared.registry import Registry
    from node.storage import open_store
    from node.transport.loopback import LoopbackHub

    def report(name: str, role: Role) -> NodeReport:
        sources = (SourceReport(id=0, name="lobby"),) if role is Role.EDGE else ()
        figures = {"cores": 2, "cpu_fraction": 0.1, "memory_fraction": 0.2, "rss_mib": 60.0}
        return NodeReport(name=name, roles=(role,), version="0", boot=1, http="", sources=sources, **figures)

    clock, hub, bus = SystemClock(), LoopbackHub(), EventBus()
    here = report("cloud-1", Role.CLOUD)
    cloud = hub.transport("cloud-1", frozenset({Role.CLOUD}), clock)
    edge = hub.transport("edge-1", frozenset({Role.EDGE}), clock)
    registry = Registry(lambda: here, clock, suspect_after=3600.0, dead_after=7200.0)
    registry.register(cloud)

    class Nodes:
        fingerprint, public_key = "BENCH", "x" * 40

        def here(self) -> NodeReport:
            return here

        def views(self) -> tuple[NodeView, ...]:
            return registry.views()

        def problems(self) -> dict[str, str | None]:
            return {}

    with tempfile.TemporaryDirectory(prefix="ecnode-bench-") as folder:
        store = await open_store("sqlite:///node.db", Path(folder), clock)
        store.queries.watch(QueryNews(bus))
        manager = QueryManager(
            store=store,
            registry=registry,
            transport=cloud,
            delivery=await Delivery.open(store, cloud, clock, 1, max_message=2**20),
            clock=clock,
            members=["edge-1"],
        )
        manager.register()
        await cloud.start()
        await edge.start()
        async with clock.timeout(5.0):
            while not edge.links():
                await clock.sleep(0.01)
        await edge.call("cloud-1", NODE_REPORT, Report(report=report("edge-1", Role.EDGE)), timeout=5.0)
        config = load([], {}, ['node.name="cloud-1"', 'node.roles=["cloud"]', 'http.listen="127.0.0.1:0"']).config.http
        nodes = Nodes()
        ports = Ports(
            queries=manager,
            nodes=nodes,
            health=nodes,
            services=None,  # type: ignore[arg-type]
            aliases=store.aliases,
            tokens=store.tokens,
            answers=store.answers,
            events=bus,
        )
        server = HttpServer(config, TOKEN, ports, clock, Metrics())
        await server.start()
        heap.settle()  # as `ecnode up` does
        click.echo(server.urls[0])
        publisher = asyncio.create_task(_publish(bus, lines))
        await stop.wait()
        publisher.cancel()
        await server.stop()
        await edge.stop()
        await cloud.stop()
        await store.close()


async def _publish(bus: EventBus, orders: asyncio.Queue[str]) -> None:
    """For every order `RATE COUNT`, so many events at that rate; each is what a report of a node is."""
    from node.model.event import Topic

    while True:
        rate, count = map(int, (await orders.get()).split())
        began, told = time.perf_counter(), 0
        while told < count:
            due = min(int((time.perf_counter() - began) * rate) + 1, count)
            for number in range(told, due):
                data = {"name": "edge-1", "state": "ready", "seen_s": 0.0, "boot": 7, "cpu_fraction": 0.31, "number": number}
                bus.publish(Topic.NODES, "node", "edge-1", data)
            told = due
            await asyncio.sleep(SLICE)  # noqa: TID251 - the pace of the load, not of the product


# The client


class _Line(asyncio.Protocol):
    """One connection that sends the same request again as soon as it has the whole answer."""

    def __init__(self, request: bytes, wanted: int, load: Load) -> None:
        self._request = request
        self._wanted = wanted
        self._load = load
        self._content = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one but does not inherit from it
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._content += data
        head = self._content.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._content.find(b"Content-Length: ") + 16
        length = int(self._content[at : self._content.find(b"\r", at)])
        if len(self._content) < head + 4 + length:
            return
        if int(self._content[9:12]) != self._wanted:
            self._load.fail(self._content)
        self._content = b""
        if self._load.take():
            self.transport.write(self._request)


class Load:
    """So many requests over `CONNECTIONS` lines; `rate` is their number per second."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._open = count
        self._count = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, url: str, request: bytes, wanted: int) -> float:
        """Requests per second."""
        loop, where = asyncio.get_running_loop(), urlsplit(url)
        began = time.perf_counter()
        self._left -= CONNECTIONS
        lines = [
            await loop.create_connection(lambda: _Line(request, wanted, self), where.hostname, where.port)
            for _ in range(CONNECTIONS)
        ]
        await self._done
        took = time.perf_counter() - began
        for transport, _ in lines:
            transport.close()
        return self._count / took

    def take(self) -> bool:
        """Counts an answer; whether another request is wanted."""
        self._open -= 1
        if self._open == 0 and not self._done.done():
            self._done.set_result(None)
        self._left -= 1
        return self._left >= 0

    def fail(self, content: bytes) -> None:
        """Ends the run with what was answered instead."""
        if not self._done.done():
            self._done.set_exception(RuntimeError(content[:2000].decode(errors="replace")))


def request_of(method: str, url: str, path: str, token: str, body: bytes = b"") -> bytes:
    """A request as bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def rate(url: str, request: bytes, count: int, wanted: int = 200) -> float:
    """Requests per second of one run."""

    async def run() -> float:
        return await Load(count).run(url, request, wanted)

    return uvloop.run(run())


def listen(url: str, tell: Sequence[int], server: subprocess.Popen[str]) -> float | None:
    """Events per second that one listener got where `tell` is the rate and the count asked for; None where it was cut."""

    async def run() -> float | None:
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2**20)
        writer.write(request_of("GET", url, "/api/v1/events?topics=nodes", TOKEN))
        await reader.readuntil(b"event: snapshot")
        assert server.stdin is not None
        server.stdin.write(f"{tell[0]} {tell[1]}\n")
        server.stdin.flush()
        count, tail, began = 0, b"", 0.0
        while count < tell[1]:
            piece = await reader.read(2**18)
            if not piece:
                return None
            began = began or time.perf_counter()
            tail += piece
            count += tail.count(b"event: node\ndata: ")
            tail = tail[tail.rfind(b"\n\n") :] if b"\n\n" in tail else tail
        took = time.perf_counter() - began
        writer.close()
        return count / took

    try:
        return uvloop.run(run())
    except (ConnectionError, asyncio.IncompleteReadError):
        return None


# The measurement


@contextmanager
def serving(what: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """One of the servers above in a process of its own."""
    command = [sys.executable, __file__, "--serve", what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            assert process.stdin is not None
            process.stdin.close()


def pairs(case: str, rounds: int, ours: tuple[str, bytes, int], bare: tuple[str, bytes, int], count: int) -> list[Row]:
    """Interleaved rounds of both, the first one thrown away."""
    found: list[tuple[float, float]] = []
    for turn in range(rounds + 1):
        sides = (bare, ours) if turn % 2 else (ours, bare)
        figures = {side[0]: rate(side[0], side[1], count, side[2]) for side in sides}
        if turn:
            found.append((figures[ours[0]], figures[bare[0]]))
    mine, theirs = [each for each, _ in found], [each for _, each in found]
    return [row(case, "ecnode", mine, "requests/s", ratio(mine, theirs)), row(case, "aiohttp", theirs, "requests/s")]


def measure(quick: bool) -> tuple[list[Row], list[Bar]]:
    """Every figure, and the bars."""
    from node.cli.system import LocalSystem

    rounds, count, seconds = (4, 400, 1) if quick else (8, 400, 3)
    results: list[Row] = []
    with ExitStack() as stack:
        bare, _ = stack.enter_context(serving("bare"))
        door, server = stack.enter_context(serving("door"))
        system = stack.enter_context(LocalSystem(0, (), Path(tempfile.gettempdir())))
        system.start()
        node, token = system.url(), system.token_file().read_text().strip()
        status = (bare, request_of("GET", bare, "/status", ""), 200)
        results += pairs("status", rounds, (node, request_of("GET", node, "/api/v1/node", token), 200), status, 5 * count)
        results += pairs("healthz", rounds, (node, request_of("GET", node, "/healthz", ""), 200), status, 5 * count)
        submit = (bare, request_of("POST", bare, "/submit", "", BODY), 201)
        results += pairs("submit", rounds, (door, request_of("POST", door, "/api/v1/queries", TOKEN, BODY), 201), submit, count)
        best = 0.0
        for wanted in RATES:
            got = listen(door, (wanted, wanted * seconds), server)
            if got is None:
                break
            best = max(best, got)
    results.append(row("sse", "ecnode", [best], "events/s"))
    compared = {each.case: each.ratio or 0.0 for each in results if each.subject == "ecnode"}
    bars = [
        Bar("status_vs_plain_aiohttp", compared["status"], ">= 0.65"),
        Bar("submit_vs_plain_post", compared["submit"], ">= 0.4"),
        Bar("sse_lines_per_s", round(best), ">= 50000"),
    ]
    return results, bars


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="half the rounds, a third of the events")
    options.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options.add_argument("--serve", choices=("bare", "door"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        uvloop.run(_until_terminated(given.serve))
        return
    results, bars = measure(given.quick)
    show("api", results, bars, as_json=given.json)


async def _until_terminated(what: str) -> None:
    """A server ends when its standard input does, so that none outlives the benchmark."""
    stop: asyncio.Event = asyncio.Event()
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=read, daemon=True).start()
    await (serve_bare if what == "bare" else serve_door)(stop, lines)


if __name__ == "__main__":
    main()
