"""Do members reach each other over a cloud where they cannot dial each other? Three nodes, real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from lossy import CREATE, NOTE, Note, note, noted
from peers import CLOCK, ECHO, FAST, PICTURES, Ask, Raw, Scene

from node.errors import Busy, Conflict, DeadlineExceeded, Forbidden, PeerUnreachable, TooLarge
from node.model.cluster import Role
from node.model.wire.method import Method
from node.model.wire.relay import RELAY_ASK, RELAY_GIVE, RelayAsk, RelayGive
from node.roles.shared.delivery import Delivery, Pace
from node.storage import Store, open_store
from node.transport import limits
from node.transport.auth import Directory
from node.transport.base import Answer, Call, Peer
from node.transport.frames import Kind, Message, decode, encode, pack_body
from node.transport.keys import new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

CLOUD_ONLY = Method("test.cloud", Ask, Ask, frozenset({Role.CLOUD}))
SLOW = Method("test.slow", Ask, Ask, frozenset(Role))
QUICK = Pace(first_pause=0.01, longest_pause=0.05, call=1.0, settle_after=0.01)


class Member:
    """An edge that dials the cloud, and is dialled only where the test says so."""

    def __init__(self, name: str, transport: ZmqTransport, directory: Directory) -> None:
        self.name = name
        self.transport = transport
        self.directory = directory
        self.calls: list[Call] = []
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        transport.answer(ECHO, self._echo)
        transport.answer(PICTURES, self._echo)
        transport.answer(CLOUD_ONLY, self._echo)
        transport.answer(SLOW, self._wait)

    async def _echo(self, call: Call, body: Ask) -> Answer[Ask]:
        self.calls.append(call)
        if body.number == 13:
            raise Conflict("thirteen is taken", hint="take another")
        return Answer(body, call.blobs)

    async def _wait(self, call: Call, body: Ask) -> Answer[Ask]:
        self.calls.append(call)
        self.waiting.set()
        try:
            await CLOCK.sleep(60)
        finally:
            self.cancelled.set()
        return Answer(body)


class Three:
    """cloud-1 listens; edge-1 and edge-2 dial it and do not know of each other."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.cloud: ZmqTransport
        self.members: dict[str, Member] = {}

    async def open(self, options: LinkOptions = FAST) -> tuple[Member, Member]:
        self.cloud = await self.scene.open(options=replace(options, roles=frozenset({Role.CLOUD})))
        return await self.member("edge-1"), await self.member("edge-2")

    async def member(
        self,
        name: str,
        options: LinkOptions = FAST,
        listen: tuple[str, ...] = (),
        prepare: Callable[[Member], Awaitable[None]] | None = None,
    ) -> Member:
        key = self.scene.key
        directory = Directory([(key.public, Peer("cloud-1", frozenset({Role.CLOUD}), key.fingerprint))])
        options = replace(options, name=name, roles=frozenset({Role.EDGE}))
        dial = [Dial(self.scene.address, key.public)]
        member = Member(name, ZmqTransport(self.scene.keys[name], directory, listen, dial, CLOCK, options), directory)
        self.members[name] = member
        member.transport.watch(lambda peer, up: self.scene.ups.put_nowait((f"{peer.name} at {name}", up)))
        if prepare is not None:
            await prepare(member)
        self.scene.stack.push_async_callback(member.transport.stop)
        await member.transport.start()
        await self.scene.hears_all({name, f"cloud-1 at {name}"})
        return member

    def admit(self, at: str, name: str) -> None:
        """Tells one member of another, as a roster does."""
        key = self.scene.key
        cloud = (key.public, Peer("cloud-1", frozenset({Role.CLOUD}), key.fingerprint))
        self.members[at].directory.replace([cloud, *self.scene.records(name)])


@pytest.fixture
def three(scene: Scene) -> Three:
    return Three(scene)


async def test_a_call_goes_over_the_cloud_on_either_lane_with_its_blobs(three: Three) -> None:
    one, two = await three.open()
    answer = await one.transport.call("edge-2", ECHO, Ask(number=7), timeout=5)
    assert (answer.body.number, answer.blobs) == (7, ())
    picture = bytes(range(256)) * 8000
    answer = await two.transport.call("edge-1", PICTURES, Ask(number=8), blobs=[picture, b"", b"x"], timeout=5)
    assert [bytes(blob) for blob in answer.blobs] == [picture, b"", b"x"]
    assert three.cloud.relayed.calls == 2
    assert three.cloud.relayed.bytes >= 2 * len(picture)


async def test_the_target_sees_the_caller_that_the_cloud_has_proven(three: Three) -> None:
    one, two = await three.open()
    await one.transport.call("edge-2", ECHO, Ask(), timeout=5)
    assert [call.peer for call in two.calls] == [Peer("edge-1", frozenset({Role.EDGE}), three.scene.keys["edge-1"].fingerprint)]


async def test_the_caller_matrix_holds_at_the_target(three: Three) -> None:
    one, two = await three.open()
    with pytest.raises(Forbidden, match="'edge-1' may not ask"):
        await one.transport.call("edge-2", CLOUD_ONLY, Ask(), timeout=5)
    assert two.calls == []


async def test_an_error_of_the_handler_arrives_as_its_own_class(three: Three) -> None:
    one, _ = await three.open()
    with pytest.raises(Conflict, match="thirteen is taken") as caught:
        await one.transport.call("edge-2", ECHO, Ask(number=13), timeout=5)
    assert caught.value.hint == "take another"


async def test_the_deadline_holds_at_all_three(three: Three) -> None:
    one, two = await three.open()
    began = CLOCK.monotonic()
    with pytest.raises(DeadlineExceeded):
        await one.transport.call("edge-2", SLOW, Ask(), timeout=0.3)
    assert CLOCK.monotonic() - began < 3
    async with CLOCK.timeout(5):
        await two.cancelled.wait()
    (call,) = two.calls
    assert call.deadline <= began + 0.3 + 0.2  # it travelled as what was left, not as a new one


async def test_half_of_the_calls_to_a_member_stay_the_cloud_s_own(three: Three) -> None:
    one, two = await three.open(replace(FAST, max_in_flight=4))
    slow = [asyncio.ensure_future(one.transport.call("edge-2", SLOW, Ask(number=n), timeout=20)) for n in range(4)]
    refused, _ = await asyncio.wait(slow, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert all(isinstance(task.exception(), Busy) for task in refused)
    async with CLOCK.timeout(5):
        await two.waiting.wait()
    assert (await three.cloud.call("edge-2", ECHO, Ask(number=1), timeout=5)).body.number == 1
    assert len([call for call in two.calls if call.peer.name == "edge-1"]) == 2
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_the_bytes_of_one_sender_are_bounded_at_the_cloud(three: Three) -> None:
    await three.open()
    raw = await _stranger(three, "edge-3")
    ask, body = pack_body({"to": "edge-2", "method": SLOW.name}), pack_body({"number": 1})
    picture = bytes(6 * 2**20)
    for number in (1, 2, 3):
        message = Message(Kind.REQUEST, number, "relay.ask_data", ask, (body, picture), CLOCK.monotonic() + 20)
        await raw.data.send_multipart(encode((message,), CLOCK.monotonic()))
    async with CLOCK.timeout(6):
        (refused,) = decode(await raw.data.recv_multipart(), CLOCK.monotonic(), limits.MESSAGE_BYTES)
    assert (refused.id, refused.word) == (3, Busy.code)
    assert 3 * len(picture) > limits.RELAYED_BYTES


async def test_what_does_not_fit_with_the_relay_s_own_words_is_refused_before_it_is_sent(three: Three) -> None:
    one, two = await three.open()
    with pytest.raises(TooLarge):
        await one.transport.call("edge-2", PICTURES, Ask(), blobs=[bytes(limits.MESSAGE_BYTES)], timeout=5)
    assert two.calls == []


async def test_only_a_cloud_gives_and_nobody_becomes_one_by_its_word(three: Three) -> None:
    _, two = await three.open()
    raw = await _stranger(three, "edge-3")
    body = pack_body({"to": "edge-2", "method": RELAY_GIVE.name})
    inner = pack_body(
        RelayGive(sender="cloud-1", fingerprint=three.scene.key.fingerprint, roles=(Role.CLOUD,), method=ECHO.name).model_dump()
    )
    await raw.say(Message(Kind.REQUEST, 1, RELAY_ASK.name, body, (inner, b""), CLOCK.monotonic() + 5))
    assert (await raw.answer(1)).word == "EC-MALFORMED"  # what is relayed is not relayed again
    stranger = RelayGive(sender="edge-9", fingerprint=new_identity().fingerprint, roles=(Role.CLOUD,), method=CLOUD_ONLY.name)
    answer = await three.cloud.call("edge-2", RELAY_GIVE, stranger, blobs=[pack_body({})], timeout=5)
    assert answer.body.code == Forbidden.code
    for name in ("cloud-1", "edge-2"):  # names that the target knows, with another key
        liar = stranger.replace(sender=name, method=ECHO.name)
        with pytest.raises(Forbidden, match="has another key here"):
            await three.cloud.call("edge-2", RELAY_GIVE, liar, blobs=[pack_body({})], timeout=5)
    assert two.calls == []


async def test_who_is_away_or_unknown_is_unreachable_and_reached_once_it_is_there(three: Three) -> None:
    one, two = await three.open()
    await two.transport.stop()
    await three.scene.hears("edge-2", up=False)
    with pytest.raises(PeerUnreachable, match="no live link to 'edge-2'") as caught:
        await one.transport.call("edge-2", ECHO, Ask(), timeout=5)
    assert "'cloud-1' has no link to 'edge-2' either" in caught.value.hint
    with pytest.raises(PeerUnreachable):
        await one.transport.call("nobody", RELAY_ASK, RelayAsk(to="edge-2", method=ECHO.name), timeout=5)
    await three.member("edge-2")
    assert (await one.transport.call("edge-2", ECHO, Ask(number=3), timeout=5)).body.number == 3


async def test_a_revoked_member_reaches_nobody_over_the_cloud(three: Three) -> None:
    one, two = await three.open()
    await one.transport.call("edge-2", ECHO, Ask(), timeout=5)
    three.scene.directory.replace(three.scene.records("edge-2"))
    await three.scene.hears("edge-1", up=False)
    with pytest.raises(PeerUnreachable):
        await one.transport.call("edge-2", ECHO, Ask(), timeout=1)
    assert len(two.calls) == 1


@pytest.mark.parametrize("who", ["cloud-1", "edge-1", "edge-2"])
async def test_whoever_does_not_want_it_takes_no_part(three: Three, who: str) -> None:
    off = replace(FAST, relay=False)
    three.cloud = await three.scene.open(options=replace(off if who == "cloud-1" else FAST, roles=frozenset({Role.CLOUD})))
    one = await three.member("edge-1", off if who == "edge-1" else FAST)
    two = await three.member("edge-2", off if who == "edge-2" else FAST)
    with pytest.raises(PeerUnreachable):
        await one.transport.call("edge-2", ECHO, Ask(), timeout=5)
    assert two.calls == []


async def test_a_direct_link_is_taken_once_it_is_there_and_left_once_it_is_gone(three: Three) -> None:
    three.cloud = await three.scene.open(options=replace(FAST, roles=frozenset({Role.CLOUD})))
    one = await three.member("edge-1", listen=("tcp://127.0.0.1:0",))
    two = await three.member("edge-2")
    three.admit("edge-1", "edge-2")
    three.admit("edge-2", "edge-1")
    assert (await two.transport.call("edge-1", ECHO, Ask(number=1), timeout=5)).body.number == 1
    door = Dial(one.transport.endpoints[0], three.scene.keys["edge-1"].public)
    two.transport.dial(door)
    await three.scene.hears("edge-1 at edge-2", up=True)
    assert (await two.transport.call("edge-1", ECHO, Ask(number=2), timeout=5)).body.number == 2
    assert three.cloud.relayed.calls == 1
    two.transport.undial(door)
    await three.scene.hears("edge-1 at edge-2", up=False)
    assert (await two.transport.call("edge-1", ECHO, Ask(number=3), timeout=5)).body.number == 3
    assert three.cloud.relayed.calls == 2


class Post:
    """The durable messages of the members, each with a store of its own."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.stores: dict[str, Store] = {}
        self.deliveries: dict[str, Delivery] = {}

    async def open(self, member: Member) -> None:
        (self.folder / member.name).mkdir()
        store = self.stores[member.name] = await open_store("sqlite:///node.db", self.folder / member.name, CLOCK)
        self.stack.push_async_callback(store.close)
        await store.queries._database.write(lambda connection: connection.change(CREATE))
        boot = await store.cluster.next_boot()
        delivery = await Delivery.open(store, member.transport, CLOCK, boot, max_message=limits.MESSAGE_BYTES, pace=QUICK)
        self.stack.push_async_callback(delivery.stop)
        delivery.answer(NOTE, note)
        self.deliveries[member.name] = delivery


async def test_durable_messages_are_neither_lost_nor_doubled_when_their_way_changes(three: Three, tmp_path: Path) -> None:
    three.cloud = await three.scene.open(options=replace(FAST, roles=frozenset({Role.CLOUD})))
    post = Post(tmp_path, three.scene.stack)
    one = await three.member("edge-1", listen=("tcp://127.0.0.1:0",), prepare=post.open)
    two = await three.member("edge-2", prepare=post.open)
    three.admit("edge-1", "edge-2")
    three.admit("edge-2", "edge-1")
    door = Dial(one.transport.endpoints[0], three.scene.keys["edge-1"].public)
    accepted: list[int] = []
    for turn in range(6):
        (two.transport.undial if turn % 2 else two.transport.dial)(door)
        for number in range(turn * 40, turn * 40 + 40):
            await post.deliveries["edge-2"].send("edge-1", NOTE, Note(number=number))
            accepted.append(number)
        if turn % 2 == 0:  # a link comes up while messages are under way over the cloud; then it goes down under them
            await three.scene.hears("edge-1 at edge-2", up=True)
    async with CLOCK.timeout(10):
        while post.deliveries["edge-2"].waiting:
            await CLOCK.sleep(0.01)
    assert await noted(post.stores["edge-1"]) == accepted
    assert three.cloud.relayed.calls > 0


async def test_durable_messages_wait_for_a_cloud_that_is_away(three: Three, tmp_path: Path) -> None:
    three.cloud = await three.scene.open(options=replace(FAST, roles=frozenset({Role.CLOUD})))
    post = Post(tmp_path, three.scene.stack)
    await three.member("edge-1", prepare=post.open)
    await three.member("edge-2", prepare=post.open)
    address = three.scene.address
    await three.cloud.stop()
    await three.scene.hears("cloud-1 at edge-2", up=False)
    receipt = await post.deliveries["edge-2"].send("edge-1", NOTE, Note(number=1))
    again = ZmqTransport(
        three.scene.key, three.scene.directory, [address], [], CLOCK, replace(FAST, roles=frozenset({Role.CLOUD}))
    )
    three.scene.stack.push_async_callback(again.stop)
    await again.start()
    async with CLOCK.timeout(10):
        await receipt.reply()
    assert await noted(post.stores["edge-1"]) == [1]


async def _stranger(three: Three, name: str) -> Raw:
    """A member that does not keep to our rules."""
    three.scene.keys[name] = new_identity()
    three.scene.directory.replace(three.scene.records(*three.scene.keys))
    raw = three.scene.raw(three.scene.keys[name])
    await raw.join(name)
    await three.scene.hears(name, up=True)
    return raw
