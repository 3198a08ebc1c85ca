"""Do the file store and the memory store keep the same promises about tokens and about answers given again?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.errors import Busy, Conflict, NotFound
from node.model.access import Claim, KeptAnswer, Token, TokenScope
from node.model.value import new_id
from node.storage import Store, access, open_store

NOW = 1_700_000_000.0
ANSWER = KeptAnswer(status=201, content='{"id":"q-1"}', location="/api/v1/queries/q-1")


@pytest.fixture(params=["sqlite:///node.db", "sqlite:///:memory:"], ids=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(request.param, tmp_path, ManualClock())
    yield opened
    await opened.close()


def a_token(**changes: object) -> Token:
    token = Token(id=new_id("k", NOW), label="ci", scope=TokenScope.READ, created_at=NOW)
    return token.replace(**changes)


async def test_a_token_is_found_by_the_digest_of_its_secret(store: Store) -> None:
    token = a_token(expires_at=NOW + 60)
    await store.tokens.add(token, "d1")
    await store.tokens.note_use(token.id, NOW + 5)
    assert await store.tokens.load() == {"d1": token.replace(used_at=NOW + 5)}


async def test_a_revoked_token_is_gone(store: Store) -> None:
    token = a_token()
    await store.tokens.add(token, "d1")
    await store.tokens.revoke(token.id)
    assert await store.tokens.load() == {}
    with pytest.raises(NotFound):
        await store.tokens.revoke(token.id)


async def test_tokens_are_bounded_and_expired_ones_make_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "TOKENS_MOST", 2)
    await store.tokens.add(a_token(expires_at=NOW + 1), "d1")
    await store.tokens.add(a_token(), "d2")
    with pytest.raises(Busy):
        await store.tokens.add(a_token(), "d3")
    await store.tokens.add(a_token(created_at=NOW + 2), "d3")
    assert set(await store.tokens.load()) == {"d2", "d3"}


async def test_a_key_is_claimed_once_and_its_answer_given_again(store: Store) -> None:
    assert await store.answers.claim("node", "a", "x", NOW) == Claim(new=True, first_at=NOW)
    assert await store.answers.claim("node", "a", "x", NOW + 1) == Claim(new=False, first_at=NOW)
    await store.answers.keep("node", "a", ANSWER)
    assert await store.answers.claim("node", "a", "x", NOW + 2) == Claim(new=False, first_at=NOW, answer=ANSWER)


async def test_a_key_with_another_call_is_a_conflict_and_another_caller_has_his_own(store: Store) -> None:
    await store.answers.claim("node", "a", "x", NOW)
    with pytest.raises(Conflict, match="'a'"):
        await store.answers.claim("node", "a", "y", NOW)
    assert await store.answers.claim("somebody", "a", "y", NOW) == Claim(new=True, first_at=NOW)


async def test_a_freed_key_may_be_taken_by_another_call(store: Store) -> None:
    await store.answers.claim("node", "a", "x", NOW)
    await store.answers.free("node", "a")
    assert await store.answers.claim("node", "a", "y", NOW + 1) == Claim(new=True, first_at=NOW + 1)


async def test_keys_are_kept_for_a_day_even_where_the_clock_jumps_one(store: Store) -> None:
    await store.answers.claim("node", "a", "x", NOW)
    assert (await store.answers.claim("node", "a", "x", NOW + 2 * 86400 - 1)).first_at == NOW
    assert (await store.answers.claim("node", "a", "x", NOW - 86400)).first_at == NOW
    later = NOW + access.KEPT_S + 1
    assert (await store.answers.claim("node", "a", "y", later)).first_at == later


async def test_the_oldest_keys_give_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ANSWERS_MOST", 3)
    for number in range(5):
        await store.answers.claim("node", f"key {number}", "x", NOW + number)
    assert (await store.answers.claim("node", "key 2", "x", NOW + 9)).first_at == NOW + 2
    assert (await store.answers.claim("node", "key 1", "x", NOW + 9)).first_at == NOW + 9
