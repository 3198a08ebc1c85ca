"""Whom does the door of this cloud admit now?

What the config allows, what the store holds as admitted and the one-use keys of open join tokens, put together anew at every
change. The config's names and keys come first; a key that was revoked stays out, whatever the config says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from node.clock import Clock
from node.errors import Conflict, Forbidden
from node.model.cluster import Role
from node.model.member import JoinToken, Member, MemberState
from node.model.wire.method import Mark
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.jointoken import joiner_name
from node.transport.keys import fingerprint

log = logging.getLogger(__name__)

USED_TOKEN_S: Final = 10.0  # a used token stays good for its own user so long: the answer may have been lost
JOINERS: Final = "join-"  # how the names of one-use keys begin


@dataclass(frozen=True, slots=True)
class Policy:
    """Who this node is to newcomers, and how they get in: `token`, `approve` or `allow-list`.

    `allowed` are the peers that the config names, by key.
    """

    name: str
    public_key: str
    roles: tuple[Role, ...]
    admit: str
    allowed: Sequence[tuple[str, Peer]]


class Admission:
    """The members and join tokens at hand, and the directory that follows from them.

    `changed` is called after each change.
    """

    def __init__(self, policy: Policy, directory: Directory, clock: Clock) -> None:
        self.policy = policy
        self.members: Mapping[str, Member] = {}
        self.tokens: Mapping[str, JoinToken] = {}
        self.changed: Callable[[], None] = lambda: None
        self._refreshing: asyncio.Handle | None = None
        self._directory = directory
        self._clock = clock

    def load(self, members: Iterable[Member], tokens: Mapping[str, JoinToken]) -> None:
        """Begins with what is stored; before it only the config's peers are admitted."""
        self.members = {member.fingerprint: member for member in members}
        self.tokens = tokens
        for public, peer in self.policy.allowed:
            if self.state(public) is MemberState.REVOKED:
                log.warning("named in transport.allow, but its key was revoked", extra={"peer": peer.name})
        self._refresh()

    def keep(self, member: Member) -> None:
        """From now on this is what is known of that key."""
        self.members = {**self.members, member.fingerprint: member}
        self._directory.knocks.forget(member.key)
        self._refresh()

    def keep_used(self, key: str, token: JoinToken, member: Member) -> None:
        """From now on that token is used up, and this is what is known of the member that used it."""
        self.tokens = {**self.tokens, key: token}
        self.members = {**self.members, member.fingerprint: member}
        self._directory.knocks.forget(member.key)
        self._refresh_soon()

    def keep_token(self, key: str, token: JoinToken) -> None:
        """From now on this is what is known of that token."""
        self.tokens = {**self.tokens, key: token}
        self._refresh_soon()

    def drop_token(self, token: JoinToken) -> None:
        """That way in is closed."""
        self.tokens = {key: one for key, one in self.tokens.items() if one.id != token.id}
        self._refresh()

    def drop_closed_tokens(self) -> None:
        """Forgets the tokens that have expired, or were used a while ago."""
        for token in [token for token in self.tokens.values() if not self._opens(token)]:
            self.drop_token(token)

    def all(self) -> tuple[Member, ...]:
        """Every record, by name; the config's peers that have none are admitted, with their names there."""
        known = {member.key for member in self.members.values()}
        fixed = [self.record(public, peer) for public, peer in self.policy.allowed if public not in known]
        return tuple(sorted([*self.members.values(), *fixed], key=lambda member: member.name))

    def state(self, public: str) -> MemberState | None:
        """Where a key stands, None for one that has no record."""
        member = self.members.get(fingerprint(public))
        return member.state if member is not None else None

    def admits(self, name: str) -> bool:
        """Whether the door knows somebody under that name."""
        return name in self._directory

    def record(self, public: str, peer: Peer, now: float = 0.0) -> Member:
        """A record for a key that is to be admitted."""
        return Member(
            fingerprint=fingerprint(public),
            name=peer.name,
            key=public,
            roles=tuple(role for role in Role if role in peer.roles),
            state=MemberState.ADMITTED,
            created_at=now,
            changed_at=now,
        )

    def check_open(self) -> None:
        """Forbidden where only the config admits."""
        if self.policy.admit == "allow-list":
            raise Forbidden(
                "this node admits only whom its config names",
                hint='name the node in [[transport.allow]], or set transport.admit = "token"',
            )

    def check_name(self, name: str, key: str) -> None:
        """Conflict where the config has given the name, or the key, to another; the store looks at the members."""
        allowed = self.policy.allowed
        taken = name == self.policy.name or any(peer.name == name and public != key for public, peer in allowed)
        if taken or name.startswith(JOINERS):
            raise Conflict(f"the name '{name}' is taken", hint="give the newcomer another node.name")
        if key == self.policy.public_key:
            raise Conflict("that is the key of this node itself", hint="was its data_dir copied? delete identity.key there")

    def _refresh_soon(self) -> None:
        """Once for all who are let in during this turn of the loop: a thousand who come together are few directories."""
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().call_soon(self._refresh)

    def _refresh(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._refreshing = None
        self._directory.replace(self._records())
        self.changed()

    def _records(self) -> Iterator[tuple[str, Peer]]:
        names: set[str] = set()
        keys: set[str] = set()
        for public, peer in (*self._fixed(), *self._admitted(), *self._one_use_keys()):
            if peer.name not in names and public not in keys:
                names.add(peer.name)
                keys.add(public)
                yield public, peer

    def _fixed(self) -> Iterator[tuple[str, Peer]]:
        for public, peer in self.policy.allowed:
            if self.state(public) is not MemberState.REVOKED:
                known = self.members.get(fingerprint(public))
                yield public, replace(peer, sessions=frozenset(known.sessions)) if known is not None else peer

    def _admitted(self) -> Iterator[tuple[str, Peer]]:
        for member in self.members.values():
            if member.state is MemberState.ADMITTED:
                yield member.key, _peer(member)

    def _one_use_keys(self) -> Iterator[tuple[str, Peer]]:
        if self.policy.admit != "allow-list":
            for key, token in self.tokens.items():
                if self._opens(token):
                    yield key, Peer(joiner_name(key), frozenset({Mark.JOINER}), fingerprint(key))

    def _opens(self, token: JoinToken) -> bool:
        now = self._clock.wall()
        return now < token.expires_at and (token.used_at is None or now < token.used_at + USED_TOKEN_S)


def _peer(member: Member) -> Peer:
    return Peer(member.name, frozenset(member.roles), member.fingerprint, frozenset(member.sessions))
