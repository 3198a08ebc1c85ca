"""A cloud that takes members in, over a real socket and a real store, and newcomers that come to its door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from lossy import CREATE, NOTE, note
from peers import CLOCK, ECHO, FAST, echo

from node.model.cluster import NodeReport, Role
from node.model.member import JoinTokenRequest
from node.model.wire.member import JoinReply, JoinRequest
from node.roles.cloud.admission import Admission, Policy
from node.roles.cloud.membership import Membership
from node.roles.cloud.rosters import Rosters
from node.roles.cloud.succession import Succession
from node.roles.shared.delivery import Delivery
from node.roles.shared.known_keys import StoredKeys
from node.roles.shared.neighbours import Neighbours
from node.roles.shared.registry import Registry
from node.roles.shared.reporter import Reporter
from node.roles.shared.tasks import begin, end
from node.storage import Store, open_store
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.enrol import enrol
from node.transport.jointoken import read_token
from node.transport.keys import Identity, load_or_create, new_identity
from node.transport.options import Dial
from node.transport.zmq import ZmqTransport


class Ups:
    """Links that come up and go down, as something to wait for."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    def __call__(self, peer: Peer, up: bool) -> None:
        self._heard.put_nowait((peer.name, up))

    async def hears(self, name: str, *, up: bool = True, within: float = 6.0) -> None:
        async with CLOCK.timeout(within):
            while await self._heard.get() != (name, up):
                pass


class Newcomer:
    """An edge with a key of its own that was never told to anybody."""

    def __init__(self, founding: Founding, name: str, key: Identity | None = None) -> None:
        self.name = name
        self.key = key or new_identity()
        self.ups = Ups()
        self.folder = founding.folder
        self._founding = founding
        self._cloud_key = founding.key.public  # as it was when this node heard of it

    async def register(self, token: str, *roles: Role) -> JoinReply:
        request = JoinRequest(name=self.name, key=self.key.public, roles=roles or (Role.EDGE,), version="test")
        return await asyncio.to_thread(enrol, read_token(token), self._founding.address, request, CLOCK, 8.0)

    async def start(self, listen: str = "") -> ZmqTransport:
        """Its transport, with what a node has of members: reports, rosters and links to neighbours."""
        founding = self._founding
        cloud = Peer("cloud-1", frozenset({Role.CLOUD}), founding.key.fingerprint)
        known = [(self._cloud_key, cloud)]
        directory = self.directory = Directory(known)
        store = await open_store(f"sqlite:///{self.name}.db", self.folder, CLOCK)
        founding.stack.push_async_callback(store.close)
        keys = StoredKeys(store.members, CLOCK)
        await keys.recall(directory)
        dials = [Dial(founding.address, self._cloud_key)]
        options = replace(FAST, name=self.name, roles=frozenset({Role.EDGE}), boot=1)
        transport = ZmqTransport(self.key, directory, [listen] if listen else [], dials, CLOCK, options)
        transport.answer(ECHO, echo)
        transport.watch(self.ups)
        self.delivery = await Delivery.open(store, transport, CLOCK, 1, max_message=options.max_message)
        founding.stack.push_async_callback(self.delivery.stop)

        def address() -> str:
            return transport.endpoints[0] if transport.endpoints else ""

        def report() -> NodeReport:
            return a_report(self.name, Role.EDGE, address=address())

        Neighbours(self.name, self.key.public, known, directory, keys).register(transport, transport, address)
        Registry(report, CLOCK, suspect_after=2, dead_after=5).register(transport)
        reporter = Reporter(report, transport, CLOCK, 0.3)
        founding.stack.push_async_callback(transport.stop)
        await transport.start()
        founding.stack.push_async_callback(end, begin(reporter.run(), f"reports of {self.name}"))
        return transport


class Founding:
    """cloud-1 with its store; `stack` ends what a test began."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.key = load_or_create(folder / "identity.key")

    async def open(self, admit: str = "token", allowed: tuple[tuple[str, Peer], ...] = (), listen: str = "") -> None:
        """Opens the store and the door; again after `close`, as a restart would."""
        self.key = load_or_create(self.folder / "identity.key")
        self.store: Store = await open_store("sqlite:///node.db", self.folder, CLOCK)
        await self.store.queries._database.write(lambda it: it.change(CREATE))
        boot = await self.store.cluster.next_boot()
        self.directory = Directory(allowed)
        self.ups = Ups()
        options = replace(FAST, roles=frozenset({Role.CLOUD}), boot=boot)
        self.transport = ZmqTransport(self.key, self.directory, [listen or "tcp://127.0.0.1:0"], [], CLOCK, options)
        self.transport.answer(ECHO, echo)
        self.transport.watch(self.ups)
        registry = Registry(lambda: a_report("cloud-1", Role.CLOUD), CLOCK, suspect_after=2, dead_after=5)
        registry.register(self.transport)
        admission = Admission(Policy("cloud-1", self.key.public, (Role.CLOUD,), admit, allowed), self.directory, CLOCK)
        rosters = Rosters(admission, registry, self.transport, CLOCK, boot)
        succession = Succession(self.folder / "identity.key", rosters)
        limit = options.max_message
        self.delivery = await Delivery.open(self.store, self.transport, CLOCK, boot, max_message=limit)
        self.delivery.answer(NOTE, note)
        members, drop = self.store.members, self.delivery.drop
        self.members = Membership(admission, members, self.directory, CLOCK, succession, drop)
        self.members.register(self.transport)
        await self.members.load()
        await self.transport.start()
        self.address = self.transport.endpoints[0]
        self._loops = [begin(self.members.run(), "membership"), begin(rosters.run(), "rosters")]

    async def close(self) -> None:
        await end(*self._loops)
        await self.delivery.stop()
        await self.transport.stop()
        await self.store.close()

    async def token(self, *roles: Role, ttl: float = 60.0) -> str:
        made = await self.members.make_token(JoinTokenRequest(roles=roles or (Role.EDGE,), ttl=ttl))
        return made.secret

    def newcomer(self, name: str, key: Identity | None = None) -> Newcomer:
        return Newcomer(self, name, key)


def a_report(name: str, *roles: Role, address: str = "") -> NodeReport:
    return NodeReport(
        name=name,
        roles=roles,
        version="0.1.0",
        boot=1,
        http="http://127.0.0.1:7480",
        address=address,
        cores=2,
        cpu_fraction=0.1,
        memory_fraction=0.5,
        rss_mib=50.0,
    )


@pytest.fixture
async def founding(tmp_path: Path) -> AsyncIterator[Founding]:
    async with AsyncExitStack() as stack:
        found = Founding(stack, tmp_path)
        await found.open()
        yield found
        await stack.aclose()
        await found.close()
