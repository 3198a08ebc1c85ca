"""Nodes with durable messages between them, over a transport that loses, doubles, delays and overtakes what it carries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from node.clock import SystemClock
from node.errors import DeadlineExceeded, PeerUnreachable
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Method
from node.roles.shared.delivery import Delivery, Effect, Pace
from node.storage import Store, open_store
from node.storage.connection import Writing
from node.transport.base import Answer, Call, Peer
from node.transport.bodies import error_of, pack_error
from node.transport.frames import Kind, Message

CLOCK = SystemClock()
QUICK = Pace(first_pause=0.002, longest_pause=0.02, call=0.5, settle_after=0.005)


class Note(Value):
    """Write this number down."""

    number: int


class Noted(Value):
    """How many were written down before it."""

    before: int


NOTE = Method("test.note", Note, Noted, frozenset({Role.EDGE, Role.CLOUD}), durable=True)
CREATE = "CREATE TABLE IF NOT EXISTS noted (place INTEGER PRIMARY KEY AUTOINCREMENT, sender TEXT, number INTEGER)"


def note(peer: Peer, body: Note) -> Effect[int, Noted]:
    """Writes the number down, as often as it is asked to."""

    def apply(connection: Writing) -> int:
        before = connection.number("SELECT COUNT(*) FROM noted WHERE sender = :sender", sender=peer.name)
        connection.change("INSERT INTO noted (sender, number) VALUES (:sender, :number)", sender=peer.name, number=body.number)
        return before

    return Effect(apply, lambda before: Noted(before=before), lambda _: None)


async def noted(store: Store) -> list[int]:
    """The numbers that took effect, in order."""
    rows = await store.queries._database.read(lambda it: it.rows("SELECT number FROM noted ORDER BY place"))
    return [number for (number,) in rows]


class Net:
    """What lies between the nodes. `chance` decides the fate of each message; `quiet` lets all of them through."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.quiet = False
        self.nodes: dict[str, LossyTransport] = {}
        self.copies: set[asyncio.Task[None]] = set()

    def link(self, one: str, other: str, up: bool) -> None:
        for here, there in ((one, other), (other, one)):
            if here in self.nodes and there in self.nodes:
                for watcher in self.nodes[here].watchers:
                    watcher(self.nodes[there].peer, up)

    def happens(self, share: float) -> bool:
        return not self.quiet and self.chance.random() < share

    async def delay(self) -> None:
        if self.happens(0.3):
            await CLOCK.sleep(self.chance.random() * 0.01)

    def later(self, transport: LossyTransport, call: Call, method: Method, body: Value) -> None:
        """A copy that was held up on the way, and whose answer nobody waits for."""

        async def arrive() -> None:
            await CLOCK.sleep(self.chance.random() * 0.03)
            await transport.handle(call, method, body)

        task = asyncio.create_task(arrive())
        self.copies.add(task)
        task.add_done_callback(self.copies.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def settle(self) -> None:
        await asyncio.gather(*self.copies, return_exceptions=True)


@dataclass
class LossyTransport:
    """`Transport.call` over the net; bodies and errors go through the codec of the wire."""

    net: Net
    peer: Peer
    handlers: dict[str, Callable] = field(default_factory=dict)
    watchers: list[Callable] = field(default_factory=list)

    def answer(self, method, handler) -> None:
        self.handlers[method.name] = handler

    def watch(self, watcher) -> None:
        self.watchers.append(watcher)

    async def call(self, peer, method, body, *, blobs=(), timeout):
        far = self.net.nodes.get(peer)
        if far is None or not any(node is self for node in self.net.nodes.values()):
            raise PeerUnreachable(f"no live link to '{peer}'")
        call = Call(self.peer, tuple(blobs), CLOCK.monotonic() + timeout)
        await self.net.delay()
        if self.net.happens(0.15):
            self.net.later(far, call, method, body)
        if self.net.happens(0.15):
            raise DeadlineExceeded("lost on the way there")
        answer = await far.handle(call, method, body)
        await self.net.delay()
        if self.net.happens(0.15):
            raise DeadlineExceeded("lost on the way back")
        return answer

    async def handle(self, call, method, body) -> Answer:
        if self.net.nodes.get(self.peer.name) is not self:
            raise PeerUnreachable(f"the link to '{self.peer.name}' went down")
        try:
            return await self.handlers[method.name](call, method.request.model_validate(body.model_dump()))
        except Exception as error:
            raise error_of(Message(Kind.ERROR, 1, error.code, pack_error(error))) from error


class Node:
    """A node on the net; it can be ended in the middle of everything, and made again from what is on its disk."""

    def __init__(self, net: Net, name: str, folder: Path, url: str = "sqlite:///node.db") -> None:
        self.net = net
        self.name = name
        self.folder = folder
        self.url = url

    async def start(self, pace: Pace = QUICK) -> None:
        self.store = await open_store(self.url, self.folder, CLOCK)
        await self.store.queries._database.write(lambda it: it.change(CREATE))
        role = Role.CLOUD if self.name.startswith("cloud") else Role.EDGE
        self.transport = LossyTransport(self.net, Peer(self.name, frozenset({role}), self.name))
        boot = await self.store.cluster.next_boot()
        self.delivery = await Delivery.open(self.store, self.transport, CLOCK, boot, max_message=2**20, pace=pace)
        self.delivery.answer(NOTE, note)

    def join(self) -> None:
        self.net.nodes[self.name] = self.transport
        for other in [name for name in self.net.nodes if name != self.name]:
            self.net.link(self.name, other, up=True)

    async def end(self) -> None:
        """What is in flight is cut off; what is committed stays, whoever knows of it."""
        self.net.nodes.pop(self.name, None)
        await self.delivery.stop()
        await self.store.close()

    async def drained(self, seconds: float = 20.0) -> None:
        async with CLOCK.timeout(seconds):
            while self.delivery.waiting:
                await CLOCK.sleep(0.002)
