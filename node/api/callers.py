"""Whose token is that, and what may its holder do?

The node's own token, the file in its data directory, holds every scope. Others are made at the door; all of them are kept at
hand by the digest of their secret, so that a revoked one is refused from the next request on.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from node.api.ports import Tokens
from node.api.scope import Scope
from node.clock import Clock
from node.errors import Conflict, NotBuilt, NotFound, Unavailable
from node.model.access import NewToken, Token, TokenRequest
from node.model.value import new_id

log = logging.getLogger(__name__)

PREFIX: Final = "ec1_"  # so that a scanner of published files knows what it has found
USE_EVERY: Final = 60.0  # a token's last use is written down no more often
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; `name` is a token's id, `node` for the node's own, or `local` for one who needed none."""

    name: str
    scope: Scope


CALLER: Final = web.RequestKey("caller", Caller)
LOCAL: Final = Caller("local", Scope.ADMIN)
NODE: Final = Caller("node", Scope.ADMIN)


class Keyring:
    """Every token that this door takes."""

    def __init__(self, own: str, kept: Tokens | None, clock: Clock) -> None:
        self._own = own.encode()
        self._kept = kept
        self._clock = clock
        self._tokens: dict[str, Token] = {}

    async def load(self) -> None:
        """Reads the kept tokens; before it only the node's own is known."""
        if self._kept is not None:
            self._tokens = dict(await self._kept.load())

    async def find(self, secret: str) -> Caller | None:
        """Who holds that secret, None where nobody does or the token has expired."""
        given = secret.encode(errors="surrogateescape")
        if self._own and hmac.compare_digest(given, self._own):
            return NODE
        digest = hashlib.sha256(given).hexdigest()
        token = self._tokens.get(digest)
        if token is None or self._expired(token):
            return None
        await self._note_use(digest, token)
        return Caller(token.id, Scope[token.scope.name])

    def tokens(self) -> tuple[Token, ...]:
        """The tokens that have not expired, the oldest first."""
        return tuple(sorted((one for one in self._tokens.values() if not self._expired(one)), key=lambda one: one.id))

    async def make(self, request: TokenRequest) -> NewToken:
        """A new token; its secret is known to the caller alone."""
        now = self._clock.wall()
        token = Token(
            id=new_id("k", now),
            label=request.label,
            scope=request.scope,
            created_at=now,
            expires_at=None if request.ttl is None else now + request.ttl,
        )
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        await self._store().add(token, digest)
        self._tokens = {key: one for key, one in self._tokens.items() if not self._expired(one)} | {digest: token}
        log.info("token made", extra={"key": token.id, "scope": token.scope, "expires": token.expires_at})
        return NewToken(token=token, secret=secret)

    async def revoke(self, ref: str) -> Token:
        """Drops the token whose id begins with `ref`.

        Raises:
            NotFound, Conflict: none does, or several do.
        """
        found = {digest: token for digest, token in self._tokens.items() if token.id.startswith(ref)}
        if not found:
            raise NotFound(f"no token has the id {ref:.100}", hint="ecnode token list shows them")
        if len(found) > 1:
            raise Conflict(f"{len(found)} tokens have ids that begin with {ref:.100}", hint="give more of it")
        ((digest, token),) = found.items()
        del self._tokens[digest]  # first of all: from here on it is refused, whatever the disk says
        await self._store().revoke(token.id)
        log.info("token revoked", extra={"key": token.id})
        return token

    def _store(self) -> Tokens:
        if self._kept is None:
            raise NotBuilt("this door keeps no tokens but its own")
        return self._kept

    def _expired(self, token: Token) -> bool:
        return token.expires_at is not None and self._clock.wall() >= token.expires_at

    async def _note_use(self, digest: str, token: Token) -> None:
        now = self._clock.wall()
        if token.used_at is not None and 0 <= now - token.used_at < USE_EVERY:
            return
        self._tokens[digest] = token.replace(used_at=now)  # before the write, so that nobody else begins one
        try:
            await self._store().note_use(token.id, now)
        except Unavailable as error:  # a disk that is full refuses what changes something, not every reader
            log.warning("use of a token not written down", extra={"key": token.id, "reason": error.message})
