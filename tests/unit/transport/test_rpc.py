"""What does the core do with the messages of a link? Driven by hand, on a clock that stands still."""

from __future__ import annotations

import asyncio

import pytest

from node.clock import ManualClock
from node.errors import Busy, DeadlineExceeded, Malformed, PeerUnreachable
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Method
from node.transport.base import Answer, Call, Peer
from node.transport.frames import Kind, Message, pack_body, unpack_body
from node.transport.link import Link
from node.transport.options import LinkOptions
from node.transport.rpc import Rpc


class Ask(Value):
    number: int = 0


METHOD = Method("test.echo", Ask, Ask, frozenset(Role))
PEER = Peer("edge-1", frozenset({Role.EDGE}), "")
HELLO = Message(Kind.HELLO, 1, "edge-1", pack_body(["0.1.0", ""]))


class Pipe:
    """A wire that ends in a list."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.cuts: list[str] = []
        self.full = False

    data_place = ""

    def open_data(self, place: str) -> None:
        assert place == ""

    def send(self, message: Message, *, at_once: bool = False) -> None:
        if self.full:
            raise Busy("full")
        self.sent.append(message)

    def cut(self, reason: str) -> None:
        self.cuts.append(reason)

    def last(self, kind: Kind) -> Message:
        return [message for message in self.sent if message.kind is kind][-1]


def linked(clock: ManualClock, options: LinkOptions | None = None) -> tuple[Rpc, Pipe, Link, list[int]]:
    executed: list[int] = []

    async def note(call: Call, body: Ask) -> Answer[Ask]:
        executed.append(body.number)
        return Answer(body)

    rpc, pipe = Rpc(clock, options or LinkOptions("cloud-1")), Pipe()
    rpc.answer(METHOD, note)
    link = rpc.attach(pipe, PEER, data=pipe)
    rpc.receive(link, HELLO)
    return rpc, pipe, link, executed


async def test_a_request_that_expires_before_its_turn_is_not_executed() -> None:
    clock = ManualClock()
    rpc, pipe, link, executed = linked(clock)
    rpc.receive(link, Message(Kind.REQUEST, 1, METHOD.name, pack_body({"number": 1}), deadline=clock.monotonic()))
    await clock.advance(0.1)
    error = pipe.last(Kind.ERROR)
    assert (error.id, error.word, executed) == (1, DeadlineExceeded.code, [])
    await rpc.stop()


async def test_nothing_is_answered_before_the_greeting() -> None:
    rpc, pipe = Rpc(ManualClock(), LinkOptions("cloud-1")), Pipe()
    link = rpc.attach(pipe, PEER, data=pipe)
    with pytest.raises(Malformed, match="greeting"):
        rpc.receive(link, Message(Kind.PING, 1))
    assert rpc.links() == ()


async def test_a_heartbeat_measures_the_round_trip_and_silence_ends_the_link() -> None:
    clock = ManualClock()
    rpc, pipe, link, _ = linked(clock)
    rpc.start()
    await clock.advance(2.0)
    ping = pipe.last(Kind.PING)
    await clock.advance(0.25)
    rpc.receive(link, Message(Kind.PONG, ping.id))
    assert rpc.links()[0].rtt_s == pytest.approx(0.25)
    await clock.advance(5.0)
    assert rpc.links()
    await clock.advance(3.0)
    assert rpc.links() == ()
    assert "silent" in pipe.cuts[0]
    await rpc.stop()


async def test_a_peer_that_does_not_read_its_answers_is_cut() -> None:
    clock = ManualClock()
    rpc, pipe, link, executed = linked(clock)
    pipe.full = True
    rpc.receive(link, Message(Kind.REQUEST, 1, METHOD.name, pack_body({"number": 1}), deadline=clock.monotonic() + 9))
    await clock.advance(0.1)
    assert executed == [1]
    assert set(pipe.cuts) == {"does not read its answers"}
    await rpc.stop()


async def test_a_full_queue_is_busy_for_the_caller_and_leaves_nothing_behind() -> None:
    rpc, pipe, _, _ = linked(ManualClock(), LinkOptions("cloud-1", max_in_flight=1))
    pipe.full = True
    for _ in range(3):
        with pytest.raises(Busy, match="full"):
            await rpc.call("edge-1", METHOD, Ask(), timeout=1)


async def test_reconnecting_does_not_free_what_a_peer_has_running_here() -> None:
    clock = ManualClock()
    rpc, pipe = Rpc(clock, LinkOptions("cloud-1", max_in_flight=1)), Pipe()

    async def hang(call: Call, body: Ask) -> Answer[Ask]:
        await asyncio.Event().wait()
        raise AssertionError

    rpc.answer(METHOD, hang)
    for number in (1, 2):
        link = rpc.attach(pipe, PEER, data=pipe)
        rpc.receive(link, HELLO)
        rpc.receive(link, Message(Kind.REQUEST, number, METHOD.name, pack_body({}), deadline=clock.monotonic() + 9))
        await clock.advance(0.1)
        if number == 1:
            rpc.detach(link, "gone")
    error = pipe.last(Kind.ERROR)
    assert (error.id, error.word) == (2, Busy.code)
    await rpc.stop()


async def test_a_second_link_keeps_the_peer_up_when_the_first_ends() -> None:
    rpc, first, link, _ = linked(ManualClock())
    ups: list[bool] = []
    rpc.watch(lambda peer, up: ups.append(up))
    second = Pipe()
    newer = rpc.attach(second, PEER, data=second)
    rpc.receive(newer, HELLO)
    rpc.detach(link, "closed")
    assert [state.peer.name for state in rpc.links()] == ["edge-1"]
    assert ups == []
    rpc.detach(newer, "closed")
    assert ups == [False]
    assert set(first.cuts) == {"closed"}


async def test_links_of_one_peer_are_bounded() -> None:
    rpc, first, _, _ = linked(ManualClock())
    for _ in range(4):
        rpc.attach(Pipe(), PEER, data=Pipe())
    assert set(first.cuts) == {"newer links took its place"}


async def test_an_error_about_the_link_ends_it_and_is_told_to_callers() -> None:
    rpc, pipe, link, _ = linked(ManualClock())
    rpc.receive(link, Message(Kind.ERROR, 0, "EC-FORBIDDEN", pack_body(["wrong name", "change it"])))
    assert set(pipe.cuts) == {"wrong name"}
    with pytest.raises(PeerUnreachable) as caught:
        await rpc.call("edge-1", METHOD, Ask(), timeout=1)
    assert "wrong name" in caught.value.hint


async def test_faults_of_a_body_are_all_named() -> None:
    clock = ManualClock()
    rpc, pipe, link, _ = linked(clock)
    body = pack_body({"number": "x", "other": 1})
    rpc.receive(link, Message(Kind.REQUEST, 1, METHOD.name, body, deadline=clock.monotonic() + 9))
    await clock.advance(0.1)
    text = str(unpack_body(pipe.last(Kind.ERROR).body))
    assert "number" in text
    assert "other" in text
    await rpc.stop()
