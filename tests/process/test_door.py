"""Who gets in at the door of a node, and what can be done to it? Real sockets, real handshakes, hostile peers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
import uvloop
import zmq
from curve import Curve
from peers import CLOCK, ECHO, FAST, PICTURES, Ask, Scene, echo

from node.errors import Forbidden, NotBuilt, PeerUnreachable, Unavailable
from node.model.cluster import Role
from node.transport import limits
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.frames import Kind, Message, encode, pack_body, unpack_body
from node.transport.keys import new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

FLOOD = 1000
ENDLESS_BYTES = 192 * limits.MIB  # two looks, 0.1 s apart, at the 450 MB/s of an idle loopback; uncut it were 10 s of it
ENDLESS_S = 2.0
AHEAD_BYTES = limits.AHEAD_MESSAGES * limits.MESSAGE_BYTES


class Lines(logging.Handler):
    """The log, as something to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put_nowait(record.getMessage())

    async def hears(self, line: str) -> None:
        async with CLOCK.timeout(8):
            while await self._lines.get() != line:
                pass


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("node.transport.dealer")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def test_an_unknown_key_is_refused_and_named_in_the_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    cloud = await scene.open()
    stranger = new_identity()
    assert await scene.raw(stranger).event() == zmq.EVENT_HANDSHAKE_FAILED_AUTH
    assert cloud.links() == ()
    (line,) = [record for record in caplog.records if record.message == "unknown key refused"]
    assert vars(line)["fingerprint"] == stranger.fingerprint


async def test_a_peer_without_encryption_is_refused(scene: Scene) -> None:
    cloud = await scene.open()
    plain = scene.raw(None)
    assert await plain.event() != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert cloud.links() == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the dying thread is the point
async def test_when_the_zap_thread_is_dead_nobody_gets_in_and_the_node_says_so(scene: Scene) -> None:
    class Deadly(Directory):
        """Ends the thread that asks it, once it is told to."""

        armed = False

        def find(self, public: str) -> Peer | None:
            if self.armed and threading.current_thread().name == "ecnode-zap":
                raise SystemExit
            return super().find(public)

    directory = Deadly(scene.records("edge-1"))
    cloud = await scene.open(directory)
    assert cloud.healthy() is None
    directory.armed = True
    assert await scene.raw(scene.keys["edge-1"]).event() != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert await scene.raw(scene.keys["edge-1"]).event() != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert await scene.raw(new_identity()).event() != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert "has ended" in (cloud.healthy() or "")
    assert cloud.links() == ()


async def test_an_exception_while_admitting_is_a_refusal_and_the_door_lives_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Directory):
        armed = False

        def find(self, public: str) -> Peer | None:
            if self.armed and threading.current_thread().name == "ecnode-zap":
                raise KeyError("directory is broken")
            return super().find(public)

    directory = Broken(scene.records("edge-1"))
    await scene.open(directory)
    directory.armed = True
    assert await scene.raw(scene.keys["edge-1"]).event() == zmq.EVENT_HANDSHAKE_FAILED_AUTH
    directory.armed = False
    assert await scene.raw(scene.keys["edge-1"]).event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert "directory is broken" in caplog.text


async def test_a_door_that_admits_everybody_does_not_open(scene: Scene) -> None:
    class Open(Directory):
        def find(self, public: str) -> Peer | None:
            return Peer("anybody", frozenset({Role.CLOUD}), "")

    with pytest.raises(Unavailable, match="did not refuse an unknown key"):
        await scene.open(Open([]))


async def test_a_door_that_admits_a_stranger_over_a_real_connection_does_not_open(scene: Scene) -> None:
    class OpenLater(Directory):
        asked = 0

        def find(self, public: str) -> Peer | None:
            self.asked += 1
            return None if self.asked == 1 else Peer("anybody", frozenset({Role.CLOUD}), "")

    with pytest.raises(Unavailable, match="admitted in the self-test"):
        await scene.open(OpenLater([]))


async def test_a_taken_address_is_said(scene: Scene) -> None:
    await scene.open()
    second = ZmqTransport(new_identity(), scene.directory, [scene.address], [], CLOCK, FAST)
    with pytest.raises(Unavailable, match="cannot listen"):
        await second.start()
    await second.stop()


async def test_a_stolen_routing_id_gains_nothing(scene: Scene) -> None:
    cloud = await scene.open()
    victim = scene.raw(scene.keys["edge-1"], b"\x07victim")
    await victim.join("edge-1")
    await scene.hears("edge-1", up=True)
    thief = scene.raw(scene.keys["edge-2"], b"\x07victim")
    await thief.event()
    await thief.say(Message(Kind.HELLO, 0, "edge-2"))
    call = asyncio.ensure_future(cloud.call("edge-1", ECHO, Ask(number=1), timeout=5))
    request = await victim.hear(Kind.REQUEST)
    await thief.say(Message(Kind.REPLY, request.id, "", pack_body({"number": 666})))
    await victim.say(Message(Kind.REPLY, request.id, "", pack_body({"number": 1})))
    assert (await call).body.number == 1
    assert [link.peer.name for link in cloud.links()] == ["edge-1"]


async def test_an_answer_from_another_peer_than_the_one_asked_is_ignored(scene: Scene) -> None:
    cloud = await scene.open()
    asked, other = scene.raw(scene.keys["edge-1"]), scene.raw(scene.keys["edge-2"])
    await asked.join("edge-1")
    await other.join("edge-2")
    await scene.hears("edge-2", up=True)
    call = asyncio.ensure_future(cloud.call("edge-1", ECHO, Ask(), timeout=5))
    request = await asked.hear(Kind.REQUEST)
    await other.say(Message(Kind.REPLY, request.id, "", pack_body({"number": 666})))
    await other.say(Message(Kind.PING, 9))
    await other.hear(Kind.PONG)  # so the false answer has been read
    await asked.say(Message(Kind.REPLY, request.id, "", pack_body({"number": 1})))
    assert (await call).body.number == 1


async def test_a_name_that_is_not_the_key_s_is_refused(scene: Scene) -> None:
    cloud = await scene.open()
    liar = scene.raw(scene.keys["edge-1"])
    await liar.say(Message(Kind.HELLO, 0, "edge-2"))
    complaint = await liar.hear(Kind.ERROR)
    assert (complaint.id, complaint.word) == (0, Forbidden.code)
    assert cloud.links() == ()


async def test_another_version_of_the_wire_is_answered_clearly(scene: Scene) -> None:
    await scene.open()
    future = scene.raw(scene.keys["edge-1"])
    await future.socket.send_multipart([b"\xec\x07whatever", b""])
    complaint = await future.hear(Kind.ERROR)
    assert "version 2" in str(unpack_body(complaint.body))


async def test_three_undecodable_messages_end_both_lanes_of_a_peer(scene: Scene) -> None:
    cloud = await scene.open()
    fuzzer, good = scene.raw(scene.keys["edge-1"]), await scene.joined("edge-2")
    await fuzzer.join("edge-1")
    await scene.hears("edge-1", up=True)
    for _ in range(3):
        await fuzzer.socket.send_multipart([os.urandom(40), os.urandom(40)])
    await scene.hears("edge-1", up=False)
    assert await fuzzer.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert await fuzzer.event() == zmq.EVENT_DISCONNECTED
    assert [one.peer.name for router in cloud._routers for one in router._connections.values()] == ["edge-2", "edge-2"]
    assert [(one.peer.name, one.times) for one in scene.directory.offences.due(0.0)] == [("edge-1", 1)]
    assert (await good.call("cloud-1", ECHO, Ask(number=2), timeout=5)).body.number == 2
    assert [link.peer.name for link in cloud.links()] == ["edge-2"]


async def test_the_newest_connection_of_a_key_is_the_link(scene: Scene) -> None:
    cloud = await scene.open()
    old = scene.raw(scene.keys["edge-1"])
    await old.join("edge-1")
    await scene.hears("edge-1", up=True)
    new = scene.raw(scene.keys["edge-1"])
    await new.join("edge-1")
    await scene.hears("edge-1", up=True)
    call = asyncio.ensure_future(cloud.call("edge-1", ECHO, Ask(number=3), timeout=5))
    request = await new.hear(Kind.REQUEST)
    await new.say(Message(Kind.REPLY, request.id, "", pack_body({"number": 3})))
    assert (await call).body.number == 3


async def test_what_an_ended_connection_still_had_under_way_opens_no_new_link(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = await scene.open()
    old = scene.raw(scene.keys["edge-1"])
    await old.join("edge-1")
    await scene.hears("edge-1", up=True)
    router = cloud._routers[0]
    (connection,) = router._connections.values()
    router.drop(connection, "forgotten by the test, not cut", cut=False)  # so that its messages still come
    await old.say(Message(Kind.PING, 9))
    new = await scene.joined("edge-2")
    assert (await new.call("cloud-1", ECHO, Ask(number=8), timeout=5)).body.number == 8
    assert [link.peer.name for link in cloud.links()] == ["edge-2"]
    assert "message refused" not in caplog.text


async def test_a_silent_peer_is_taken_for_gone(scene: Scene) -> None:
    await scene.open(options=replace(FAST, heartbeat=0.05, suspect_after=0.2))
    silent = scene.raw(scene.keys["edge-1"])
    await silent.join("edge-1")
    await scene.hears("edge-1", up=True)
    await scene.hears("edge-1", up=False)


async def test_an_expired_request_is_not_executed(scene: Scene) -> None:
    await scene.open()
    late = scene.raw(scene.keys["edge-1"])
    await late.join("edge-1")
    await late.say(Message(Kind.REQUEST, 5, ECHO.name, pack_body({"number": 1}), deadline=CLOCK.monotonic()))
    answer = await late.hear(Kind.ERROR)
    assert (answer.id, answer.word) == (5, "EC-DEADLINE")


async def test_garbage_on_the_port_harms_nobody(scene: Scene) -> None:
    cloud = await scene.open()
    edge = await scene.joined("edge-1")
    host, _, port = scene.address.removeprefix("tcp://").rpartition(":")
    for rubbish in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(5000), b"\xff" + bytes(8) + b"\x7f" + os.urandom(200)):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(rubbish)
        writer.close()
        await writer.wait_closed()
    assert (await edge.call("cloud-1", ECHO, Ask(number=4), timeout=5)).body.number == 4
    assert cloud.healthy() is None


async def test_a_refused_peer_says_what_to_approve_and_joins_once_it_is_enrolled(scene: Scene, lines: Lines) -> None:
    await scene.open()
    scene.keys["edge-3"] = new_identity()
    edge = await scene.edge("edge-3")
    await lines.hears("refused: the other side has to approve this node's key")
    with pytest.raises(PeerUnreachable) as caught:
        await edge.call("cloud-1", ECHO, Ask(), timeout=1)
    assert scene.keys["edge-3"].fingerprint in caught.value.hint
    scene.directory.replace(scene.records("edge-1", "edge-2", "edge-3"))
    await scene.hears("edge-3", up=True)


async def test_at_its_usual_pace_a_refused_node_joins_within_ten_seconds_of_its_approval(scene: Scene, lines: Lines) -> None:
    await scene.open()
    scene.keys["edge-3"] = new_identity()
    await scene.edge("edge-3", LinkOptions("edge-3"))
    await lines.hears("refused: the other side has to approve this node's key")
    scene.directory.replace(scene.records("edge-1", "edge-2", "edge-3"))
    async with CLOCK.timeout(10):
        while await scene.ups.get() != ("edge-3", True):
            pass


async def test_a_door_with_another_key_than_expected_is_not_entered(scene: Scene, lines: Lines) -> None:
    await scene.open()
    scene.key = new_identity()  # what the edge believes
    edge = await scene.edge("edge-1")
    await lines.hears("handshake failed")
    with pytest.raises(PeerUnreachable) as caught:
        await edge.call("cloud-1", ECHO, Ask(), timeout=1)
    assert "is the key of that door the right one" in caught.value.hint


async def test_a_revoked_peer_is_cut_off_at_once_and_others_stay(scene: Scene) -> None:
    cloud = await scene.open()
    await scene.joined("edge-1")
    other = await scene.joined("edge-2")
    scene.directory.replace(scene.records("edge-2"))
    await scene.hears("edge-1", up=False)
    assert (await other.call("cloud-1", ECHO, Ask(number=5), timeout=5)).body.number == 5
    assert [link.peer.name for link in cloud.links()] == ["edge-2"]


async def test_two_nodes_that_dial_each_other_are_one_peer(scene: Scene) -> None:
    keys = {name: new_identity() for name in ("edge-8", "edge-9")}
    peers = {name: Peer(name, frozenset({Role.EDGE}), key.fingerprint) for name, key in keys.items()}
    ports = {name: f"ipc://@ecnode-test-{os.getpid()}-{name}" for name in keys}
    ups: asyncio.Queue[str] = asyncio.Queue()
    nodes = {}
    for name, other in (("edge-8", "edge-9"), ("edge-9", "edge-8")):
        directory = Directory([(keys[other].public, peers[other])])
        dial = [Dial(ports[other], keys[other].public)]
        node = ZmqTransport(keys[name], directory, [ports[name]], dial, CLOCK, replace(FAST, name=name))
        node.answer(ECHO, echo)
        node.watch(lambda peer, up: ups.put_nowait(f"{peer.name} {up}"))
        scene.stack.push_async_callback(node.stop)
        await node.start()
        nodes[name] = node
    async with CLOCK.timeout(6):
        assert {await ups.get(), await ups.get()} == {"edge-8 True", "edge-9 True"}
    for name, other in (("edge-8", "edge-9"), ("edge-9", "edge-8")):
        assert (await nodes[name].call(other, ECHO, Ask(number=6), timeout=5)).body.number == 6
        assert len(nodes[name].links()) == 1


def endless(scene: Scene) -> tuple[int, float]:
    """Sends one message without an end; how many bytes were taken, in how many seconds."""
    sent, frame = 0, os.urandom(512 * limits.KIB)
    with Curve(scene.address, scene.key.public, scene.keys["edge-1"]) as member:
        (hello,) = encode((Message(Kind.HELLO, 0, "edge-1", pack_body(["raw", ""])),), 0.0)
        member.send(bytes(hello))
        began = CLOCK.monotonic()
        with suppress(OSError):
            while CLOCK.monotonic() - began < 10:
                member.send(frame, more=True)
                sent += len(frame)
        return sent, CLOCK.monotonic() - began


async def test_a_message_without_an_end_is_cut_before_it_fills_the_memory(scene: Scene) -> None:
    await scene.open()
    good = await scene.joined("edge-2")
    with ThreadPoolExecutor(1) as pool:
        sent, seconds = await asyncio.get_running_loop().run_in_executor(pool, endless, scene)
    assert sent <= ENDLESS_BYTES, f"{sent / limits.MIB:.0f} MiB in {seconds:.2f} s"
    assert seconds <= ENDLESS_S
    (offence,) = scene.directory.offences.due(0.0)
    assert (offence.peer.name, offence.reason) == ("edge-1", "sends a message without an end")
    assert (await good.call("cloud-1", ECHO, Ask(number=4), timeout=5)).body.number == 4


async def test_a_peer_that_sends_much_but_finishes_its_messages_is_not_cut(scene: Scene) -> None:
    cloud = await scene.open()
    edge = await scene.joined("edge-1")
    picture, end = bytes(6 * 2**20), CLOCK.monotonic() + 4 * limits.GUARD_S
    calls = 0
    while CLOCK.monotonic() < end or calls * len(picture) < 2 * AHEAD_BYTES:
        await edge.call("cloud-1", PICTURES, Ask(), blobs=[picture], timeout=10)
        calls += 1
    assert [link.peer.name for link in cloud.links()] == ["edge-1"]


async def test_a_flood_that_came_while_the_loop_was_busy_is_read_in_batches_between_which_others_have_their_turn(
    scene: Scene,
) -> None:
    cloud = await scene.open()
    flood = scene.raw(scene.keys["edge-1"])
    await flood.join("edge-1")
    await scene.hears("edge-1", up=True)
    (connection,) = cloud._routers[0]._connections.values()
    link, turns = connection.link, list[int]()
    assert link is not None
    again = Message(Kind.HELLO, 0, "edge-1")  # of a link that has greeted it changes nothing

    writer: zmq.Socket[bytes] = zmq.Socket.shadow(flood.socket.underlying)
    end = link.bytes_in + FLOOD * again.size
    for _ in range(FLOOD):  # nothing is awaited: the loop stands still
        writer.send_multipart(encode((again,), 0.0))
    async with CLOCK.timeout(5):
        while link.bytes_in < end:
            turns.append(link.bytes_in)
            await CLOCK.sleep(0)
    steps = [(after - before) // again.size for before, after in itertools.pairwise([*turns, end])]
    assert max(steps) <= 2 * limits.TURN_MESSAGES  # the socket and a turn that was put off may fall into one round of the loop
    assert max(steps) > limits.TURN_MESSAGES / 2, "a turn for each message is no batch"


async def _one_call() -> int:
    async with AsyncExitStack() as stack:
        scene = Scene(stack)
        await scene.open()
        edge = await scene.joined("edge-1")
        return (await edge.call("cloud-1", ECHO, Ask(number=7), timeout=5)).body.number


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_it_works_on_either_event_loop(runner: Callable[[Awaitable[int]], int]) -> None:
    assert runner(_one_call()) == 7


def test_links_without_encryption_are_not_built() -> None:
    with pytest.raises(NotBuilt):
        LinkOptions("cloud-1", security="null")


async def test_a_data_lane_without_a_link_is_cut(scene: Scene) -> None:
    await scene.open()
    joined = scene.raw(scene.keys["edge-1"])
    await joined.join("edge-1")
    await scene.hears("edge-1", up=True)
    stranger = scene.raw(scene.keys["edge-2"])
    stranger.socket.connect(joined.data.last_endpoint)  # the door of the data lane, without a greeting at the other one
    await stranger.say(Message(Kind.HELLO, 0, "edge-2"))
    assert await stranger.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED


async def test_control_does_not_wait_behind_pictures(scene: Scene) -> None:
    await scene.open()
    edge = await scene.joined("edge-1")
    pictures = [
        asyncio.ensure_future(edge.call("cloud-1", PICTURES, Ask(number=n), blobs=[bytes(7 * 2**20)], timeout=30))
        for n in range(4)
    ]
    assert (await edge.call("cloud-1", ECHO, Ask(number=9), timeout=5)).body.number == 9
    assert not any(picture.done() for picture in pictures)
    assert [(await picture).body.number for picture in pictures] == [0, 1, 2, 3]
