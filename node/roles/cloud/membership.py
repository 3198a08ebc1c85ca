"""Who is let in, who waits, and who is put out again?

The order of a change: where something is taken away, the door first and then the store; where something is given, the store
first. What the store could not take is tried again every second.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Forbidden, Invalid, NotFound
from node.model.member import (
    MEMBER_LIFE,
    Approval,
    JoinToken,
    JoinTokenRequest,
    KeyState,
    Member,
    MemberEvent,
    MemberState,
    NewJoinToken,
    Waiting,
)
from node.model.value import new_id
from node.model.wire.member import MEMBER_JOIN, JoinReply, JoinRequest
from node.roles.cloud.admission import Admission
from node.roles.cloud.succession import Succession
from node.storage.members import Members
from node.transport.auth import Directory
from node.transport.base import Answer, Call, Peer, Transport
from node.transport.jointoken import joiner_name, new_token
from node.transport.keys import fingerprint
from node.transport.offences import Offence

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY: Final = 1.0  # for what has expired or was not written
PREFIX_CHARS: Final = 7  # of a fingerprint: one group names a key where it is the only one


async def _nothing_waits(_: str) -> int:
    return 0


class Membership:
    """The members of one cloud. `ref` is a name, a fingerprint or a unique beginning of one.

    `drop` forgets the durable messages that wait for a name, and tells how many there were.
    """

    def __init__(  # noqa: PLR0917 - what only the composition root brings together
        self,
        admission: Admission,
        store: Members,
        door: Directory,
        clock: Clock,
        succession: Succession,
        drop: Callable[[str], Awaitable[int]] = _nothing_waits,
    ) -> None:
        self._admission = admission
        self._store = store
        self._door = door
        self._clock = clock
        self._succession = succession
        self._drop = drop
        self._unwritten: dict[str, tuple[str, str]] = {}

    async def load(self) -> None:
        """Reads what is stored; before it only the config's peers are admitted."""
        self._succession.resume()
        self._admission.load(await self._store.all(), await self._store.tokens())

    def register(self, transport: Transport) -> None:
        """Takes registrations; only before the transport starts."""
        transport.answer(MEMBER_JOIN, self._join)

    async def run(self) -> None:
        """Ends what has expired, and writes down who was cut, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            now = self._clock.wall()
            for member in tuple(self._admission.members.values()):
                if member.state is MemberState.ADMITTED and member.expires_at is not None and now >= member.expires_at:
                    self._take_away(member, "expire", "")
            for key_print, (event, reason) in tuple(self._unwritten.items()):
                try:
                    await self._write(key_print, event, reason)
                except EcnodeError as error:
                    log.warning("member not written down", extra={"fingerprint": key_print, "reason": error.message})
            self._admission.drop_closed_tokens()
            for offence in self._door.offences.due(self._clock.monotonic()):
                await self._note(offence)

    async def _note(self, offence: Offence) -> None:
        peer, now = offence.peer, self._clock.wall()
        known = self._admission.members.get(peer.fingerprint)
        line = MemberEvent(
            time=now,
            fingerprint=peer.fingerprint,
            name=peer.name,
            event="cut",
            state=known.state if known is not None else MemberState.ADMITTED,
            reason=f"{offence.reason}, {offence.times} times" if offence.times > 1 else offence.reason,
        )
        try:
            await self._store.note(line)
        except EcnodeError as error:
            log.warning("cut not written down", extra={"peer": peer.name, "reason": error.message})
        else:
            self._door.offences.told(offence, self._clock.monotonic())

    # What the front door asks

    def members(self) -> tuple[Member, ...]:
        """Every record, by name."""
        return self._admission.all()

    def waiting(self) -> tuple[Waiting, ...]:
        """The members that are pending, then the refused keys, those that knocked last first."""
        knocks = {refusal.key: refusal for refusal in self._door.knocks.newest()}
        pending = {member.key: member for member in self.members() if member.state is MemberState.PENDING}
        strangers = [key for key in knocks if self._admission.state(key) is None]
        return tuple(
            Waiting(
                fingerprint=fingerprint(key),
                key=key,
                name=pending[key].name if key in pending else "",
                roles=pending[key].roles if key in pending else (),
                address=knocks[key].address if key in knocks else "",
                times=knocks[key].times if key in knocks else 0,
            )
            for key in (*pending, *strangers)
        )

    async def events(self, limit: int) -> tuple[MemberEvent, ...]:
        """The newest lines of the audit, newest first."""
        return await self._store.events(limit)

    async def approve(self, ref: str, approval: Approval) -> Member:
        """Admits a key that waits, or a member that has expired.

        Raises:
            NotFound, Conflict: nobody, or more than one, waits under that ref; or the name is taken.
            Invalid: the key alone is known, and the approval has no name or no roles.
            Forbidden: this node admits by allow-list.
        """
        self._admission.check_open()
        now = self._clock.wall()
        expires = None if approval.ttl is None else now + approval.ttl
        known = _named(ref, [one for one in self.members() if "approve" in MEMBER_LIFE.events(one.state)])
        if known:
            waiter = _one(ref, known)
            name, roles = approval.name or waiter.name, approval.roles or waiter.roles
            self._admission.check_name(name, waiter.key)
            sessions = waiter.sessions if approval.sessions is None else approval.sessions
            changes = {"name": name, "roles": roles, "sessions": sessions, "expires_at": expires}
            member = await self._store.step(waiter.fingerprint, "approve", "", now, changes)
        else:
            stranger = _one(ref, [each for each in self.waiting() if each.fingerprint.startswith(_prefix(ref))])
            if approval.name is None or not approval.roles:
                raise Invalid(
                    "only the key is known of this node",
                    hint=f"ecnode peers approve {stranger.fingerprint} --name NAME --role ROLE",
                )
            self._admission.check_name(approval.name, stranger.key)
            peer = Peer(approval.name, frozenset(approval.roles), stranger.fingerprint)
            record = self._admission.record(stranger.key, peer, now)
            record = record.replace(expires_at=expires, sessions=approval.sessions or ())
            member = await self._store.enrol(record, f"approved, knocked from {stranger.address}")
        log.info("member approved", extra={"peer": member.name, "fingerprint": member.fingerprint})
        self._admission.keep(member)
        return member

    async def revoke(self, ref: str, reason: str = "") -> Member:
        """Puts a member out for good, at once; its key never gets in again, whatever the config says.

        Raises:
            NotFound, Conflict: no live member, or more than one, has that ref.
            Unavailable: it is out, but the store could not take it yet; it is tried again every second.
        """
        member = _one(ref, _named(ref, [one for one in self.members() if "revoke" in MEMBER_LIFE.events(one.state)]))
        log.warning("member revoked", extra={"peer": member.name, "fingerprint": member.fingerprint})
        self._take_away(member, "revoke", reason)
        return await self._write(member.fingerprint, "revoke", reason)

    async def invite(self, ref: str, sessions: tuple[str, ...]) -> Member:
        """Has a member take part in these private sessions only, or in any where none is named; its link begins anew.

        Raises:
            NotFound, Conflict: no admitted member, or more than one, has that ref.
        """
        now = self._clock.wall()
        member = await self._store.invite(await self._recorded(ref, now), sessions, now)
        self._admission.keep(member)
        log.info("member invited", extra={"peer": member.name, "sessions": ", ".join(sessions) or "any"})
        return member

    async def _recorded(self, ref: str, now: float) -> str:
        """The fingerprint of an admitted member; one of the config's has a record from now on."""
        member = _one(ref, _named(ref, [one for one in self.members() if one.state is MemberState.ADMITTED]))
        if member.fingerprint not in self._admission.members:
            await self._store.enrol(member.replace(created_at=now, changed_at=now), "named in transport.allow")
        return member.fingerprint

    async def drain(self, ref: str, *, drained: bool) -> Member:
        """Has a member get no new work, and what runs there moved; or the opposite.

        Raises:
            NotFound, Conflict: no admitted member, or more than one, has that ref.
        """
        now = self._clock.wall()
        member = await self._store.drain(await self._recorded(ref, now), now, drained=drained)
        self._admission.keep(member)
        log.info("member drained" if drained else "member takes work again", extra={"peer": member.name})
        return member

    def drained(self) -> frozenset[str]:
        """The names of the members that get no work."""
        return frozenset(one.name for one in self._admission.members.values() if one.drained_at is not None)

    def tokens(self) -> tuple[JoinToken, ...]:
        """The join tokens that can still be used, oldest first."""
        return tuple(sorted((one for one in self._admission.tokens.values() if not one.used_by), key=lambda one: one.id))

    async def make_token(self, request: JoinTokenRequest) -> NewJoinToken:
        """A new join token; its secret is known to the caller alone.

        Raises:
            Forbidden: this node admits by allow-list.
            Busy: there are too many.
        """
        self._admission.check_open()
        now = self._clock.wall()
        secret, key = new_token(self._admission.policy.public_key)
        token = JoinToken(
            id=new_id("j", now), label=request.label, roles=request.roles, created_at=now, expires_at=now + request.ttl
        )
        await self._store.add_token(key, token)
        self._admission.keep_token(key, token)
        await self._clock.sleep(0)  # the door knows it in the next turn, and whoever is answered may be there at once
        log.info("join token made", extra={"join": token.id, "roles": ", ".join(token.roles)})
        return NewJoinToken(token=token, secret=secret)

    async def revoke_token(self, ref: str) -> JoinToken:
        """Closes the way in that the token whose id begins so opens.

        Raises:
            NotFound, Conflict: none, or several.
        """
        token = _one(ref, [one for one in self._admission.tokens.values() if one.id.startswith(ref)])
        self._admission.drop_token(token)
        await self._store.drop_token(token.id)
        log.info("join token revoked", extra={"join": token.id})
        return token

    async def change_key(self, *, switch: bool) -> KeyState:
        """Announces this cloud's next key, made where there is none; with `switch` goes over to it at the next start.

        Raises:
            Conflict: a member does not know the next key yet, and would be shut out.
        """
        return await self._succession.change(switch=switch)

    # The wire

    async def _join(self, call: Call, request: JoinRequest) -> Answer[JoinReply]:
        key, token = self._shown(call.peer)
        if not set(request.roles) <= set(token.roles):
            raise Forbidden(
                f"the token is for {', '.join(token.roles)}, '{request.name}' wants {', '.join(request.roles)}",
                hint="make one there with each of these roles: ecnode token create --role …",
            )
        self._admission.check_name(request.name, request.key)
        now = self._clock.wall()
        at_once = self._admission.policy.admit == "token"
        peer = Peer(request.name, frozenset(request.roles), fingerprint(request.key))
        state = MemberState.ADMITTED if at_once else MemberState.PENDING
        record = self._admission.record(request.key, peer, now).replace(state=state, token=token.id)
        member = await self._store.redeem(key, record)
        log.info("member registered", extra={"peer": member.name, "fingerprint": member.fingerprint, "state": member.state})
        used = token.replace(used_by=member.fingerprint, used_at=token.used_at or now)
        self._admission.keep_used(key, used, member)
        await self._clock.sleep(0)  # as above
        policy = self._admission.policy
        return Answer(JoinReply(name=policy.name, roles=policy.roles, state=member.state))

    def _shown(self, peer: Peer) -> tuple[str, JoinToken]:
        for key, token in self._admission.tokens.items():
            if joiner_name(key) == peer.name:
                return key, token
        raise Forbidden("this join token is not open any more", hint="ask for a new one")

    def _take_away(self, member: Member, event: str, reason: str) -> None:
        after = member.replace(state=MEMBER_LIFE.after(member.state, event), changed_at=self._clock.wall())
        self._unwritten[member.fingerprint] = (event, reason)
        self._admission.keep(after)

    async def _write(self, key_print: str, event: str, reason: str) -> Member:
        """Brings the store to what the door does already."""
        now = self._clock.wall()
        member = self._admission.members[key_print]
        if event == "revoke" and not self._admission.admits(member.name):  # another key may have the name by now
            dropped = await self._drop(member.name)
            if dropped:
                log.warning("messages for a revoked member dropped", extra={"peer": member.name, "messages": dropped})
                reason = "; ".join(filter(None, (reason, f"{dropped} waiting messages dropped")))
                self._unwritten[key_print] = (event, reason)
        try:
            written = await self._store.step(key_print, event, reason, now)
        except NotFound:  # one of the config's: it has no record yet
            await self._store.enrol(member.replace(state=MemberState.ADMITTED, created_at=now), "named in transport.allow")
            written = await self._store.step(key_print, event, reason, now)
        self._unwritten.pop(key_print, None)
        self._admission.keep(written)
        return written


def _named(ref: str, members: Sequence[Member]) -> list[Member]:
    return [one for one in members if one.name == ref or one.fingerprint.startswith(_prefix(ref))]


def _prefix(ref: str) -> str:
    """The beginning of a fingerprint that `ref` may be; one that no fingerprint has where it is too short."""
    return ref.upper() if len(ref) >= PREFIX_CHARS else "-"


def _one(ref: str, found: Sequence[T]) -> T:
    if not found:
        raise NotFound(f"nothing here is called '{ref:.100}'", hint="look at ecnode peers list, peers pending and token list")
    if len(found) > 1:
        raise Conflict(f"{len(found)} answer to '{ref:.100}'", hint="give more of it")
    return found[0]
