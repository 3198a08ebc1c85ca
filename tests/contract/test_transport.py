"""What does every transport promise? One suite over ZeroMQ with CURVE and over the loopback hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from node.cli.system import free_doors
from node.clock import SystemClock
from node.errors import Busy, Conflict, DeadlineExceeded, Forbidden, Internal, Invalid, NotFound, PeerUnreachable, TooLarge
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.transport import limits
from node.transport.auth import Directory
from node.transport.base import Answer, Call, Peer, Transport
from node.transport.keys import Identity, new_identity
from node.transport.loopback import LoopbackHub
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport


class Ask(Value):
    number: int = 0
    text: str = ""


class Told(Value):
    number: int


CLOCK = SystemClock()
ECHO = Method("test.echo", Ask, Told, frozenset(Role), Lane.DATA)
CLOUD_ONLY = Method("test.cloud", Ask, Told, frozenset({Role.CLOUD}))
UNKNOWN = Method("test.unknown", Ask, Told, frozenset(Role))
ROLES = {"cloud-1": frozenset({Role.CLOUD}), "edge-1": frozenset({Role.EDGE})}
FAST = LinkOptions("", heartbeat=0.5, suspect_after=2.0, redial=0.05, redial_refused=0.1, max_in_flight=256)


@dataclass
class Seen:
    """A node under test: its transport, and the ups and downs of its links."""

    transport: Transport
    ups: asyncio.Queue[tuple[str, bool]] = field(default_factory=asyncio.Queue)

    async def hears(self, peer: str, *, up: bool) -> None:
        async with CLOCK.timeout(8):
            while await self.ups.get() != (peer, up):
                pass


class World:
    """Two nodes, cloud-1 that listens and edge-1 that dials, over one kind of transport."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.hub = LoopbackHub()
        self.keys: dict[str, Identity] = {name: new_identity() for name in ROLES}
        self.running: list[Transport] = []
        self.address = f"tcp://127.0.0.1:{free_doors(1)[0]}"

    def make(self, name: str, options: LinkOptions = FAST, prepare: Callable[[Transport], None] | None = None) -> Seen:
        options = replace(options, name=name)
        transport: Transport
        if self.kind == "loopback":
            transport = self.hub.transport(name, ROLES[name], CLOCK, options)
        else:
            directory = Directory(
                (self.keys[peer].public, Peer(peer, ROLES[peer], self.keys[peer].fingerprint)) for peer in ROLES if peer != name
            )
            listen = (self.address,) if name == "cloud-1" else ()
            dial = (Dial(self.address, self.keys["cloud-1"].public),) if name == "edge-1" else ()
            transport = ZmqTransport(self.keys[name], directory, listen, dial, CLOCK, options)
        seen = Seen(transport)
        transport.watch(lambda peer, up: seen.ups.put_nowait((peer.name, up)))
        transport.answer(ECHO, echo)
        if prepare is not None:
            prepare(transport)
        return seen

    async def start(self, seen: Seen) -> Seen:
        self.running.append(seen.transport)
        await seen.transport.start()
        if isinstance(seen.transport, ZmqTransport) and seen.transport.endpoints:
            self.address = seen.transport.endpoints[0]
        return seen

    async def pair(
        self, options: LinkOptions = FAST, prepare: Callable[[Transport], None] | None = None
    ) -> tuple[Transport, Transport]:
        cloud = await self.start(self.make("cloud-1", options, prepare))
        edge = await self.start(self.make("edge-1", options, prepare))
        await cloud.hears("edge-1", up=True)
        await edge.hears("cloud-1", up=True)
        return cloud.transport, edge.transport


async def echo(call: Call, body: Ask) -> Answer[Told]:
    return Answer(Told(number=body.number), call.blobs)


def answering(
    method: Method[Ask, Told], handler: Callable[[Call, Ask], Awaitable[Answer[Told]]]
) -> Callable[[Transport], None]:
    return lambda transport: transport.answer(method, handler)


@pytest.fixture(params=["zmq", "loopback"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made = World(request.param)
    yield made
    for transport in reversed(made.running):
        await transport.stop()


async def test_either_side_calls_over_one_link(world: World) -> None:
    cloud, edge = await world.pair()
    assert (await edge.call("cloud-1", ECHO, Ask(number=1), timeout=5)).body == Told(number=1)
    assert (await cloud.call("edge-1", ECHO, Ask(number=2), timeout=5)).body == Told(number=2)


async def test_blobs_arrive_intact_and_in_order(world: World) -> None:
    _, edge = await world.pair()
    sent = (b"", bytes(range(256)), bytearray(b"y" * 700_000), memoryview(b"abcdef")[2:4])
    answer = await edge.call("cloud-1", ECHO, Ask(), blobs=sent, timeout=5)
    assert [bytes(blob) for blob in answer.blobs] == [bytes(blob) for blob in sent]


async def test_a_blob_may_be_larger_than_any_body(world: World) -> None:
    _, edge = await world.pair()
    picture = bytes(6 * 2**20)
    answer = await edge.call("cloud-1", ECHO, Ask(), blobs=[picture], timeout=5)
    assert len(answer.blobs[0]) == len(picture)


async def test_the_largest_message_that_is_allowed_passes(world: World) -> None:
    _, edge = await world.pair()
    blob = bytes(limits.MESSAGE_BYTES - limits.HEADER_BYTES - 100)
    answer = await edge.call("cloud-1", ECHO, Ask(number=1), blobs=[blob], timeout=10)
    assert len(answer.blobs[0]) == len(blob)


async def test_a_handler_s_error_arrives_as_its_own_class(world: World) -> None:
    async def refuse(call: Call, body: Ask) -> Answer[Told]:
        raise Conflict("it exists", hint="take another id")

    _, edge = await world.pair(prepare=answering(UNKNOWN, refuse))
    with pytest.raises(Conflict, match="it exists") as caught:
        await edge.call("cloud-1", UNKNOWN, Ask(), timeout=5)
    assert caught.value.hint == "take another id"


async def test_an_unexpected_error_is_logged_and_says_nothing_of_its_inside(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(call: Call, body: Ask) -> Answer[Told]:
        raise KeyError("a secret")

    _, edge = await world.pair(prepare=answering(UNKNOWN, fail))
    with pytest.raises(Internal) as caught:
        await edge.call("cloud-1", UNKNOWN, Ask(), timeout=5)
    assert "secret" not in str(caught.value)
    assert "a secret" in caplog.text


async def test_a_caller_without_the_role_is_forbidden(world: World) -> None:
    cloud, edge = await world.pair(prepare=answering(CLOUD_ONLY, echo))
    with pytest.raises(Forbidden, match=r"edge-1.*test\.cloud"):
        await edge.call("cloud-1", CLOUD_ONLY, Ask(), timeout=5)
    assert (await cloud.call("edge-1", CLOUD_ONLY, Ask(number=3), timeout=5)).body.number == 3


async def test_the_handler_learns_the_caller_from_the_link(world: World) -> None:
    peers: list[Peer] = []

    async def note(call: Call, body: Ask) -> Answer[Told]:
        peers.append(call.peer)
        return Answer(Told(number=0))

    _, edge = await world.pair(prepare=answering(UNKNOWN, note))
    await edge.call("cloud-1", UNKNOWN, Ask(text="I am cloud-1"), timeout=5)
    assert (peers[0].name, peers[0].roles) == ("edge-1", ROLES["edge-1"])


async def test_a_call_without_an_answer_ends_at_its_deadline_on_both_sides(world: World) -> None:
    cancelled = asyncio.Event()

    async def hang(call: Call, body: Ask) -> Answer[Told]:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    _, edge = await world.pair(prepare=answering(UNKNOWN, hang))
    with pytest.raises(DeadlineExceeded):
        await edge.call("cloud-1", UNKNOWN, Ask(), timeout=0.1)
    async with CLOCK.timeout(5):
        await cancelled.wait()


async def test_a_call_with_no_time_left_is_not_sent(world: World) -> None:
    async def never(call: Call, body: Ask) -> Answer[Told]:
        raise AssertionError

    _, edge = await world.pair(prepare=answering(UNKNOWN, never))
    with pytest.raises(DeadlineExceeded):
        await edge.call("cloud-1", UNKNOWN, Ask(), timeout=0.0)
    assert (await edge.call("cloud-1", ECHO, Ask(number=4), timeout=5)).body.number == 4


async def test_more_calls_than_allowed_in_flight_are_refused_and_the_rest_is_answered(world: World) -> None:
    release = asyncio.Event()

    async def wait(call: Call, body: Ask) -> Answer[Told]:
        await release.wait()
        return Answer(Told(number=body.number))

    _, edge = await world.pair(replace(FAST, max_in_flight=4), answering(UNKNOWN, wait))
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(edge.call("cloud-1", UNKNOWN, Ask(number=n), timeout=5)) for n in range(4)]
        await CLOCK.sleep(0)
        with pytest.raises(Busy):
            await edge.call("cloud-1", UNKNOWN, Ask(), timeout=5)
        release.set()
    assert [call.result().body.number for call in calls] == [0, 1, 2, 3]
    assert (await edge.call("cloud-1", ECHO, Ask(number=5), timeout=5)).body.number == 5


async def test_a_node_protects_itself_from_a_caller_that_sends_more_than_it_takes(world: World) -> None:
    release = asyncio.Event()

    async def wait(call: Call, body: Ask) -> Answer[Told]:
        await release.wait()
        return Answer(Told(number=1))

    cloud = await world.start(world.make("cloud-1", replace(FAST, max_in_flight=2), answering(UNKNOWN, wait)))
    edge = await world.start(world.make("edge-1"))
    await edge.hears("cloud-1", up=True)
    await cloud.hears("edge-1", up=True)
    calls = [asyncio.ensure_future(edge.transport.call("cloud-1", UNKNOWN, Ask(), timeout=5)) for _ in range(3)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    assert [type(call.exception()) for call in done] == [Busy]
    release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, Answer) for result in results) == 2


async def test_too_large_a_message_is_refused_before_it_is_sent(world: World) -> None:
    _, edge = await world.pair()
    with pytest.raises(TooLarge):
        await edge.call("cloud-1", ECHO, Ask(text="x" * 2**20), timeout=5)
    with pytest.raises(TooLarge):
        await edge.call("cloud-1", ECHO, Ask(), blobs=[bytes(5 * 2**20)] * 2, timeout=5)
    with pytest.raises(TooLarge):
        await edge.call("cloud-1", ECHO, Ask(), blobs=[b""] * 1000, timeout=5)
    assert (await edge.call("cloud-1", ECHO, Ask(number=6), timeout=5)).body.number == 6


async def test_too_large_a_reply_is_an_error_of_the_call(world: World) -> None:
    async def huge(call: Call, body: Ask) -> Answer[Told]:
        return Answer(Told(number=0), (bytes(5 * 2**20),) * 2)

    _, edge = await world.pair(prepare=answering(UNKNOWN, huge))
    with pytest.raises(TooLarge):
        await edge.call("cloud-1", UNKNOWN, Ask(), timeout=5)


async def test_an_unknown_method_is_not_found(world: World) -> None:
    _, edge = await world.pair()
    with pytest.raises(NotFound, match=r"test\.unknown"):
        await edge.call("cloud-1", UNKNOWN, Ask(), timeout=5)


async def test_a_body_that_breaks_its_model_is_invalid_and_names_the_field(world: World) -> None:
    class Other(Value):
        number: str

    twin = Method(ECHO.name, Other, Told, ECHO.callers)
    _, edge = await world.pair()
    with pytest.raises(Invalid, match="number"):
        await edge.call("cloud-1", twin, Other(number="seven"), timeout=5)


async def test_calling_somebody_without_a_link_says_so(world: World) -> None:
    _, edge = await world.pair()
    with pytest.raises(PeerUnreachable, match="edge-9"):
        await edge.call("edge-9", ECHO, Ask(), timeout=5)


async def test_links_say_who_is_there_how_far_and_how_much(world: World) -> None:
    cloud, edge = await world.pair()
    await edge.call("cloud-1", ECHO, Ask(), blobs=[bytes(10_000)], timeout=5)
    (link,) = edge.links()
    assert link.peer.name == "cloud-1"
    assert 0 < link.rtt_s < 1
    assert link.bytes_out > 10_000 < link.bytes_in
    assert [state.peer.name for state in cloud.links()] == ["edge-1"]


async def test_watchers_hear_that_a_link_goes_down(world: World) -> None:
    cloud = await world.start(world.make("cloud-1"))
    edge = await world.start(world.make("edge-1"))
    await cloud.hears("edge-1", up=True)
    await edge.hears("cloud-1", up=True)
    await edge.transport.stop()
    await cloud.hears("edge-1", up=False)
    await edge.hears("cloud-1", up=False)
    assert cloud.transport.links() == ()
    with pytest.raises(PeerUnreachable):
        await cloud.transport.call("edge-1", ECHO, Ask(), timeout=5)


async def test_a_failing_watcher_does_not_blind_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def fail(peer: Peer, up: bool) -> None:
        raise ValueError("watcher broke")

    cloud = world.make("cloud-1")
    cloud.transport.watch(fail)
    more = asyncio.Event()
    cloud.transport.watch(lambda peer, up: more.set())
    await world.start(cloud)
    await world.start(world.make("edge-1"))
    async with CLOCK.timeout(5):
        await more.wait()
    assert "watcher broke" in caplog.text


async def test_stop_fails_calls_in_flight_and_may_be_repeated(world: World) -> None:
    begun = asyncio.Event()

    async def hang(call: Call, body: Ask) -> Answer[Told]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    cloud, edge = await world.pair(prepare=answering(UNKNOWN, hang))
    waiting = asyncio.ensure_future(edge.call("cloud-1", UNKNOWN, Ask(), timeout=30))
    async with CLOCK.timeout(5):
        await begun.wait()
    await edge.stop()
    with pytest.raises(PeerUnreachable):
        await waiting
    await edge.stop()
    await cloud.stop()
    await cloud.stop()


async def test_a_peer_that_goes_down_fails_the_calls_to_it_at_once(world: World) -> None:
    begun = asyncio.Event()

    async def hang(call: Call, body: Ask) -> Answer[Told]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    cloud, edge = await world.pair(prepare=answering(UNKNOWN, hang))
    waiting = asyncio.ensure_future(edge.call("cloud-1", UNKNOWN, Ask(), timeout=30))
    async with CLOCK.timeout(5):
        await begun.wait()
        await cloud.stop()
        with pytest.raises(PeerUnreachable):
            await waiting


async def test_200_calls_at_once_each_get_their_own_answer(world: World) -> None:
    async def shuffled(call: Call, body: Ask) -> Answer[Told]:
        for _ in range(body.number % 7):
            await CLOCK.sleep(0)
        return Answer(Told(number=body.number * 2), call.blobs)

    _, edge = await world.pair(prepare=answering(UNKNOWN, shuffled))
    numbers = range(200)
    answers = await asyncio.gather(
        *(edge.call("cloud-1", UNKNOWN, Ask(number=n), blobs=[str(n).encode() * 500], timeout=10) for n in numbers)
    )
    assert [answer.body.number for answer in answers] == [n * 2 for n in numbers]
    assert [bytes(answer.blobs[0]) for answer in answers] == [str(n).encode() * 500 for n in numbers]


async def test_large_messages_both_ways_at_once_all_arrive(world: World) -> None:
    cloud, edge = await world.pair()
    blob = bytes(2 * 2**20)
    calls = [edge.call("cloud-1", ECHO, Ask(number=n), blobs=[blob], timeout=20) for n in range(12)]
    calls += [cloud.call("edge-1", ECHO, Ask(number=n), blobs=[blob], timeout=20) for n in range(12)]
    answers = await asyncio.gather(*calls)
    assert [answer.body.number for answer in answers] == [*range(12), *range(12)]


async def test_a_listener_that_restarts_is_linked_again(world: World) -> None:
    cloud = await world.start(world.make("cloud-1"))
    edge = await world.start(world.make("edge-1"))
    await edge.hears("cloud-1", up=True)
    await cloud.transport.stop()
    await edge.hears("cloud-1", up=False)
    cloud = await world.start(world.make("cloud-1"))
    await edge.hears("cloud-1", up=True)
    assert (await edge.transport.call("cloud-1", ECHO, Ask(number=7), timeout=5)).body.number == 7


async def test_a_dialler_that_restarts_is_linked_again(world: World) -> None:
    cloud = await world.start(world.make("cloud-1"))
    edge = await world.start(world.make("edge-1"))
    await cloud.hears("edge-1", up=True)
    await edge.transport.stop()
    await cloud.hears("edge-1", up=False)
    await world.start(world.make("edge-1"))
    await cloud.hears("edge-1", up=True)
    assert (await cloud.transport.call("edge-1", ECHO, Ask(number=8), timeout=5)).body.number == 8


async def test_a_handler_is_registered_once_and_before_start(world: World) -> None:
    cloud = world.make("cloud-1")
    with pytest.raises(Conflict):
        cloud.transport.answer(ECHO, echo)
    await world.start(cloud)
    with pytest.raises(Conflict):
        cloud.transport.answer(UNKNOWN, echo)


NOTE = Method("test.note", Ask, Told, frozenset({Role.EDGE}))
SMALL = Method("test.small", Ask, Told, frozenset(Role))


async def test_a_note_is_heard_once_and_nobody_answers(world: World) -> None:
    heard: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    def hear(transport: Transport) -> None:
        transport.hear(NOTE, lambda call, body: heard.put_nowait((call.peer.name, body.number)))

    cloud, edge = await world.pair(prepare=hear)
    for number in range(300):
        edge.tell("cloud-1", NOTE, Ask(number=number))
        if number % 100 == 99:
            await CLOCK.sleep(0)
    async with CLOCK.timeout(5):
        assert [await heard.get() for _ in range(300)] == [("edge-1", number) for number in range(300)]
    cloud.tell("edge-1", NOTE, Ask())  # its role may not
    edge.tell("cloud-1", UNKNOWN, Ask())  # nobody hears it
    assert (await edge.call("cloud-1", ECHO, Ask(number=1), timeout=5)).body.number == 1
    assert heard.empty()


async def test_a_note_to_nobody_is_told_to_whoever_sent_it(world: World) -> None:
    edge = world.make("edge-1").transport
    with pytest.raises(PeerUnreachable):
        edge.tell("cloud-1", NOTE, Ask())


async def test_more_notes_than_a_queue_holds_are_busy_and_the_link_lives_on(world: World) -> None:
    def prepare(transport: Transport) -> None:
        transport.hear(NOTE, lambda _call, _body: None)
        transport.answer(SMALL, echo)

    cloud, edge = await world.pair(prepare=prepare)
    with pytest.raises(Busy):
        for _ in range(10**6):
            edge.tell("cloud-1", NOTE, Ask(text="x" * 1000))
    answers: list[int] = []
    async with CLOCK.timeout(5):
        while not answers:
            with contextlib.suppress(Busy):
                answers.append((await edge.call("cloud-1", SMALL, Ask(number=1), timeout=5)).body.number)
            await CLOCK.sleep(0)
    assert cloud.links()


async def test_a_plain_function_answers_like_a_coroutine(world: World) -> None:
    def double(_call: Call, body: Ask) -> Answer[Told]:
        if body.number < 0:
            raise Conflict("below nought")
        if body.number == 0:
            raise ZeroDivisionError
        return Answer(Told(number=2 * body.number))

    _, edge = await world.pair(prepare=answering(SMALL, double))
    assert (await edge.call("cloud-1", SMALL, Ask(number=4), timeout=5)).body.number == 8
    with pytest.raises(Conflict, match="below nought"):
        await edge.call("cloud-1", SMALL, Ask(number=-1), timeout=5)
    with pytest.raises(Internal):
        await edge.call("cloud-1", SMALL, Ask(number=0), timeout=5)


async def test_a_picture_has_no_place_on_the_control_lane(world: World) -> None:
    _, edge = await world.pair(prepare=answering(SMALL, echo))
    with pytest.raises(TooLarge, match="message"):
        await edge.call("cloud-1", SMALL, Ask(), blobs=[bytes(limits.CONTROL_BYTES)], timeout=5)
