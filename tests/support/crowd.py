"""A cloud that knows many keys, as a node of its own, and many edges in this process that dial it."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import zmq
from reports import a_report

from node.cli.system import free_doors
from node.clock import SystemClock
from node.errors import EcnodeError
from node.model.cluster import Received, Role
from node.model.wire.member import MEMBER_ROSTER, NODE_REPORT, Report
from node.roles.shared.tasks import begin, end
from node.transport.auth import Directory
from node.transport.base import Answer, Peer
from node.transport.dealer import Dealer
from node.transport.keys import Identity, load_or_create, new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.rpc import Rpc
from node.transport.sockets import Station, new_context

CLOCK = SystemClock()
RENEWED_S = 2.0  # a real node reports with every heartbeat; a lease holds 15 s
SOCKETS_EACH = 8  # two lanes, and for each a monitor with two ends


@dataclass
class Cloud:
    """A real node with the role cloud and an allow-list."""

    folder: Path
    names: list[str]
    keys: dict[str, Identity] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.keys = {name: new_identity() for name in self.names}
        self.identity = load_or_create(self.folder / "data" / "identity.key")
        self.address = f"tcp://127.0.0.1:{free_doors(1)[0]}"
        allowed = "".join(
            f'[[transport.allow]]\nname = "{name}"\nkey = "{key.public}"\nroles = ["edge"]\n' for name, key in self.keys.items()
        )
        (self.folder / "node.toml").write_text(
            f'schema = 1\n[node]\nname = "cloud-1"\nroles = ["cloud"]\ndata_dir = "{self.folder}/data"\n'
            f'[transport]\nlisten = ["{self.address}"]\n[http]\nlisten = "127.0.0.1:0"\n{allowed}'
        )

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "node", "up", "--attached", "-c", str(self.folder / "node.toml")]
        with (self.folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        if not any(line.startswith("ready in") for line in self.process.stdout):
            raise AssertionError((self.folder / "stderr").read_text()[-2000:])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None

    @property
    def system(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    @property
    def known(self) -> Directory:
        return Directory([(self.identity.public, Peer("cloud-1", frozenset({Role.CLOUD}), self.identity.fingerprint))])


class Crowd:
    """Edges of one process: each has its own key and its own links, all share a context."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.up: set[str] = set()
        self.news = asyncio.Event()
        self.rpcs: dict[str, Rpc] = {}

    def heard(self, name: str, up: bool) -> None:
        (self.up.add if up else self.up.discard)(name)
        self.news.set()

    async def wait_for(self, count: int, seconds: float) -> float:
        """How long it took until so many links are up."""
        began = CLOCK.monotonic()
        async with CLOCK.timeout(seconds):
            while len(self.up) != count:
                self.news.clear()
                await self.news.wait()
        return CLOCK.monotonic() - began


async def renew(rpc: Rpc, name: str) -> None:
    """Reports again and again, each at a moment of its own; the answer is the lease."""
    await CLOCK.sleep(RENEWED_S * random.random())
    while True:
        with suppress(EcnodeError):
            await rpc.call("cloud-1", NODE_REPORT, Report(report=a_report(name, Role.EDGE)), timeout=RENEWED_S)
        await CLOCK.sleep(RENEWED_S)


@asynccontextmanager
async def crowd(cloud: Cloud) -> AsyncIterator[Crowd]:
    """All edges of the cloud's list dial it until the end of the block."""
    context = new_context()
    context.set(zmq.MAX_SOCKETS, SOCKETS_EACH * len(cloud.names) + 100)
    people = Crowd(cloud)
    tasks = []
    try:
        for name in cloud.names:
            options = LinkOptions(name)
            rpc = people.rpcs[name] = Rpc(CLOCK, options)
            rpc.hear(NODE_REPORT, lambda _call, _report: None)
            rpc.answer(MEMBER_ROSTER, lambda _call, _roster: Answer(Received()))
            rpc.watch(lambda _peer, up, name=name: people.heard(name, up))  # type: ignore[misc]
            rpc.start()
            station = Station(context, cloud.keys[name], cloud.known, rpc, CLOCK, options)
            tasks.append(begin(renew(rpc, name), f"lease of {name}"))
            tasks.append(begin(Dealer(station, Dial(cloud.address, cloud.identity.public)).run(), f"dialling of {name}"))
        yield people
    finally:
        await end(*tasks)  # first: whoever still dials would be back at once
        for rpc in people.rpcs.values():
            await rpc.stop()
        context.term()
