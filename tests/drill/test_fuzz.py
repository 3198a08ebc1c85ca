"""A member that sends rubbish and strangers that send worse: the node lives on, does not grow, and serves others meanwhile."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator

import psutil
import pytest
import zmq
import zmq.asyncio
from crowd import CLOCK, Cloud
from reports import a_report

from node.model.cluster import Role
from node.model.wire.member import NODE_REPORT, Report
from node.transport.bodies import pack_value
from node.transport.frames import Kind, Message, encode, pack_body
from node.transport.keys import Identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

log = logging.getLogger(__name__)

SEED = 20_261_130
MUTATED = 100_000
RAW = 20_000
GROWTH_MIB = 10.0
GOOD_P99_S = 0.2
EVERY_S = 0.02
BURST = 10  # messages between two looks at whether the connection was cut
STRANGERS = 16  # raw connections at a time
MIB = 2**20


@pytest.fixture
def cloud(tmp_path) -> Iterator[Cloud]:
    made = Cloud(tmp_path, ["edge-1", "edge-2"])
    made.start()
    yield made
    made.kill()


def mutations(chance: random.Random) -> Iterator[list[bytes]]:
    """Messages of ours with bytes flipped, cut, doubled or put in, frames left out or too many."""
    report = Message(Kind.REQUEST, 7, NODE_REPORT.name, pack_value(Report(report=a_report("edge-1", Role.EDGE))), (), 5.0)
    seeds = [
        encode((message,), 0.0)
        for message in (
            report,
            Message(Kind.PING, 1),
            Message(Kind.REPLY, 3, "", pack_body({"ok": True})),
            Message(Kind.NOTE, 0, NODE_REPORT.name, pack_body({"report": {}}), (b"blob",)),
            Message(Kind.HELLO, 0, "edge-1", pack_body(["raw", ""])),
        )
    ]
    while True:
        frames = [bytearray(frame) for frame in chance.choice(seeds)]
        frame = chance.choice(frames)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(frame)) if frame else 0
            match chance.randrange(5):
                case 0 if frame:
                    frame[at] ^= 1 << chance.randrange(8)
                case 1:
                    del frame[at:]
                case 2:
                    frame[at:at] = chance.randbytes(chance.randint(1, 40))
                case 3:
                    frame += frame[at:]
                case _:
                    frames.append(bytearray(chance.randbytes(chance.randrange(60))))
        yield [bytes(one) for one in frames[:40]]


class Fuzzer:
    """Keeps coming back with its key after each cut."""

    def __init__(self, cloud: Cloud, key: Identity) -> None:
        self._cloud = cloud
        self._key = key
        self.sent = self.handshakes = 0

    async def run(self, count: int) -> None:
        source = mutations(random.Random(SEED))
        self._context = zmq.asyncio.Context()
        while self.sent < count:
            await self._connection(source, count)
        self._context.term()

    async def _connection(self, source: Iterator[list[bytes]], count: int) -> None:
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.curve_publickey, socket.curve_secretkey = self._key.public.encode(), self._key.secret.encode()
        socket.curve_serverkey = self._cloud.identity.public.encode()
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        try:
            socket.connect(self._cloud.address)
            async with CLOCK.timeout(10):
                await monitor.recv_multipart()
            self.handshakes += 1
            await socket.send_multipart(encode((Message(Kind.HELLO, 0, "edge-1", pack_body(["raw", ""])),), 0.0))
            while self.sent < count and not await monitor.poll(0):
                for _ in range(BURST):
                    async with CLOCK.timeout(10):
                        await socket.send_multipart(next(source))
                    self.sent += 1
                await CLOCK.sleep(0)
        finally:
            socket.disable_monitor()
            monitor.close(0)
            socket.close(0)


async def knock(address: str, count: int, chance: random.Random) -> int:
    """Opens so many connections, one after the other, and says what no peer says; how many were taken."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE".ljust(55, b"\0")
    taken = 0
    for _ in range(count):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            continue
        taken += 1
        noise = chance.randbytes(chance.randrange(2000))
        rubbish = chance.choice((b"", b"GET / HTTP/1.1\r\n\r\n", noise, greeting + noise))
        writer.write(rubbish)
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            continue  # it was quicker
    return taken


async def attack(fuzzer: Fuzzer, address: str) -> int:
    """All of it; how many raw connections were taken."""
    await fuzzer.run(MUTATED)
    chance = random.Random(SEED)
    return sum(await asyncio.gather(*(knock(address, RAW // STRANGERS, chance) for _ in range(STRANGERS))))


async def good_peer(edge: ZmqTransport, over: asyncio.Event) -> list[float]:
    """How long each of its reports took, one after the other, until it is over."""
    took = []
    message = Report(report=a_report("edge-2", Role.EDGE))
    while not over.is_set():
        began = CLOCK.monotonic()
        await edge.call("cloud-1", NODE_REPORT, message, timeout=5.0)
        took.append(CLOCK.monotonic() - began)
        await CLOCK.sleep(EVERY_S)
    return took


def resident_mib(process: psutil.Process) -> float:
    return process.memory_info().rss / MIB


@pytest.mark.drill
async def test_rubbish_of_a_member_and_of_strangers_neither_ends_nor_fills_a_node_nor_slows_another_peer(cloud: Cloud) -> None:
    chance = random.Random(SEED)
    linked, over = asyncio.Event(), asyncio.Event()
    options = LinkOptions("edge-2")
    edge = ZmqTransport(cloud.keys["edge-2"], cloud.known, [], [Dial(cloud.address, cloud.identity.public)], CLOCK, options)
    edge.hear(NODE_REPORT, lambda _call, _report: None)
    edge.watch(lambda _peer, up: linked.set() if up else None)
    await edge.start()
    try:
        async with CLOCK.timeout(10):
            await linked.wait()
        await Fuzzer(cloud, cloud.keys["edge-1"]).run(MUTATED // 100)  # buffers, caches and log files are there after this
        await asyncio.gather(*(knock(cloud.address, 20, chance) for _ in range(STRANGERS)))
        before = resident_mib(cloud.system)
        good = asyncio.ensure_future(good_peer(edge, over))
        fuzzer = Fuzzer(cloud, cloud.keys["edge-1"])
        taken = await asyncio.to_thread(asyncio.run, attack(fuzzer, cloud.address))  # on a loop of its own
        over.set()
        took = sorted(await good)
        growth = resident_mib(cloud.system) - before
    finally:
        await edge.stop()
    p99 = took[int(len(took) * 0.99)]
    found = (
        f"{fuzzer.sent} mutated messages over {fuzzer.handshakes} handshakes, {taken} raw connections: {growth:+.1f} MiB, "
        f"{len(took)} calls of a good peer, p99 {p99 * 1000:.0f} ms, most {took[-1] * 1000:.0f} ms"
    )
    log.info(found)
    assert fuzzer.sent >= MUTATED, found
    assert taken >= RAW * 0.99, found
    assert growth <= GROWTH_MIB, found
    assert p99 <= GOOD_P99_S, found
