"""May each role ask for exactly the messages that the table of docs/security.md gives it? Asked over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from peers import CLOCK, Raw, Scene
from wire_examples import EXAMPLES

from node.errors import Forbidden
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire import METHODS
from node.model.wire.method import Caller, Mark, Method
from node.transport.auth import Directory
from node.transport.base import Answer, Call, Ear, Handler, Peer
from node.transport.frames import Kind, Message, pack_body
from node.transport.keys import new_identity
from node.transport.relay import OWN
from node.transport.zmq import ZmqTransport

CALLERS: tuple[Caller, ...] = (*Role, *Mark)


class Door:
    """A node that answers every message there is, with that message's example, and one peer for each role."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.asked: list[tuple[str, str]] = []
        self.heard: list[tuple[str, str]] = []
        self.raws: dict[Caller, Raw] = {}

    async def open(self) -> None:
        keys = {caller: new_identity() for caller in CALLERS}
        records = [(key.public, Peer(f"a-{caller}", frozenset({caller}), key.fingerprint)) for caller, key in keys.items()]
        await self.scene.open(Directory(records), register=self._register)
        for caller, key in keys.items():
            self.raws[caller] = self.scene.raw(key)
            await self.raws[caller].join(f"a-{caller}")

    def _register(self, transport: ZmqTransport) -> None:
        for method in METHODS:
            if method.name not in OWN:
                transport.answer(method, self._handler(method))
            transport.hear(method, self._ear(method))

    def _ear(self, method: Method[Value, Value]) -> Ear[Value]:
        return lambda call, _: self.heard.append((call.peer.name, method.name))

    def _handler(self, method: Method[Value, Value]) -> Handler[Value, Value]:
        async def handle(call: Call, body: Value) -> Answer[Value]:
            self.asked.append((call.peer.name, method.name))
            return Answer(EXAMPLES[method.name][1])

        return handle


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        opened = Door(Scene(stack))
        await opened.open()
        yield opened


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_role_may_ask_for_what_the_table_says_and_nothing_else(door: Door, caller: Caller) -> None:
    allowed = set()
    for number, method in enumerate(METHODS, 1):
        body = pack_body(EXAMPLES[method.name][0].model_dump())
        raw = door.raws[caller]
        await raw.say(Message(Kind.REQUEST, number, method.name, body, deadline=CLOCK.monotonic() + 5))
        answer = await raw.answer(number)
        if answer.kind is Kind.REPLY:
            allowed.add(method.name)
        elif method.name in OWN and answer.word != Forbidden.code:
            allowed.add(method.name)  # the transport's own: an example without its blobs is let in, and is nothing to pass on
        else:
            assert answer.word == Forbidden.code
    assert allowed == {method.name for method in METHODS if caller in method.callers}
    assert {name for _, name in door.asked} == allowed - OWN  # who is refused reaches no handler


@pytest.mark.parametrize("caller", CALLERS)
async def test_a_note_reaches_only_ears_that_its_sender_may_speak_to(door: Door, caller: Caller) -> None:
    raw = door.raws[caller]
    for method in METHODS:
        body = pack_body(EXAMPLES[method.name][0].model_dump())
        await raw.say(Message(Kind.NOTE, 0, method.name, body, deadline=CLOCK.monotonic() + 5))
    await raw.say(Message(Kind.PING, 7))
    await raw.hear(Kind.PONG)  # so every note was read
    assert {name for _, name in door.heard} == {method.name for method in METHODS if caller in method.callers}


def test_every_message_has_a_caller_and_the_joiner_but_one_message() -> None:
    assert all(method.callers for method in METHODS)
    assert [method.name for method in METHODS if Mark.JOINER in method.callers] == ["member.join"]
