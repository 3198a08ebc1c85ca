"""Do the file store and the memory store keep the same promises about members and join tokens?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.errors import Busy, Conflict, Forbidden, NotFound
from node.model.cluster import Role
from node.model.member import JoinToken, Member, MemberState
from node.model.value import new_id
from node.storage import Store, members, open_store
from node.transport.keys import new_identity

NOW = 1_700_000_000.0


@pytest.fixture(params=["sqlite:///node.db", "sqlite:///:memory:"], ids=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(request.param, tmp_path, ManualClock())
    yield opened
    await opened.close()


def a_member(name: str, **changes: object) -> Member:
    key = new_identity()
    member = Member(
        fingerprint=key.fingerprint,
        name=name,
        key=key.public,
        roles=(Role.EDGE,),
        state=MemberState.ADMITTED,
        created_at=NOW,
        changed_at=NOW,
    )
    return member.replace(**changes)


async def a_token(store: Store, key: str = "k", **changes: object) -> JoinToken:
    token = JoinToken(id=new_id("j", NOW), roles=(Role.EDGE,), created_at=NOW, expires_at=NOW + 60).replace(**changes)
    await store.members.add_token(key, token)
    return token


async def test_a_member_begins_pending_and_is_approved_in_the_same_transaction(store: Store) -> None:
    member = await store.members.enrol(a_member("edge-1"), "token j-1")
    assert await store.members.all() == (member,)
    assert [(event.event, event.state) for event in await store.members.events(10)] == [
        ("approve", MemberState.ADMITTED),
        ("enrol", MemberState.PENDING),
    ]


async def test_one_of_many_uses_a_token_up_and_its_repeat_gets_the_same(store: Store) -> None:
    await a_token(store)
    racers = [a_member(f"edge-{number}") for number in range(20)]
    outcomes = await asyncio.gather(*(store.members.redeem("k", racer) for racer in racers), return_exceptions=True)
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Member)]
    assert all(isinstance(outcome, Forbidden) for outcome in outcomes if outcome is not winner)
    assert await store.members.all() == (winner,)
    assert await store.members.redeem("k", winner) == winner
    assert (await store.members.tokens())["k"].used_by == winner.fingerprint


async def test_a_refused_registration_leaves_the_token_unused(store: Store) -> None:
    await store.members.enrol(a_member("edge-1"), "")
    await a_token(store)
    with pytest.raises(Conflict, match="edge-1"):
        await store.members.redeem("k", a_member("edge-1"))
    assert (await store.members.tokens())["k"].used_by == ""
    assert (await store.members.redeem("k", a_member("edge-2"))).name == "edge-2"


async def test_an_expired_or_unknown_token_lets_nobody_in(store: Store) -> None:
    await a_token(store, expires_at=NOW)
    for key in ("k", "another"):
        with pytest.raises(Forbidden):
            await store.members.redeem(key, a_member("edge-1"))
    assert await store.members.all() == ()


async def test_a_revoked_key_never_comes_back_and_leaves_its_name(store: Store) -> None:
    member = await store.members.enrol(a_member("edge-1"), "")
    await store.members.step(member.fingerprint, "revoke", "lost laptop", NOW + 1)
    with pytest.raises(Forbidden, match="revoked"):
        await store.members.enrol(member, "")
    with pytest.raises(Conflict, match="revoked cannot take"):
        await store.members.step(member.fingerprint, "approve", "", NOW + 2)
    assert (await store.members.enrol(a_member("edge-1"), "")).state is MemberState.ADMITTED
    assert (await store.members.events(1))[0].name == "edge-1"


async def test_a_step_of_nobody_and_a_token_of_nobody_are_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.members.step(a_member("edge-1").fingerprint, "revoke", "", NOW)
    with pytest.raises(NotFound):
        await store.members.drain(a_member("edge-1").fingerprint, NOW, drained=True)
    with pytest.raises(NotFound):
        await store.members.drop_token("j-1")


async def test_members_tokens_and_the_audit_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MEMBERS_MOST", 2)
    monkeypatch.setattr(members, "JOIN_TOKENS_MOST", 1)
    monkeypatch.setattr(members, "EVENTS_KEPT", 3)
    for name in ("edge-1", "edge-2"):
        await store.members.enrol(a_member(name), "")
    with pytest.raises(Busy):
        await store.members.enrol(a_member("edge-3"), "")
    assert len(await store.members.events(10)) == 3
    await a_token(store, "k1", expires_at=NOW - 1)
    await a_token(store, "k2")  # the expired one made room
    with pytest.raises(Busy):
        await a_token(store, "k3")
