"""Who may log in at this console, and what may each do?

Passwords are kept as scrypt hashes with a salt each. Nobody makes themselves an administrator: the first one is made by a link
that whoever runs the node has asked it for, the others by an administrator.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from typing import Final

from node.clock import Clock
from node.errors import Busy, Conflict, Forbidden, Invalid, Problem, Unauthorized
from node.model.project import LINK_S, User, UserRole, new_hex_id
from node.storage.console import Book, ConsoleStore

SCRYPT_N: Final = 2**15  # with r = 8 each hash takes 32 MiB and about 0.1 s
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
SCRYPT_MEMORY: Final = 64 * 2**20
HASHES: Final = 2  # at once
PASSWORD_LEAST: Final = 8
PASSWORD_MOST: Final = 200
FAILURES_MOST: Final = 5  # of one name in a row; then it waits
WAIT_S: Final = 30.0
NAMES_WATCHED: Final = 1000


class Users:
    """The users of a console."""

    def __init__(self, store: ConsoleStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._room = asyncio.Semaphore(HASHES)
        self._failures: dict[str, tuple[int, float]] = {}
        self._link: tuple[bytes, float] | None = None
        self._nobody = f"scrypt${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${'00' * 16}${'00' * 32}"

    def offer_link(self) -> str:
        """A secret that makes one administrator, once, within an hour; an earlier one is worth nothing from now on."""
        secret = secrets.token_urlsafe(24)
        self._link = (hashlib.sha256(secret.encode()).digest(), self._clock.monotonic() + LINK_S)
        return secret

    async def make_first(self, secret: str, name: str, password: str) -> User:
        """The administrator that a link is good for.

        Raises:
            Forbidden: it is not good, any more.
        """
        given = hashlib.sha256(secret.encode(errors="surrogateescape")).digest()
        link = self._link
        if link is None or not hmac.compare_digest(link[0], given) or self._clock.monotonic() > link[1]:
            raise Forbidden("the link is not good, or was used", hint="ecnode projects administrator makes a new one")
        self._link = None
        return await self._add(name, password, UserRole.ROOT)

    async def make(self, by: UserRole, name: str, password: str, role: UserRole) -> User:
        """A user whose role is below that of who makes it; a root makes any.

        Raises:
            Forbidden: `by` may not make that role.
            Conflict: there is one of that name.
        """
        self._may_give(by, role)
        return await self._add(name, password, role)

    async def log_in(self, name: str, password: str) -> User:
        """The user with that name and password.

        Raises:
            Unauthorized: there is none; which of both is wrong is not told, nor by how long it takes.
            Busy: too many wrong passwords came for that name.
        """
        now = self._clock.monotonic()
        count, until = self._failures.get(name, (0, 0.0))
        if count >= FAILURES_MOST and now < until:
            raise Busy(f"too many wrong passwords for that name, wait {until - now:.0f} s")
        found = await self._named(name)
        good = await self._matches(password, found.password if found else self._nobody)
        if found is None or not good:
            if len(self._failures) >= NAMES_WATCHED:
                self._failures.pop(next(iter(self._failures)))
            self._failures[name] = (count + 1, now + WAIT_S)
            raise Unauthorized("no user has that name and password")
        self._failures.pop(name, None)
        return found

    async def note_log_in(self, user: User, token: str) -> list[str]:
        """Keeps whose token it is; the ids of those that end by it."""
        return await self._store.write(lambda book: book.log_in(book.get(User, user.id), token))

    async def note_log_out(self, token: str) -> None:
        """Forgets a token."""
        await self._store.write(lambda book: book.log_out(token))

    async def of_token(self, token: str) -> User | None:
        """Whose token it is; None where it is not one of a log-in."""
        return await self._store.read(lambda page: page.user_of(token))

    async def get(self, id: str) -> User:
        """One user; NotFound if there is none."""
        return await self._store.read(lambda page: page.get(User, id))

    async def all(self) -> tuple[User, ...]:
        """All of them, the oldest first."""
        return await self._store.read(lambda page: page.all(User, 1000))

    async def change(
        self,
        by: UserRole,
        by_id: str,
        id: str,
        *,
        old_password: str | None = None,
        password: str | None = None,
        role: UserRole | None = None,
        info: str | None = None,
    ) -> tuple[User, list[str]]:
        """The user, changed, and the tokens that end by it: those of before a new password or another role.

        Raises:
            Forbidden: somebody else's record, or a role that `by` may not give.
            Unauthorized: `old_password`, which one's own change needs, is wrong.
        """
        user = await self.get(id)
        if by_id != id and by is not UserRole.ROOT:
            raise Forbidden("only a root changes other users")
        hashed = None
        if password is not None:
            if by_id == id and not await self._matches(old_password or "", user.password):
                raise Unauthorized("origin_password is wrong")
            hashed = await self._hashed(password)
        if role is not None and role is not user.role:
            if by_id == id:
                raise Forbidden("nobody changes their own role")
            self._may_give(by, role)

        def work(book: Book) -> tuple[User, list[str]]:
            found = book.get(User, id)
            given = (("password", hashed), ("role", role), ("info", info))
            changed = book.change(found, **{name: value for name, value in given if value is not None})
            ended = book.logins(id) if hashed is not None or changed.role is not found.role else []
            for token in ended:
                book.log_out(token)
            return changed, ended

        return await self._store.write(work)

    async def drop(self, by: UserRole, id: str) -> list[str]:
        """Takes a user away; the ids of the tokens that end by it."""
        if by is not UserRole.ROOT:
            raise Forbidden("only a root takes users away")

        def work(book: Book) -> list[str]:
            user = book.get(User, id)
            ended = book.logins(id)
            for token in ended:
                book.log_out(token)
            book.drop(user)
            return ended

        return await self._store.write(work)

    @staticmethod
    def _may_give(by: UserRole, role: UserRole) -> None:
        ranks = list(UserRole)
        if by is not UserRole.ROOT and ranks.index(role) <= ranks.index(by):
            raise Forbidden(f"a user who is {by} makes nobody {role}", hint="a root does, or `ecnode projects administrator`")

    async def _add(self, name: str, password: str, role: UserRole) -> User:
        hashed = await self._hashed(password)

        def work(book: Book) -> User:
            if book.find(User, name=name):
                raise Conflict(f"there is a user '{name:.100}' already")
            made = User(id=new_hex_id(), name=name, role=role, password=hashed, created_at=book.now, updated_at=book.now)
            return book.add(made)

        return await self._store.write(work)

    async def _named(self, name: str) -> User | None:
        found = await self._store.read(lambda page: page.find(User, name=name))
        return found[0] if found else None

    async def _hashed(self, password: str) -> str:
        if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
            told = f"has {PASSWORD_LEAST} to {PASSWORD_MOST} characters"
            raise Invalid(f"a password {told}", problems=[Problem("password", told)])
        salt = os.urandom(16)
        found = await self._scrypt(password, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
        return f"scrypt${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${salt.hex()}${found.hex()}"

    async def _matches(self, password: str, kept: str) -> bool:
        _, n, r, p, salt, wanted = kept.split("$")
        found = await self._scrypt(password[: PASSWORD_MOST + 1], bytes.fromhex(salt), int(n), int(r), int(p))
        return hmac.compare_digest(found, bytes.fromhex(wanted))

    async def _scrypt(self, password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        """Source: RFC 7914."""
        given = password.encode(errors="surrogateescape")
        async with self._room:
            return await asyncio.to_thread(hashlib.scrypt, given, salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_MEMORY, dklen=32)
