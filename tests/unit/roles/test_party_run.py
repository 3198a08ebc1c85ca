"""What leaves a node for another party: plain over a direct link, closed where a cloud passes it on."""

import asyncio
import socket
from contextlib import closing, contextmanager

import pytest

from node.clock import SystemClock
from node.errors import Malformed
from node.model.cluster import Received
from node.model.federated import TABLES, AlignmentRequest, PartyRole, PinnedParty, SessionSpec
from node.pipeline.federated.sealed import close_word
from node.roles.federated.party_child import _Party
from node.roles.federated.party_run import Outlet, PartyRun
from node.roles.shared.channel import BlockingChannel, Message
from node.transport.base import Answer

KEY = bytes(range(32))
ROLES = {"main": PartyRole.MAIN, "f1": PartyRole.FEATURE, "label": PartyRole.LABEL}
SPEC = SessionSpec(
    session="s-" + "0" * 26,
    coordinator="cloud-1",
    parties=tuple(
        PinnedParty(name=name, role=role, node=f"n-{name}", dataset="" if name == "main" else "d", key="0" * 64)
        for name, role in ROLES.items()
    ),
    alignment=AlignmentRequest(split_seed="s"),
    round_timeout=10.0,
    tables=TABLES,
)


class Wires:
    """A transport that keeps what it is given."""

    def __init__(self, *linked):
        self._linked = linked
        self.said = []

    def linked(self, peer):
        return peer in self._linked

    async def call(self, peer, _method, body, *, blobs, timeout):
        assert timeout > 0
        self.said.append((peer, body, bytes(blobs[0])))
        return Answer(Received())


class Worker:
    """A child that says what it was told to, and then that it is done."""

    def __init__(self, *messages):
        self._messages = [*messages, Message({"op": "done", "outputs": []})]

    async def receive(self):
        return self._messages.pop(0)


class Children:
    def __init__(self, child):
        self._child = child

    async def spawn(self, *_given, **_settings):
        return self._child


def said(what, index, content):
    return Message({"op": "say", "to": "label", "what": what, "index": index, "part": 0, "parts": 1}, (content,))


async def spoken(wires):
    done = asyncio.Event()

    async def end(*_given):
        done.set()

    outlet = Outlet(burn=end, progress=lambda *_: None, record=end, done=end, failed=end)
    run = PartyRun(SPEC, SPEC.party("f1"), 1, outlet=outlet, transport=wires, clock=SystemClock())
    trust = Message({"op": "trust", "keys": {"label": KEY.hex()}})
    await run.start(Children(Worker(said("hello", 0, b"public"), trust, said("G", 7, b"masked words"))), {})
    async with SystemClock().timeout(5):
        await done.wait()
    return {body.what: (body, content) for _, body, content in wires.said}


def heard(body, content):
    names = ("sender", "what", "index", "part", "parts", "sealed")
    return Message({"op": "heard", **{name: getattr(body, name) for name in names}}, (content,))


@contextmanager
def listening(tmp_path):
    ours, theirs = socket.socketpair()
    channel = BlockingChannel(theirs.detach())
    settings = {"party": "label", "epoch": 1, "memory": str(tmp_path), "prepared": str(tmp_path), "started_at": 0.0}
    with ours, closing(channel):
        yield _Party(channel, None, settings, SPEC, SystemClock())


async def test_a_word_over_a_direct_link_is_as_the_party_said_it():
    words = await spoken(Wires("n-label"))
    assert (words["G"][0].sealed, words["G"][1]) == (False, b"masked words")


async def test_a_word_that_a_cloud_passes_on_is_closed_and_opened_by_the_other_party(tmp_path):
    words = await spoken(Wires("cloud-1"))
    assert (words["hello"][0].sealed, words["hello"][1]) == (False, b"public")
    body, content = words["G"]
    assert body.sealed
    assert b"masked" not in content
    with listening(tmp_path) as party:
        party._file(heard(body, content))  # before this party has the keys
        party.trust({}, {"f1": KEY})
        assert party.expect("f1", "G", 7) == b"masked words"


async def test_a_closed_word_under_another_name_ends_the_session(tmp_path):
    body, _ = (await spoken(Wires()))["G"]
    with listening(tmp_path) as party:
        party.trust({}, {"f1": KEY})
        with pytest.raises(Malformed, match="'G 7 0' cannot be opened"):
            party._file(heard(body, close_word(KEY, "G 8 0", b"other words")))
