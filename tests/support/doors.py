"""A front door on a real socket, over the memory store, in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from node.api.ports import Ports
from node.api.server import HttpServer
from node.client import Client
from node.clock import SystemClock
from node.errors import AssetMissing, EcnodeError, PeerUnreachable
from node.journal import Metrics
from node.model.cluster import JobReport, NodeReport, NodeState, NodeView, Role, ServiceReport
from node.model.decision import Decision
from node.model.value import new_id
from node.model.video import (
    Constraint,
    Event,
    Placement,
    Plan,
    Query,
    QueryRequest,
    QueryState,
    Resolution,
    Result,
    Runtime,
    StageRole,
    Tally,
    VideoConf,
)
from node.model.wire.compute import StageCall
from node.pipeline.graph import check_graph
from node.roles.cloud.admission import Admission, Policy
from node.roles.cloud.membership import Membership
from node.roles.cloud.rosters import Rosters
from node.roles.cloud.succession import Succession
from node.roles.shared.blobs import BlobService
from node.roles.shared.events import EventBus
from node.roles.shared.measured import Profile
from node.roles.shared.news import QueryNews
from node.roles.shared.registry import Registry
from node.storage import Store, open_store
from node.storage.blobs import FolderBlobs
from node.transport.auth import Directory
from node.transport.keys import new_identity
from node.transport.loopback import LoopbackHub

T = TypeVar("T")

TOKEN = "a-token-of-the-tests-0123456789"
SPEC: dict[str, Any] = {
    "node": "edge-1",
    "source": "lobby",
    "pipeline": ["face_detection", "face_alignment"],
    "constraint": {"delay": 0.3},
}


def report(name: str, *roles: Role, jobs: Sequence[JobReport] = ()) -> NodeReport:
    return NodeReport(
        name=name,
        roles=roles,
        version="0.1.0",
        boot=1,
        http="http://127.0.0.1:7480",
        cores=2,
        cpu_fraction=0.12,
        memory_fraction=0.5,
        rss_mib=58.0,
        jobs=tuple(jobs),
    )


def result(number: int, *, delay: float = 0.04) -> Result:
    return Result(
        attempt=1,
        n_loop=number,
        cam_frame_id=number * 2,
        conf_frame_id=number,
        captured_at=1_700_000_000.5 + number,
        latency=0.062,
        delay=delay,
        stage_ms={"face_detection": 31.0},
        plan="0123456789abcdef",
        plan_epoch=1,
        width=640,
        height=480,
        output={"bbox": [[1, 2, 3, 4]]},
    )


PLAN = Plan(
    epoch=1,
    video_conf=VideoConf(fps=10),
    flow_mapping={"face_detection": Placement(node="edge-1", role=StageRole.HOST)},
)


@dataclass
class StoredQueries:
    """The port `Queries` over the store, without a planner: what the cloud role does, in small."""

    store: Store
    polled: threading.Event = field(default_factory=threading.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    broken: BaseException | None = None
    views: list[bool] = field(default_factory=list)
    missed: bool = False
    shown: int = 4
    weight: int = 0

    async def submit(self, request: QueryRequest) -> tuple[Query, bool]:
        check_graph(request.pipeline, request.graph)
        now = SystemClock().wall()
        query = Query(
            id=request.id or new_id("q", now),
            name=request.name,
            node=request.node,
            source=request.source,
            pipeline=request.pipeline,
            graph=request.graph,
            constraint=request.constraint,
            state=QueryState.UNSCHEDULED,
            created_at=now,
        )
        return await self.store.queries.create(query)

    async def get(self, ref: str) -> Query:
        if self.broken is not None:
            raise self.broken
        return await self.store.queries.get(await self.store.queries.resolve(ref))

    async def list(self, state: QueryState | None, limit: int, after: str | None) -> tuple[Query, ...]:
        return await self.store.queries.list(state, limit, after)

    async def constrain(self, ref: str, constraint: Constraint) -> Query:
        return await self.store.queries.set_constraint(await self.store.queries.resolve(ref), constraint)

    async def stop(self, ref: str) -> Query:
        return await self.store.queries.transition(await self.store.queries.resolve(ref), "stop")

    async def results(self, ref: str, after: int, limit: int, wait: float) -> tuple[tuple[int, Result], ...]:
        identity = await self.store.queries.resolve(ref)
        found = await self.store.queries.results(identity, after, limit)
        if found or not wait:
            return found
        self.polled.set()
        try:
            async with SystemClock().timeout(wait):
                await self.news.wait()
        except TimeoutError:
            return ()
        return await self.store.queries.results(identity, after, limit)

    async def newest(self, ref: str, count: int) -> Sequence[tuple[Result, Runtime]]:
        found = await self.store.queries.newest(await self.store.queries.resolve(ref), count)
        return [(result, Runtime(delay=result.delay, obj_n=1.0, obj_stable=True)) for result in found]

    async def choose(self, ref: str, video_conf: VideoConf, flow_mapping: Mapping[str, Placement]) -> Query:
        query = await self.get(ref)
        epoch = query.plan.epoch + 1 if query.plan else 1
        plan = Plan(epoch=epoch, video_conf=video_conf, flow_mapping=dict(flow_mapping))
        return await self.store.queries.set_plan(query.id, plan)

    async def runtime(self, ref: str) -> Runtime:
        await self.get(ref)
        return Runtime(delay=0.041, obj_n=3, fps=9.8, latency_p50=0.062, latency_p95=0.08, stage_ms={"face_detection": 31.0})

    async def picture(self, ref: str) -> tuple[bytes, Result]:
        await self.get(ref)
        return b"\xff\xd8picture", result(1)

    @asynccontextmanager
    async def view(self, ref: str, *, drawn: bool) -> AsyncIterator[StoredQueries]:
        await self.get(ref)
        self.views.append(drawn)
        yield self

    async def next(self, seen: Result | None) -> tuple[bytes, Result] | None:
        """Of a view: pictures 1, 2 and 3, then an edge that is away, then nothing."""
        number = seen.n_loop + 1 if seen else 1
        if number == 4 and not self.missed:
            self.missed = True
            raise PeerUnreachable("'edge-1' is away")
        return (b"\xff\xd8" + self.weight * b"x" + str(number).encode(), result(number)) if number < self.shown else None

    async def plans(self, ref: str) -> Sequence[tuple[float, Plan]]:
        return await self.store.queries.plans(await self.store.queries.resolve(ref))

    async def decisions(self, ref: str, limit: int) -> Sequence[Decision]:
        return await self.store.queries.decisions(await self.store.queries.resolve(ref), limit)

    async def events(self, ref: str) -> Sequence[Event]:
        return await self.store.queries.events(await self.store.queries.resolve(ref))


@dataclass
class FixedNodes:
    """The port `Nodes`: a cloud that knows one good edge and one that has gone quiet."""

    fingerprint: str = "Q4TW4JR-XMM66GS-ATSNX7H-K4V6VGT"
    public_key: str = "x" * 40
    jobs: tuple[JobReport, ...] = ()
    reports: tuple[NodeReport, ...] = ()

    def here(self) -> NodeReport:
        return report("cloud-1", Role.CLOUD)

    def views(self) -> tuple[NodeView, ...]:
        if self.reports:
            return tuple(
                NodeView(state=NodeState.READY, seen_s=0.4, rtt_ms=1.2, fingerprint="E", report=one) for one in self.reports
            )
        good = report("edge-1", Role.EDGE, jobs=self.jobs)
        return (
            NodeView(state=NodeState.READY, seen_s=0.4, rtt_ms=1.2, fingerprint="E1", report=good),
            NodeView(state=NodeState.SUSPECT, seen_s=7.1, rtt_ms=None, fingerprint="E2", report=report("edge-2", Role.EDGE)),
        )


@dataclass
class FixedHealth:
    """The port `Health`, set by the test."""

    found: dict[str, str | None] = field(default_factory=lambda: {"store": None, "transport": None})

    def problems(self) -> Mapping[str, str | None]:
        return self.found


@dataclass(frozen=True)
class Served:
    values: Mapping[str, Any]
    pictures: Mapping[str, tuple[bytes, ...]]
    stage_seconds: tuple[float, ...] = (0.02,)
    decode_seconds: float = 0.004
    wait_seconds: float = 0.001


@dataclass
class FixedServices:
    """The port `Services`: remembers its calls and finds one face in every picture."""

    calls: list[tuple[str, Mapping[str, Any], Mapping[str, Sequence[bytes]]]] = field(default_factory=list)

    def reports(self) -> tuple[ServiceReport, ...]:
        return (ServiceReport(name="face_detection"), ServiceReport(name="face_alignment"))

    def lacks(self) -> Mapping[str, str]:
        return {"helmet_detection": "there is no model"}

    async def bench(self, service: str) -> Profile:
        if service in self.lacks():
            raise AssetMissing(self.lacks()[service])
        return Profile(seconds={Resolution.P480: 0.021}, objects=7)

    async def call(
        self,
        stages: Sequence[StageCall],
        values: Mapping[str, Any],
        pictures: Mapping[str, Any],
        *,
        wanted: Collection[str],
        deadline: float,
    ) -> Served:
        del wanted, deadline
        self.calls.extend((stage.service, values, pictures) for stage in stages)
        return Served({"bbox": [[1, 2, 3, 4]], "prob": [0.9]}, {"faces": (b"\xff\xd8crop",)})


@dataclass(frozen=True)
class HttpSettings:
    listen: tuple[str, ...] = ("127.0.0.1:0",)
    auth: str = "token"
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    compat: tuple[str, ...] = ("video",)
    compat_open: tuple[str, ...] = ()
    max_upload: int = 4 * 2**20


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class OpenDoor:
    """A door that is open, and everything behind it."""

    server: HttpServer
    store: Store
    queries: StoredQueries
    nodes: FixedNodes
    health: FixedHealth
    services: FixedServices
    directory: Directory
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return self.server.urls[0]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Has the door's loop do something, and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def client(self, token: str = TOKEN) -> Client:
        return Client(self.url, token, timeout=10.0)

    def raw(
        self, method: str, path: str, body: bytes | None = None, *, token: str | None = TOKEN, headers: Mapping[str, str] = {}
    ) -> Reply:
        """One request as bytes, for what the client would never send."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        given = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, body, {**given, **headers})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def submit(self, **changes: Any) -> Query:
        with self.client() as client:
            return client.submit({**SPEC, **changes})

    def give_results(self, query: str, numbers: Sequence[int]) -> None:
        self.run(self._give(query, numbers))

    async def _give(self, query: str, numbers: Sequence[int]) -> None:
        tally = Tally(captured=max(numbers), processed=max(numbers), bytes_moved=1_200_000)
        await self.store.queries.append(query, 1, [result(number) for number in numbers], tally)
        self.queries.news.set()

    def go(self, query: str, *events: str) -> None:
        """Takes a query through its life."""
        for event in events:
            if event == "plan":
                self.run(self.store.queries.set_plan(query, PLAN))
            self.run(self.store.queries.transition(query, event, "the test says so" if event == "fail" else ""))


class _Thread:
    """Runs one door until it is told to end."""

    def __init__(self, config: HttpSettings, folder: Path, with_queries: bool) -> None:
        self._config, self._folder, self._with_queries = config, folder, with_queries
        self._opened = threading.Event()
        self._close: asyncio.Event | None = None
        self._error: EcnodeError | None = None
        self._door: OpenDoor | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def open(self) -> OpenDoor:
        self._thread.start()
        self._opened.wait(10)
        if self._error is not None:
            self._thread.join(10)
            raise self._error
        assert self._door is not None
        return self._door

    def close(self) -> None:
        if self._door is not None and self._close is not None and self._thread.is_alive():
            self._door.loop.call_soon_threadsafe(self._close.set)
            self._thread.join(10)
            assert not self._thread.is_alive(), "the door does not close"
            if self._error is not None:
                raise self._error

    async def _serve(self) -> None:
        clock = SystemClock()
        store = await open_store("sqlite:///:memory:", self._folder, clock)
        objects = FolderBlobs(self._folder / "objects", clock, 16 * 2**20)
        try:
            await objects.start()
            queries, nodes, health = StoredQueries(store), FixedNodes(), FixedHealth()
            services = FixedServices()
            bus = EventBus()
            store.queries.watch(QueryNews(bus))
            directory = Directory([])
            policy = Policy("cloud-1", new_identity().public, (Role.CLOUD,), "token", ())
            admission = Admission(policy, directory, clock)
            hub = LoopbackHub().transport("cloud-1", {Role.CLOUD}, clock)
            registry = Registry(nodes.here, clock, suspect_after=2, dead_after=5)
            succession = Succession(self._folder / "identity.key", Rosters(admission, registry, hub, clock, 1))
            members = Membership(admission, store.members, directory, clock, succession)
            ports = Ports(
                queries=queries if self._with_queries else None,
                nodes=nodes,
                health=health,
                services=services,
                aliases=store.aliases,
                tokens=store.tokens,
                answers=store.answers,
                events=bus,
                blobs=BlobService(objects, clock),
                members=members if self._with_queries else None,
            )
            server = HttpServer(self._config, TOKEN, ports, clock, Metrics())
            await server.start()
            self._close = asyncio.Event()
            self._door = OpenDoor(server, store, queries, nodes, health, services, directory, asyncio.get_running_loop())
            self._opened.set()
            await self._close.wait()
            await server.stop()
        except EcnodeError as error:
            self._error = error
        finally:
            await objects.close()
            await store.close()
            self._opened.set()


class Opener:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads: list[_Thread] = []

    def __call__(self, config: HttpSettings = HttpSettings(), *, with_queries: bool = True) -> OpenDoor:
        self._threads.append(_Thread(config, self._folder, with_queries))
        return self._threads[-1].open()

    def close(self) -> None:
        for thread in self._threads:
            thread.close()


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[Opener]:
    opener = Opener(tmp_path)
    yield opener
    opener.close()


@pytest.fixture
def door(open_door: Opener) -> OpenDoor:
    return open_door()
