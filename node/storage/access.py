"""Which tokens open the front door, and which calls were answered already?

Of a token its SHA-256 is kept and nothing that it could be made from: a secret has 256 random bits, so no salt is needed. Of a
call with an idempotency key its digest is kept, then its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from peewee import fn

from node.errors import Busy, Conflict, NotFound
from node.model.access import Claim, KeptAnswer, Token
from node.storage.connection import Writing
from node.storage.database import Database
from node.storage.rows import decode, encode, parse, text
from node.storage.tables import AnswerRow, TokenRow, column, compiled, derived, insertion, slot

TOKENS_MOST: Final = 1000
ANSWERS_MOST: Final = 10_000  # × about 1 kB, 64 KiB at most
KEPT_S: Final = 2 * 86400.0  # a day is promised, and a wall clock that jumps by a day must not break the promise

_ADD_TOKEN: Final = insertion(TokenRow)
_COUNT_TOKENS: Final = compiled(TokenRow.select(fn.COUNT(TokenRow.digest)))
_TOKENS: Final = compiled(
    TokenRow.select(TokenRow.digest, *derived(TokenRow, Token)).order_by(column(TokenRow, "id")).limit(slot("limit"))
)
_DROP_TOKEN: Final = compiled(TokenRow.delete().where(column(TokenRow, "id") == slot("id")))
_USE_TOKEN: Final = compiled(
    TokenRow.update({column(TokenRow, "used_at"): slot("at")}).where(column(TokenRow, "id") == slot("id"))
)
_EXPIRED_TOKENS: Final = compiled(TokenRow.delete().where(column(TokenRow, "expires_at") < slot("now")))

_CLAIM: Final = compiled(
    AnswerRow.select(AnswerRow.digest, AnswerRow.first_at, AnswerRow.answer).where(
        AnswerRow.owner == slot("owner"), AnswerRow.key == slot("key")
    )
)
_ADD_CLAIM: Final = insertion(AnswerRow, leave_out="number")
_ANSWER: Final = compiled(
    AnswerRow.update({AnswerRow.answer: slot("answer")}).where(AnswerRow.owner == slot("owner"), AnswerRow.key == slot("key"))
)
_FREE: Final = compiled(AnswerRow.delete().where(AnswerRow.owner == slot("owner"), AnswerRow.key == slot("key")))
_OLD_CLAIMS: Final = compiled(AnswerRow.delete().where(AnswerRow.first_at < slot("before")))
_LAST_CLAIM: Final = compiled(AnswerRow.select(fn.MAX(AnswerRow.number)))
_SURPLUS: Final = compiled(AnswerRow.delete().where(AnswerRow.number <= slot("number")))


class Tokens:
    """The tokens that were made with `POST /tokens`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Mapping[str, Token]:
        """All of them by the digest of their secret, at most `TOKENS_MOST`."""
        rows = await self._database.read(lambda connection: connection.rows(_TOKENS, limit=TOKENS_MOST))
        return {text(row, 0): decode(Token, row[1:]) for row in rows}

    async def add(self, token: Token, digest: str) -> None:
        """Keeps a token; those that expired before it was made are dropped.

        Raises:
            Busy: there are `TOKENS_MOST` already.
        """
        await self._database.write(lambda connection: _add_token(connection, token, digest))

    async def revoke(self, id: str) -> None:
        """Drops a token; NotFound if there is none of that id."""
        if not await self._database.write(lambda connection: connection.change(_DROP_TOKEN, id=id)):
            raise NotFound(f"no token has the id {id}", hint="ecnode token list shows them")

    async def note_use(self, id: str, at: float) -> None:
        """Remembers when a token was last used."""
        await self._database.write(lambda connection: connection.change(_USE_TOKEN, id=id, at=at))


def _add_token(connection: Writing, token: Token, digest: str) -> None:
    connection.change(_EXPIRED_TOKENS, now=token.created_at)
    if connection.number(_COUNT_TOKENS) >= TOKENS_MOST:
        raise Busy(f"there are {TOKENS_MOST} tokens already", hint="revoke some: ecnode token list")
    connection.change(_ADD_TOKEN, digest=digest, **encode(token))


class Answers:
    """The newest answers to calls with an idempotency key, by the caller (`owner`) and the key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, owner: str, key: str, digest: str, now: float) -> Claim:
        """What is known of the key; a new one is taken for the call with that digest.

        Raises:
            Conflict: the key stands for another call.
        """
        return await self._database.write(lambda connection: _claim(connection, owner, key, digest, now))

    async def keep(self, owner: str, key: str, answer: KeptAnswer) -> None:
        """Keeps the answer of a taken key; harmless when repeated."""
        await self._database.write(
            lambda connection: connection.change(_ANSWER, owner=owner, key=key, answer=answer.model_dump_json())
        )

    async def free(self, owner: str, key: str) -> None:
        """Forgets a key whose call was refused."""
        await self._database.write(lambda connection: connection.change(_FREE, owner=owner, key=key))


def _claim(connection: Writing, owner: str, key: str, digest: str, now: float) -> Claim:
    connection.change(_OLD_CLAIMS, before=now - KEPT_S)
    row = connection.row(_CLAIM, owner=owner, key=key)
    if row is None:
        connection.change(_ADD_CLAIM, owner=owner, key=key, digest=digest, first_at=now, answer=None)
        connection.change(_SURPLUS, number=connection.number(_LAST_CLAIM) - ANSWERS_MOST)
        return Claim(new=True, first_at=now)
    if text(row, 0) != digest:
        raise Conflict(f"the idempotency key {key!r} belongs to another request", hint="a new request needs a new key")
    answer = None if row[2] is None else parse(KeptAnswer, text(row, 2))
    return Claim(new=False, first_at=cast(float, row[1]), answer=answer)
