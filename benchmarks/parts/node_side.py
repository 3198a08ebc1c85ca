"""The transport of a node as it ships: typed and validated both ways, CURVE, heartbeats, deadlines, on uvloop."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from side import SMALL, ask_many, obey_async, tell_many

from node import heap
from node.clock import SystemClock
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.transport.auth import Directory
from node.transport.base import Answer, Call, Peer
from node.transport.keys import Identity, fingerprint, new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport


class Words(Value):
    """A small message."""

    number: int
    text: str


class Size(Value):
    """What came."""

    bytes: int


EVERYBODY = frozenset(Role)
ECHO = Method("bench.echo", Words, Words, EVERYBODY)
FRAME = Method("bench.frame", Words, Size, EVERYBODY, lane=Lane.DATA)
NOTE = Method("bench.note", Words, Size, EVERYBODY)
COUNT = Method("bench.count", Size, Size, EVERYBODY)


def _directory(*people: tuple[str, str]) -> Directory:
    return Directory([(public, Peer(name, frozenset({Role.EDGE}), fingerprint(public))) for name, public in people])


def serve(_variant: str) -> None:
    """Answers until its input ends."""
    uvloop.run(_serve())


async def _serve() -> None:
    asker, here = new_identity(), new_identity()
    transport = ZmqTransport(
        here, _directory(("asker", asker.public)), ["tcp://127.0.0.1:*"], [], SystemClock(), LinkOptions("server")
    )
    counted = 0

    def echo(_call: Call, body: Words) -> Answer[Words]:
        return Answer(body)

    def frame(call: Call, _body: Words) -> Answer[Size]:
        return Answer(Size(bytes=len(call.blobs[0])))

    def note(_call: Call, _body: Words) -> None:
        nonlocal counted
        counted += 1

    def count(_call: Call, _body: Size) -> Answer[Size]:
        return Answer(Size(bytes=counted))

    transport.answer(ECHO, echo)
    transport.answer(FRAME, frame)
    transport.hear(NOTE, note)
    transport.answer(COUNT, count)
    await transport.start()
    heap.settle()  # as `ecnode up` does
    print("|".join((transport.endpoints[0], here.public, asker.public, asker.secret)), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await transport.stop()


def ask(_variant: str, address: str) -> None:
    """Carries orders out."""
    uvloop.run(_ask(address))


async def _ask(address: str) -> None:
    place, there, public, secret = address.split("|")
    transport = ZmqTransport(
        Identity(public, secret),
        _directory(("server", there)),
        [],
        [Dial(place, there)],
        SystemClock(),
        LinkOptions("asker"),
    )
    linked = asyncio.Event()
    transport.watch(lambda _peer, up: linked.set() if up else None)
    await transport.start()
    await linked.wait()
    heap.settle()
    small = Words(number=7, text=SMALL[:80].decode())

    async def call(body: bytes) -> object:
        if body is SMALL:
            return await transport.call("server", ECHO, small, timeout=30.0)
        return await transport.call("server", FRAME, small, blobs=(body,), timeout=30.0)

    async def tell(count: int) -> None:
        for _ in range(count):
            transport.tell("server", NOTE, small)

    async def counted() -> int:
        return (await transport.call("server", COUNT, Size(bytes=0), timeout=30.0)).body.bytes

    async def carry_out(case: str, seconds: float) -> dict[str, float]:
        if case == "oneway":
            return await tell_many(tell, counted, seconds)
        return await ask_many(call, case, seconds)

    await obey_async(carry_out)
    await transport.stop()
