"""What happens to a link when one of its lanes is full, slow or broken? Real sockets, real handshakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import zmq
from peers import CLOCK, ECHO, FAST, MOST, PICTURES, Ask, Scene

from node.errors import PeerUnreachable
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.roles.shared.tasks import begin, end
from node.transport import limits, sockets
from node.transport.base import Answer, Call
from node.transport.frames import Kind, Message, decode, encode, pack_body
from node.transport.router import Connection
from node.transport.sockets import Outbox
from node.transport.zmq import ZmqTransport

QUIET = replace(FAST, heartbeat=30.0, suspect_after=60.0)  # nothing that would wake a socket by the way
NOTE_CHARS = 60_000
HANDSHAKE_S = 0.2
BEAT = replace(FAST, heartbeat=0.1, suspect_after=0.3, redial=0.02)


class Words(Value):
    text: str


WORDS = Method("test.words", Words, Ask, frozenset(Role), Lane.DATA)
SILENT = Method("test.silent", Ask, Ask, frozenset(Role), Lane.DATA)
SLOW = Method("test.slow", Ask, Ask, frozenset(Role))


def notes_at(socket: zmq.Socket[bytes], patience_ms: int) -> int:
    """Takes what has come, until nothing comes for so long; how many notes there were."""
    found = 0
    while socket.poll(patience_ms):
        found += sum(message.kind is Kind.NOTE for message in decode(receive(socket), 0.0, MOST))
    return found


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    frames = socket.recv_multipart()
    return frames[1:] if socket.type == zmq.ROUTER else frames


async def told_until_full(transport: ZmqTransport, to: str, outbox: Outbox) -> int:
    """Tells notes until the kernel's buffers and libzmq's queues at both ends are full and some wait; how many."""
    told = 0
    while not outbox:
        for _ in range(8):
            transport.tell(to, WORDS, Words(text="x" * NOTE_CHARS))
            told += 1
        await CLOCK.sleep(0.02)
    return told


async def all_come(socket: zmq.Socket[bytes], missing: int, own: zmq.Socket[bytes]) -> None:
    """What was told comes although the credit for it was taken in by a question that nobody asked for its sake."""
    heard = notes_at(socket, 200)  # the loop stands still meanwhile: when it goes on all credit has come
    own.get(zmq.EVENTS)  # takes it in, and with it what would have woken the loop
    assert 0 < heard < missing
    async with CLOCK.timeout(0.2):
        while heard < missing:
            heard += notes_at(socket, 0)
            await CLOCK.sleep(0.002)


async def test_credit_that_a_listener_takes_in_unnoticed_does_not_hold_up_what_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GUARD_S", 60.0)  # a look at the memory takes a turn by the way
    cloud = await scene.open(options=QUIET)
    lazy = scene.raw(scene.keys["edge-1"], hwm=2)
    await lazy.join("edge-1")
    await scene.hears("edge-1", up=True)
    router = cloud._routers[1]
    (connection,) = router._connections.values()
    assert lazy.data is not None
    told = await told_until_full(cloud, "edge-1", connection.outbox)
    await all_come(zmq.Socket.shadow(lazy.data.underlying), told, router._socket)


async def test_credit_that_a_dialler_takes_in_unnoticed_does_not_hold_up_what_waits(scene: Scene) -> None:
    cloud = await scene.open(options=QUIET)
    edge = await scene.joined("edge-1", QUIET)
    router = cloud._routers[1]
    router._pump.close()  # from now on it is read by the test
    (dealer,) = edge._dealers.values()
    assert dealer._session is not None
    wire = dealer._session._data
    assert wire is not None
    told = await told_until_full(edge, "cloud-1", wire._outbox)
    await all_come(router._socket, told, wire._socket)


async def silent(_call: Call, _body: Ask) -> Answer[Ask]:
    await CLOCK.sleep(60)
    raise AssertionError("nobody waits so long")


async def slow(_call: Call, body: Ask) -> Answer[Ask]:
    await CLOCK.sleep(0.3)
    return Answer(body)


class Narrow:
    """A way to a door: while it is `shut` connections are taken and stay dead, until it `heals` nothing comes through."""

    def __init__(self, port: int) -> None:
        self.shut = True
        self.heals = asyncio.Event()
        self.heals.set()
        self.taken = 0
        self._port = port
        self._ways: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return str(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        self.heals.set()
        self.cut()
        await end(*self._tasks)

    def cut(self) -> None:
        for way in self._ways:
            way.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self._ways.append(writer)
        if not self.shut:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._ways.append(there_writer)
            self._tasks += [begin(self._copy(reader, there_writer), "there"), begin(self._copy(there_reader, writer), "back")]

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await reader.read(2**16):
                await self.heals.wait()
                writer.write(some)
                await writer.drain()
        await self.heals.wait()  # of an end nothing is heard either
        writer.close()


async def narrow_data(scene: Scene, cloud: ZmqTransport) -> Narrow:
    """Has the greetings of that cloud send data by a narrow way."""
    control, data = cloud._routers
    narrow = Narrow(int(data.endpoints[0].rpartition(":")[2]))
    control._data_places = dict.fromkeys(control._data_places, await narrow.open())
    scene.stack.push_async_callback(narrow.close)
    return narrow


def control_connections(cloud: ZmqTransport) -> list[Connection]:
    return list(cloud._routers[0]._connections.values())


async def until(true: Callable[[], object]) -> None:
    async with CLOCK.timeout(5):
        while not true():
            await CLOCK.sleep(0.005)


async def test_a_data_handshake_that_takes_too_long_is_tried_again_and_costs_the_control_lane_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "HANDSHAKE_MS", int(HANDSHAKE_S * 1000))
    cloud = await scene.open(options=BEAT)
    narrow = await narrow_data(scene, cloud)
    edge = await scene.edge("edge-1", BEAT)
    await until(lambda: narrow.taken >= 2)  # the first handshake has run out
    before = control_connections(cloud)
    with pytest.raises(PeerUnreachable) as caught:
        await edge.call("cloud-1", ECHO, Ask(), timeout=1)
    assert "its data lane at" in caught.value.hint
    narrow.shut = False
    await scene.hears_all({"edge-1", "cloud-1 at edge-1"})
    assert control_connections(cloud) == before
    assert len(before) == 1
    assert (await edge.call("cloud-1", PICTURES, Ask(number=4), blobs=[b"x"], timeout=5)).body.number == 4


async def test_a_data_lane_that_breaks_comes_back_and_control_goes_on_meanwhile(scene: Scene) -> None:
    def register(transport: ZmqTransport) -> None:
        transport.answer(SILENT, silent)
        transport.answer(SLOW, slow)

    cloud = await scene.open(register=register)
    narrow = await narrow_data(scene, cloud)
    narrow.shut = False
    edge = await scene.joined("edge-1")
    await CLOCK.sleep(2 * FAST.redial)  # a lane that ends as soon as it was taken is another matter
    waiting = asyncio.ensure_future(edge.call("cloud-1", SILENT, Ask(), blobs=[b"x"], timeout=5))
    patient = asyncio.ensure_future(edge.call("cloud-1", SLOW, Ask(number=5), timeout=5))
    before = control_connections(cloud)
    await CLOCK.sleep(0.02)
    narrow.cut()
    with pytest.raises(PeerUnreachable):
        await waiting
    assert (await edge.call("cloud-1", ECHO, Ask(number=3), timeout=5)).body.number == 3
    await until(lambda: narrow.taken == 2)
    async with CLOCK.timeout(5):
        while True:
            with suppress(PeerUnreachable):
                assert (await edge.call("cloud-1", PICTURES, Ask(number=4), blobs=[b"x"], timeout=5)).body.number == 4
                break
            await CLOCK.sleep(0.01)
    assert (await patient).body.number == 5
    assert control_connections(cloud) == before
    assert scene.ups.empty()


async def test_a_link_without_a_data_lane_for_too_long_counts_as_down_until_there_is_one(scene: Scene) -> None:
    cloud = await scene.open(options=BEAT)
    narrow = await narrow_data(scene, cloud)
    narrow.shut = False
    await scene.joined("edge-1", BEAT)
    await CLOCK.sleep(2 * BEAT.redial)
    before = control_connections(cloud)
    narrow.shut = True
    narrow.cut()
    await scene.hears("edge-1", up=False)
    narrow.shut = False
    narrow.cut()
    await scene.hears("edge-1", up=True)
    assert control_connections(cloud) == before


async def test_a_newer_data_connection_of_a_key_takes_the_place_of_the_older(scene: Scene) -> None:
    cloud = await scene.open()
    joined = scene.raw(scene.keys["edge-1"])
    await joined.join("edge-1")
    await scene.hears("edge-1", up=True)
    old = joined.data
    assert old is not None
    newer = joined.knocking()
    scene.stack.callback(newer.close, 0)
    newer.connect(old.last_endpoint)
    await newer.send_multipart(encode((Message(Kind.HELLO, 0, "edge-1", pack_body(["raw", ""])),), 0.0))
    (before,) = cloud._routers[1]._connections.values()
    await until(lambda: before.ended)
    call = asyncio.ensure_future(cloud.call("edge-1", PICTURES, Ask(), blobs=[b"x"], timeout=5))
    (request,) = decode(await newer.recv_multipart(), CLOCK.monotonic(), MOST)
    await newer.send_multipart(encode((Message(Kind.REPLY, request.id, "", pack_body({"number": 9})),), 0.0))
    assert (await call).body.number == 9


async def test_a_partition_that_says_nothing_is_seen_by_the_heartbeats_of_the_dialler_at_both_ends_and_heals(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "LIBZMQ_HEARTBEAT", (100, 300, 400))
    cloud = await scene.open(options=QUIET)  # our own heartbeats have no part in it
    control, data = (Narrow(int(router.endpoints[0].rpartition(":")[2])) for router in cloud._routers)
    scene.address = f"tcp://127.0.0.1:{await control.open()}"
    places = cloud._routers[0]._data_places
    cloud._routers[0]._data_places = dict.fromkeys(places, await data.open())
    for narrow in (control, data):
        narrow.shut = False
        scene.stack.push_async_callback(narrow.close)
    await scene.joined("edge-1", QUIET)
    await CLOCK.sleep(0.3)  # the ROUTER hears of the TTL with the first heartbeat
    began = CLOCK.monotonic()
    for narrow in (control, data):
        narrow.heals.clear()
    missing = {("edge-1", False), ("cloud-1 at edge-1", False)}
    async with CLOCK.timeout(3):
        while missing:
            missing.discard(await scene.ups.get())
    assert CLOCK.monotonic() - began < 2
    for narrow in (control, data):
        narrow.heals.set()
    await scene.hears_all({"edge-1", "cloud-1 at edge-1"})
