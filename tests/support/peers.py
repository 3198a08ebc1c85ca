"""A door for peers on a real socket, and peers that keep to our rules or do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from node.clock import SystemClock
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.transport.auth import Directory
from node.transport.base import Answer, Call, Peer
from node.transport.frames import Kind, Message, decode, encode, pack_body, unpack_body
from node.transport.keys import Identity, new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

CLOCK = SystemClock()
FAST = LinkOptions("cloud-1", heartbeat=0.5, suspect_after=2.0, redial=0.05, redial_refused=0.1)
MOST = FAST.max_message
FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class Ask(Value):
    number: int = 0


ECHO = Method("test.echo", Ask, Ask, frozenset(Role))
PICTURES = Method("test.pictures", Ask, Ask, frozenset(Role), Lane.DATA)


async def echo(call: Call, body: Ask) -> Answer[Ask]:
    return Answer(body, call.blobs)


class Raw:
    """A peer that speaks ZeroMQ but not our rules."""

    def __init__(
        self,
        context: zmq.asyncio.Context,
        address: str,
        server: str,
        key: Identity | None,
        *,
        routing_id: bytes = b"",
        hwm: int = 1000,
    ) -> None:
        self.context, self.address, self.server, self.key, self.hwm = context, address, server, key, hwm
        self.data: zmq.asyncio.Socket | None = None
        self.socket = self.knocking()
        if routing_id:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        self.monitor = self.socket.get_monitor_socket(FAILED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self.socket.connect(address)

    def knocking(self) -> zmq.asyncio.Socket:
        socket = self.context.socket(zmq.DEALER)
        socket.linger = 0
        socket.rcvhwm = self.hwm
        if self.key is not None:
            socket.curve_publickey, socket.curve_secretkey = self.key.public.encode(), self.key.secret.encode()
            socket.curve_serverkey = self.server.encode()
        return socket

    async def event(self) -> int:
        async with CLOCK.timeout(6):
            return int((await recv_monitor_message(self.monitor))["event"])

    async def say(self, message: Message) -> None:
        await self.socket.send_multipart(encode((message,), CLOCK.monotonic()))

    async def hear(self, kind: Kind) -> Message:
        """The next message of that kind; pings and the like are passed over."""
        async with CLOCK.timeout(6):
            while True:
                for message in decode(await self.socket.recv_multipart(), CLOCK.monotonic(), MOST):
                    if message.kind is kind:
                        return message

    async def answer(self, number: int) -> Message:
        """The reply or the error to that request."""
        async with CLOCK.timeout(6):
            while True:
                for message in decode(await self.socket.recv_multipart(), CLOCK.monotonic(), MOST):
                    if message.kind in {Kind.REPLY, Kind.ERROR} and message.id == number:
                        return message

    async def join(self, name: str) -> None:
        hello = Message(Kind.HELLO, 0, name, pack_body(["raw", ""]))
        await self.say(hello)
        match unpack_body((await self.hear(Kind.HELLO)).body):
            case [str(), str(port)]:
                self.data = self.knocking()
                self.data.connect(f"{self.address.rpartition(':')[0]}:{port}")
                await self.data.send_multipart(encode((hello,), CLOCK.monotonic()))

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)
        if self.data is not None:
            self.data.close(0)


class Scene:
    """One listening node, cloud-1, and whoever comes to its door."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.key = new_identity()
        self.keys = {"edge-1": new_identity(), "edge-2": new_identity()}
        self.directory = Directory(self.records("edge-1", "edge-2"))
        self.ups: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        self.context = zmq.asyncio.Context()
        stack.callback(self.context.term)

    def records(self, *names: str) -> list[tuple[str, Peer]]:
        return [(self.keys[name].public, Peer(name, frozenset({Role.EDGE}), self.keys[name].fingerprint)) for name in names]

    async def open(
        self,
        directory: Directory | None = None,
        options: LinkOptions = FAST,
        register: Callable[[ZmqTransport], None] = lambda _: None,
    ) -> ZmqTransport:
        cloud = ZmqTransport(self.key, directory or self.directory, ["tcp://127.0.0.1:0"], [], CLOCK, options)
        cloud.watch(lambda peer, up: self.ups.put_nowait((peer.name, up)))
        cloud.answer(ECHO, echo)
        cloud.answer(PICTURES, echo)
        register(cloud)
        self.stack.push_async_callback(cloud.stop)
        await cloud.start()
        self.address = cloud.endpoints[0]
        return cloud

    async def edge(self, name: str, options: LinkOptions = FAST) -> ZmqTransport:
        known = Directory([(self.key.public, Peer("cloud-1", frozenset({Role.CLOUD}), self.key.fingerprint))])
        dial = [Dial(self.address, self.key.public)]
        edge = ZmqTransport(self.keys[name], known, [], dial, CLOCK, replace(options, name=name))
        edge.answer(ECHO, echo)
        edge.watch(lambda peer, up: self.ups.put_nowait((f"{peer.name} at {name}", up)))
        self.stack.push_async_callback(edge.stop)
        await edge.start()
        return edge

    async def joined(self, name: str, options: LinkOptions = FAST) -> ZmqTransport:
        """An edge whose link is up at both ends, whichever hears of it first."""
        edge = await self.edge(name, options)
        await self.hears_all({name, f"cloud-1 at {name}"})
        return edge

    async def hears_all(self, missing: set[str]) -> None:
        """Until all of these have come up, in whatever order."""
        async with CLOCK.timeout(6):
            while missing:
                who, up = await self.ups.get()
                missing = missing - {who} if up else missing

    def raw(self, key: Identity | None, routing_id: bytes = b"", hwm: int = 1000) -> Raw:
        raw = Raw(self.context, self.address, self.key.public, key, routing_id=routing_id, hwm=hwm)
        self.stack.callback(raw.close)
        return raw

    async def hears(self, name: str, *, up: bool) -> None:
        async with CLOCK.timeout(6):
            while await self.ups.get() != (name, up):
                pass


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    before = set(threading.enumerate())
    async with AsyncExitStack() as stack:
        yield Scene(stack)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)  # the one that waited for a child is about to end
        assert not thread.is_alive(), thread
