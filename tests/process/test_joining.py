"""How does a node become a member, and how does it stop being one? Real sockets, a real store, racing newcomers."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable

import pytest
import zmq
import zmq.asyncio
from founding import Founding
from lossy import NOTE, Note, noted
from peers import CLOCK, ECHO, Ask, Raw

from node.errors import Conflict, Forbidden, Malformed, NotFound, PeerRefused, PeerUnreachable
from node.model.cluster import Role
from node.model.member import Approval, MemberState
from node.model.wire import METHODS
from node.model.wire.member import MEMBER_JOIN
from node.transport.base import Peer
from node.transport.frames import Kind, Message, pack_body
from node.transport.jointoken import joiner_name, new_token, read_token
from node.transport.keys import new_identity


def admitted(founding: Founding) -> set[str]:
    return {member.name for member in founding.members.members() if member.state is MemberState.ADMITTED}


async def test_a_token_lets_one_node_in_with_its_own_key(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    reply = await edge.register(await founding.token())
    assert (reply.name, reply.roles, reply.state) == ("cloud-1", (Role.CLOUD,), MemberState.ADMITTED)
    transport = await edge.start()
    await edge.ups.hears("cloud-1")
    assert (await transport.call("cloud-1", ECHO, Ask(number=3), timeout=5)).body.number == 3
    assert [(event.event, event.state) for event in await founding.members.events(9)] == [
        ("approve", "admitted"),
        ("enrol", "pending"),
    ]


async def test_a_used_token_lets_nobody_else_in_and_repeats_are_harmless(founding: Founding) -> None:
    token = await founding.token()
    edge = founding.newcomer("edge-1")
    first = await edge.register(token)
    assert await edge.register(token) == first  # as after a lost answer
    with pytest.raises(Forbidden, match="used by another node"):
        await founding.newcomer("edge-2").register(token)
    assert admitted(founding) == {"edge-1"}


async def test_of_many_who_race_with_one_token_one_gets_in(founding: Founding) -> None:
    token = await founding.token()
    racers = [founding.newcomer(f"edge-{number}").register(token) for number in range(1, 7)]
    outcomes = await asyncio.gather(*racers, return_exceptions=True)
    winners = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(admitted(founding)) == 1
    assert len(winners) <= 1  # a newer connection of the one-use key may have cut the winner off before its answer
    assert len(await founding.store.members.all()) == 1


async def test_a_token_that_has_expired_or_was_revoked_is_refused_at_the_door(founding: Founding) -> None:
    token = await founding.token()
    (made,) = founding.members.tokens()
    await founding.members.revoke_token(made.id)
    with pytest.raises(PeerRefused):
        await founding.newcomer("edge-1").register(token)
    _, foreign = new_token(founding.key.public)
    assert founding.directory.find(foreign) is None


async def test_an_expired_token_closes_its_way_in(founding: Founding) -> None:
    token = await founding.token(ttl=1.0)
    key = read_token(token).identity.public
    assert founding.directory.find(key) is not None
    async with CLOCK.timeout(4):
        while founding.directory.find(key) is not None:
            await CLOCK.sleep(0.1)
    with pytest.raises(PeerRefused):
        await founding.newcomer("edge-1").register(token)


async def test_a_name_that_is_taken_leaves_the_token_unused(founding: Founding) -> None:
    await founding.newcomer("edge-1").register(await founding.token())
    token = await founding.token()
    for name in ("edge-1", "cloud-1", "join-abc"):
        with pytest.raises(Conflict):
            await founding.newcomer(name).register(token)
    assert (await founding.newcomer("edge-2").register(token)).state is MemberState.ADMITTED


async def test_a_token_gives_no_more_roles_than_it_was_made_for(founding: Founding) -> None:
    token = await founding.token(Role.EDGE)
    with pytest.raises(Forbidden, match="wants cloud"):
        await founding.newcomer("edge-1").register(token, Role.CLOUD)


async def test_a_token_changes_nothing_about_a_key_that_is_known(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    await edge.register(await founding.token())
    again = founding.newcomer("edge-9", edge.key)
    with pytest.raises(Conflict, match="known already, as 'edge-1'"):
        await again.register(await founding.token(Role.EDGE, Role.CLOUD))
    assert admitted(founding) == {"edge-1"}


async def test_a_token_for_another_door_is_not_shown_to_this_one(founding: Founding) -> None:
    token, _ = new_token(new_identity().public)
    with pytest.raises(PeerUnreachable, match="not the door"):
        await founding.newcomer("edge-1").register(token)


async def test_the_one_use_key_may_ask_for_nothing_but_the_registration(founding: Founding) -> None:
    ticket = read_token(await founding.token())
    context = zmq.asyncio.Context()
    raw = Raw(context, founding.address, founding.key.public, ticket.identity)
    try:
        await raw.join(joiner_name(ticket.identity.public))
        for number, method in enumerate(METHODS, 1):
            if method is not MEMBER_JOIN:
                await raw.say(Message(Kind.REQUEST, number, method.name, pack_body({}), deadline=CLOCK.monotonic() + 5))
                answer = await raw.hear(Kind.ERROR)
                assert answer.word in {Forbidden.code, NotFound.code}
        await raw.say(Message(Kind.REQUEST, 99, ECHO.name, pack_body({}), deadline=CLOCK.monotonic() + 5))
        assert (await raw.hear(Kind.ERROR)).word == Forbidden.code
    finally:
        raw.close()
        context.term()


async def test_under_approve_a_token_makes_a_member_wait_until_it_is_approved(founding: Founding) -> None:
    await founding.close()
    await founding.open("approve")
    edge = founding.newcomer("edge-1")
    assert (await edge.register(await founding.token())).state is MemberState.PENDING
    assert [waiting.name for waiting in founding.members.waiting()] == ["edge-1"]
    await edge.start()
    await founding.members.approve("edge-1", Approval())
    await founding.ups.hears("edge-1")
    assert founding.members.waiting() == ()


async def test_a_refused_key_is_listed_once_and_joins_by_itself_when_approved(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    transport = await edge.start()
    with pytest.raises(PeerUnreachable) as caught:
        await until_refused(lambda: transport.call("cloud-1", ECHO, Ask(), timeout=1))
    command = f"ecnode peers approve {edge.key.fingerprint} --name edge-1 --role edge"
    assert command in caught.value.hint
    (waiting,) = founding.members.waiting()
    assert (waiting.fingerprint, waiting.name, waiting.address) == (edge.key.fingerprint, "", "127.0.0.1")
    assert waiting.times >= 1
    await founding.members.approve(edge.key.fingerprint[:9], Approval(name="edge-1", roles=(Role.EDGE,)))
    await founding.ups.hears("edge-1", within=10)
    assert founding.members.waiting() == ()


async def until_refused(call: Callable[[], Awaitable[object]]) -> None:
    """Calls until the excuse for the missing link is known, and raises that."""
    async with CLOCK.timeout(6):
        while True:
            try:
                await call()
            except PeerUnreachable as error:
                if error.hint:
                    raise
                await CLOCK.sleep(0.05)


async def test_a_revoked_member_is_cut_within_a_second_and_others_stay(founding: Founding) -> None:
    transports = {}
    for name in ("edge-1", "edge-2"):
        edge = founding.newcomer(name)
        await edge.register(await founding.token())
        transports[name] = await edge.start()
        await founding.ups.hears(name)
        await edge.ups.hears("cloud-1")
    began = CLOCK.monotonic()
    await founding.members.revoke("edge-1")
    await founding.ups.hears("edge-1", up=False, within=1.0)
    assert CLOCK.monotonic() - began < 1.0
    assert (await transports["edge-2"].call("cloud-1", ECHO, Ask(number=4), timeout=5)).body.number == 4
    assert [link.peer.name for link in founding.transport.links()] == ["cloud-1", "edge-2"]


async def test_a_member_that_sends_rubbish_three_times_is_cut_and_the_audit_says_so(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    await edge.register(await founding.token())
    context = zmq.asyncio.Context()
    raw = Raw(context, founding.address, founding.key.public, edge.key)
    try:
        await raw.join("edge-1")
        await founding.ups.hears("edge-1")
        for _ in range(3):
            await raw.socket.send(b"rubbish")
        await founding.ups.hears("edge-1", up=False)
    finally:
        raw.close()
        context.term()
    async with CLOCK.timeout(4):
        while (line := (await founding.members.events(1))[0]).event != "cut":
            await CLOCK.sleep(0.05)
    assert (line.name, line.fingerprint, line.reason) == ("edge-1", edge.key.fingerprint, "sends what cannot be decoded")


async def test_an_invitation_is_in_the_record_of_a_member_and_its_neighbours_hear_of_it(founding: Founding) -> None:
    listener, guest = founding.newcomer("edge-1"), founding.newcomer("edge-2")
    for edge in (listener, guest):
        await edge.register(await founding.token())
    await listener.start("tcp://127.0.0.1:0")
    await guest.start()
    await listener.ups.hears("edge-2", within=10)
    session = f"s-{7:026d}"
    member = await founding.members.invite("edge-2", (session,))
    assert member.sessions == (session,)
    assert (await founding.store.members.all())[-1] == member
    async with CLOCK.timeout(5):
        while (peer := listener.directory.named("edge-2")) is None or peer.sessions != {session}:
            await CLOCK.sleep(0.02)
    await listener.ups.hears("edge-2", within=10)  # with its new record
    line = (await founding.members.events(1))[0]
    assert (line.name, line.event, line.reason) == ("edge-2", "invite", session)
    assert (await founding.members.invite("edge-2", ())).sessions == ()


async def test_what_waits_for_a_revoked_member_is_dropped_and_the_audit_says_how_much(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    await edge.register(await founding.token())  # it is not there: what is sent waits
    for number in range(3):
        await founding.delivery.send("edge-1", NOTE, Note(number=number))
    await founding.members.revoke("edge-1", "stolen")
    assert founding.delivery.waiting == 0
    line = (await founding.members.events(1))[0]
    assert (line.name, line.event, line.reason) == ("edge-1", "revoke", "stolen; 3 waiting messages dropped")


async def test_a_revocation_outlives_a_restart_and_the_config(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    allowed = ((edge.key.public, Peer("edge-1", frozenset({Role.EDGE}), edge.key.fingerprint)),)
    await founding.close()
    await founding.open(allowed=allowed)
    assert admitted(founding) == {"edge-1"}
    await founding.members.revoke("edge-1")
    await founding.close()
    await founding.open(allowed=allowed)
    assert founding.directory.find(edge.key.public) is None
    assert founding.members.waiting() == ()
    with pytest.raises(Forbidden, match="was revoked"):
        await edge.register(await founding.token())


async def test_a_member_gets_in_after_a_restart_of_the_cloud(founding: Founding) -> None:
    await at_a_place_of_its_own(founding)
    edge = founding.newcomer("edge-1")
    await edge.register(await founding.token())
    await edge.start()
    await founding.ups.hears("edge-1")
    address = founding.address
    await founding.close()
    await founding.open(listen=address)
    await founding.ups.hears("edge-1", within=10)


async def test_a_membership_that_has_run_out_ends_and_can_be_renewed(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    await edge.start()
    async with CLOCK.timeout(6):
        while not founding.members.waiting():
            await CLOCK.sleep(0.05)
    await founding.members.approve(edge.key.fingerprint, Approval(name="edge-1", roles=(Role.EDGE,), ttl=1.0))
    await founding.ups.hears("edge-1")
    await founding.ups.hears("edge-1", up=False)
    await founding.members.approve("edge-1", Approval())
    await founding.ups.hears("edge-1")


async def test_an_allow_list_takes_neither_tokens_nor_approvals(founding: Founding) -> None:
    token = await founding.token()
    await founding.close()
    await founding.open("allow-list")
    with pytest.raises(Forbidden):
        await founding.token()
    with pytest.raises(Forbidden):
        await founding.members.approve("edge-1", Approval())
    with pytest.raises(PeerRefused):
        await founding.newcomer("edge-1").register(token)


async def test_members_hear_of_each_other_and_talk_without_the_cloud(founding: Founding) -> None:
    listener, caller = founding.newcomer("edge-1"), founding.newcomer("edge-2")
    for edge in (listener, caller):
        await edge.register(await founding.token())
    await listener.start("tcp://127.0.0.1:0")
    transport = await caller.start()
    await caller.ups.hears("edge-1", within=10)
    assert (await transport.call("edge-1", ECHO, Ask(number=8), timeout=5)).body.number == 8
    await founding.members.revoke("edge-1")
    await caller.ups.hears("edge-1", up=False)


async def test_the_cloud_changes_its_key_and_its_members_come_back(founding: Founding) -> None:
    await at_a_place_of_its_own(founding)
    edge = founding.newcomer("edge-1")
    await edge.register(await founding.token())
    transport = await edge.start()
    await edge.ups.hears("cloud-1")
    await founding.newcomer("edge-9").register(await founding.token())  # never there
    await founding.members.change_key(switch=False)
    with pytest.raises(Conflict, match="edge-9 would be shut out"):
        await until_only(founding, ("edge-9",))
    await founding.members.revoke("edge-9")
    before, address = founding.key.public, founding.address
    assert (await founding.members.change_key(switch=True)).switched
    assert (await transport.call("cloud-1", ECHO, Ask(number=1), timeout=5)).body.number == 1
    await founding.close()
    await founding.open(listen=address)
    assert founding.key.public != before
    await edge.ups.hears("cloud-1", within=10)
    assert (await transport.call("cloud-1", ECHO, Ask(number=2), timeout=5)).body.number == 2
    await transport.stop()
    again = await edge.start()  # it knows the old key by its config and the new one by its store
    await edge.ups.hears("cloud-1", within=10)
    assert (await again.call("cloud-1", ECHO, Ask(number=3), timeout=5)).body.number == 3


async def test_a_change_of_the_cloud_s_key_loses_nothing_that_is_under_way(founding: Founding) -> None:
    await at_a_place_of_its_own(founding)
    edge = founding.newcomer("edge-1")
    await edge.register(await founding.token())
    transport = await edge.start()
    await edge.ups.hears("cloud-1")
    await founding.members.change_key(switch=False)
    await until_only(founding, ())
    before, address = founding.key.public, founding.address
    over = asyncio.Event()
    accepted, answered, told = 0, 0, 0

    async def deliver() -> None:
        nonlocal accepted
        while not over.is_set():
            await edge.delivery.send("cloud-1", NOTE, Note(number=accepted))
            accepted += 1
            await CLOCK.sleep(0.005)

    async def ask() -> None:
        nonlocal answered, told
        while not over.is_set():
            try:
                reply = await transport.call("cloud-1", ECHO, Ask(number=answered), timeout=5)
                assert reply.body.number == answered
                answered += 1
            except PeerUnreachable:  # what was under way is told to whoever asked, at once
                told += 1
                await CLOCK.sleep(0.05)

    async with asyncio.TaskGroup() as under_way:
        under_way.create_task(deliver())
        under_way.create_task(ask())
        while answered < 20 or accepted < 3:
            await CLOCK.sleep(0.005)
        await founding.close()
        await founding.open(listen=address)
        assert founding.key.public != before
        await edge.ups.hears("cloud-1", within=10)
        over.set()
    async with CLOCK.timeout(10):
        while edge.delivery.waiting:
            await CLOCK.sleep(0.01)
    assert await noted(founding.store) == list(range(accepted))
    assert told > 0


async def test_a_copy_of_a_member_s_data_directory_is_refused_loudly_and_nothing_is_done_twice(founding: Founding) -> None:
    edge = founding.newcomer("edge-1")
    await edge.register(await founding.token())
    await edge.start()
    await edge.delivery.send("cloud-1", NOTE, Note(number=1))
    async with CLOCK.timeout(5):
        while await noted(founding.store) != [1]:
            await CLOCK.sleep(0.01)
    copy = founding.newcomer("edge-1", edge.key)
    copy.folder = founding.folder / "copy"
    copy.folder.mkdir()
    for file in founding.folder.glob("edge-1.db*"):
        shutil.copy(file, copy.folder)
    await copy.start()
    await edge.delivery.send("cloud-1", NOTE, Note(number=2))
    await copy.delivery.send("cloud-1", NOTE, Note(number=3))
    async with CLOCK.timeout(8):
        while not (problems := [found for one in (edge, copy) if (found := one.delivery.healthy()) is not None]):
            await CLOCK.sleep(0.01)
    assert "ecnode outbox renew" in problems[0]
    taken = await noted(founding.store)
    assert len(taken) == len(set(taken))


async def at_a_place_of_its_own(founding: Founding) -> None:
    """Opens the cloud where it can come back: a port that the system chose may be somebody else's by then."""
    await founding.close()
    await founding.open(listen=f"ipc://@ecnode-test-{os.getpid()}-founding")


async def until_only(founding: Founding, unaware: tuple[str, ...]) -> None:
    """Tries to go over once nobody but these is unaware of the next key."""
    async with CLOCK.timeout(6):
        while (await founding.members.change_key(switch=False)).unaware != unaware:
            await CLOCK.sleep(0.05)
    await founding.members.change_key(switch=True)


def test_a_mistyped_token_is_told_before_anybody_knocks() -> None:
    token, key = new_token(new_identity().public)
    assert len(token) == 79
    assert read_token(token).identity.public == key
    changed = token[:50] + ("a" if token[50] != "a" else "b") + token[51:]
    for wrong in (changed, token[:-1], token + "a", "", "ec1_" + "?" * 75, "ec2_" + token[4:]):
        with pytest.raises(Malformed):
            read_token(wrong)
