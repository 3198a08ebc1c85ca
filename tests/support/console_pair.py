"""Consoles in one process, each with a real door, a database in a folder of its own, and an engine that a test plays."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from doors import FixedHealth, FixedNodes, FixedServices, HttpSettings

from node.api.compat import efls_peers
from node.api.ports import Ports
from node.api.server import HttpServer
from node.clock import SystemClock
from node.config.schema import ConsoleConfig, ConsolePeer
from node.errors import Invalid
from node.journal import Metrics
from node.model.cluster import Role
from node.model.project import InstanceState, Project, TaskKind
from node.pipeline.federated.identity import SigningKey, load_or_create
from node.roles.federated.console.console import Console
from node.roles.federated.console.engine import Job
from node.roles.shared.tasks import begin, end
from node.storage import Store, open_store
from node.storage.blobs import FolderBlobs
from node.transport.loopback import LoopbackHub

CLOCK = SystemClock()
TOKEN = "the-token-of-a-node-of-the-tests"
BASE = "/compat/efls"


class PlayedEngine:
    """Does what the test says, once it says it."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.calls: list[tuple[str, str]] = []
        self.begun = asyncio.Condition()

    def check(self, project: Project, kind: TaskKind, config: Mapping[str, Any]) -> None:
        if config.get("bad"):
            raise Invalid("the test wants it refused")

    async def run(self, job: Job, *, again: bool) -> None:
        async with self.begun:
            self.jobs[job.instance.id] = job
            self.calls.append(("start" if again else "run", job.instance.id))
            self.begun.notify_all()
        await asyncio.Event().wait()

    async def stop(self, job: Job) -> None:
        async with self.begun:
            self.calls.append(("stop", job.instance.id))
            self.begun.notify_all()

    async def called(self, *call: str) -> None:
        async with CLOCK.timeout(10), self.begun:
            await self.begun.wait_for(lambda: call in self.calls)

    async def tell(self, id: str, status: InstanceState, **message: Any) -> None:
        await self.jobs[id].report(message=message or None, status=status)


class NoSessions:
    async def get(self, ref: str) -> Any:
        raise AssertionError("no session here")

    create = accept = halt = get


@dataclass
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def data(self) -> Any:
        assert self.status == 200, self.body
        return self.body["data"]


@dataclass
class Side:
    name: str
    folder: Path
    port: int
    peers: list[ConsolePeer] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    played: bool = True
    hub: LoopbackHub | None = None

    @property
    def url(self) -> str:
        if self.hub is not None:
            return f"ecnode://{self.name}"
        return f"http://127.0.0.1:{self.port}{BASE}"

    @property
    def key(self) -> SigningKey:
        return load_or_create(self.folder / "signing.key")

    async def open(self) -> None:
        self._held = held = AsyncExitStack()
        self.store: Store = await open_store("sqlite:///node.db", self.folder, CLOCK)
        held.push_async_callback(self.store.close)
        objects = FolderBlobs(self.folder / "objects", CLOCK, 16 * 2**20)
        held.push_async_callback(objects.close)
        await objects.start()
        hub = self.hub or LoopbackHub()
        transport = hub.transport(self.name, {Role.FEDERATED}, CLOCK)
        config = ConsoleConfig(url=self.url, peers=tuple(self.peers), timeout=2.0, tries=2, **self.settings)
        self.console = Console.make(
            self.name,
            self.key,
            config,
            sessions=NoSessions(),
            store=self.store.console,
            blobs=objects,
            transport=transport,
            clock=CLOCK,
        )
        self.console.link.serve(partial(efls_peers.answer, self.console))
        self.engine = PlayedEngine()
        if self.played:
            self.console.runs.use(self.engine)
        ports = Ports(
            queries=None,
            nodes=FixedNodes(),
            health=FixedHealth(),
            services=FixedServices(),
            aliases=self.store.aliases,
            tokens=self.store.tokens,
            blobs=type("Objects", (), {"store": objects})(),
            console=self.console,
            console_prefix="/host",
        )
        server = HttpServer(HttpSettings(listen=(f"127.0.0.1:{self.port}",)), TOKEN, ports, CLOCK, Metrics())
        await server.start()
        held.push_async_callback(server.stop)
        held.push_async_callback(self.console.peers.stop)
        await transport.start()
        held.push_async_callback(transport.stop)
        await self.console.runs.start()
        held.push_async_callback(self.console.runs.stop)
        telling = begin(self.console.runs.tell(), "tell")
        held.push_async_callback(end, telling)

    async def close(self) -> None:
        await self._held.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = TOKEN,
        content: bytes | None = None,
        base: str = BASE,
        **headers: str,
    ) -> Answer:
        if body is not None:
            content = json.dumps(body).encode()
        given = {} if content is None else {"Content-Type": "application/json"}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{base}{path}", content, given, method=method)
        return await asyncio.to_thread(_send, request)


def _send(request: urllib.request.Request) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, _read(answer.read()), answer.headers)
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, _read(refused.read()), refused.headers)


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def side(folder: Path, name: str, **settings: Any) -> Side:
    (folder / name).mkdir()
    return Side(name, folder / name, free_port(), settings=settings)


def know(*sides: Side, **entry: Any) -> None:
    """Each of them may speak with the others."""
    for one in sides:
        one.peers = [ConsolePeer(url=other.url, near=True, **entry) for other in sides if other is not one]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Two consoles that may speak with each other, open."""
    a, b = side(tmp_path, "bank-a"), side(tmp_path, "bank-b")
    know(a, b)
    for one in (a, b):
        await one.open()
    yield a, b
    for one in (a, b):
        await one.close()
