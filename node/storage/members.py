"""Who is a member, what has happened to each, and which join tokens are open?

Every step is one transaction with its line in the audit; the life-cycle table alone decides which step is possible. A join
token is used up by one conditional statement in the transaction that writes its member, so that of two who show it one gets in,
and one whose name is refused has not used it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from peewee import fn

from node.errors import Busy, Conflict, Forbidden, NotFound
from node.model.member import MEMBER_LIFE, MEMBERS_MOST, JoinToken, Member, MemberEvent, MemberState
from node.storage.connection import Reading, Writing
from node.storage.database import Database
from node.storage.rows import decode, encode, text
from node.storage.tables import JoinTokenRow, MemberEventRow, MemberRow, column, compiled, derived, insertion, slot

JOIN_TOKENS_MOST: Final = 1000
EVENTS_KEPT: Final = 10_000  # × about 300 B = 3 MB
EVENTS_PAGE: Final = 500
REASON_MOST: Final = 2000  # characters, as `Text` allows

_FIELDS: Final = derived(MemberRow, Member)
_MEMBERS: Final = compiled(MemberRow.select(*_FIELDS).order_by(column(MemberRow, "created_at")).limit(slot("limit")))
_MEMBER: Final = compiled(MemberRow.select(*_FIELDS).where(MemberRow.fingerprint == slot("fingerprint")))
_NAMED: Final = compiled(
    MemberRow.select(fn.COUNT(MemberRow.fingerprint)).where(
        column(MemberRow, "name") == slot("name"),
        MemberRow.fingerprint != slot("fingerprint"),
        column(MemberRow, "state") != slot("revoked"),
    )
)
_COUNT: Final = compiled(MemberRow.select(fn.COUNT(MemberRow.fingerprint)))
_ADD: Final = insertion(MemberRow)
_SAVE: Final = compiled(
    MemberRow.update({field: slot(field.column_name) for field in _FIELDS if field.column_name != "fingerprint"}).where(
        MemberRow.fingerprint == slot("fingerprint"), column(MemberRow, "state") == slot("held")
    )
)

_ADD_EVENT: Final = insertion(MemberEventRow, leave_out="number")
_EVENTS: Final = compiled(
    MemberEventRow.select(*derived(MemberEventRow, MemberEvent)).order_by(MemberEventRow.number.desc()).limit(slot("limit"))
)
_LAST_EVENT: Final = compiled(MemberEventRow.select(fn.MAX(MemberEventRow.number)))
_OLD_EVENTS: Final = compiled(MemberEventRow.delete().where(MemberEventRow.number <= slot("number")))

_TOKEN_FIELDS: Final = derived(JoinTokenRow, JoinToken)
_TOKENS: Final = compiled(
    JoinTokenRow.select(JoinTokenRow.key, *_TOKEN_FIELDS).order_by(column(JoinTokenRow, "id")).limit(slot("limit"))
)
_TOKEN: Final = compiled(JoinTokenRow.select(*_TOKEN_FIELDS).where(JoinTokenRow.key == slot("key")))
_COUNT_TOKENS: Final = compiled(JoinTokenRow.select(fn.COUNT(JoinTokenRow.key)))
_ADD_TOKEN: Final = insertion(JoinTokenRow)
_DROP_TOKEN: Final = compiled(JoinTokenRow.delete().where(column(JoinTokenRow, "id") == slot("id")))
_EXPIRED_TOKENS: Final = compiled(JoinTokenRow.delete().where(column(JoinTokenRow, "expires_at") < slot("now")))
_USE_TOKEN: Final = compiled(
    JoinTokenRow.update({column(JoinTokenRow, "used_by"): slot("by"), column(JoinTokenRow, "used_at"): slot("now")}).where(
        JoinTokenRow.key == slot("key"),
        column(JoinTokenRow, "used_by") == slot("nobody"),
        column(JoinTokenRow, "expires_at") > slot("now"),
    )
)


class Members:
    """The members of one node. All methods may be repeated after an `Unavailable` error: nothing was kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[Member, ...]:
        """Every record, revoked ones too, oldest first."""
        rows = await self._database.read(lambda connection: connection.rows(_MEMBERS, limit=MEMBERS_MOST))
        return tuple(decode(Member, row) for row in rows)

    async def events(self, limit: int) -> tuple[MemberEvent, ...]:
        """The newest lines of the audit, newest first, at most `EVENTS_PAGE`."""
        rows = await self._database.read(lambda connection: connection.rows(_EVENTS, limit=min(limit, EVENTS_PAGE)))
        return tuple(decode(MemberEvent, row) for row in rows)

    async def enrol(self, member: Member, reason: str) -> Member:
        """Takes a record in, or gives a known key that was not revoked this record's name, roles and dates.

        One that shall be admitted is approved on the way; an admitted one stays admitted.

        Raises:
            Conflict: another key has the name.
            Forbidden: the key was revoked.
            Busy: there are `MEMBERS_MOST` already.
        """
        return await self._database.write(lambda connection: _enrol(connection, member, reason))

    async def redeem(self, key: str, member: Member) -> Member:
        """Uses up the join token whose key pair has the public half `key`, and takes `member` in.

        The one who used it gets its record again.

        Raises:
            Forbidden: somebody else used it, or it has expired, or the member's key was revoked.
            Conflict, Busy: as `enrol`; the token stays unused.
        """
        return await self._database.write(lambda connection: _redeem(connection, key, member))

    async def step(self, fingerprint: str, event: str, reason: str, now: float, changes: Mapping[str, object] = {}) -> Member:
        """Takes a record through its life, with other changes on the way.

        Raises:
            NotFound: no such key.
            Conflict: the life-cycle table has no such step, or another key has the name.
        """
        return await self._database.write(lambda connection: _step(connection, fingerprint, event, reason, now, changes))

    async def announced(self, member: Member) -> Member:
        """Keeps the keys that a cloud which this node dials has announced; a new record where it has none."""
        return await self._database.write(lambda connection: _announced(connection, member))

    async def invite(self, fingerprint: str, sessions: tuple[str, ...], now: float) -> Member:
        """Notes which private sessions a member may take part in; NotFound for a key that is not known."""
        return await self._database.write(lambda connection: _invite(connection, fingerprint, sessions, now))

    async def note(self, line: MemberEvent) -> None:
        """Writes a line of the audit that goes with no change of a record."""
        await self._database.write(lambda connection: _note(connection, line))

    async def drain(self, fingerprint: str, now: float, *, drained: bool) -> Member:
        """Notes that a member shall get no new work, or may have it again; NotFound for a key that is not known."""
        return await self._database.write(lambda connection: _drain(connection, fingerprint, now, drained))

    async def tokens(self) -> Mapping[str, JoinToken]:
        """The join tokens, by the public half of the key pair in each."""
        rows = await self._database.read(lambda connection: connection.rows(_TOKENS, limit=JOIN_TOKENS_MOST))
        return {text(row, 0): decode(JoinToken, row[1:]) for row in rows}

    async def add_token(self, key: str, token: JoinToken) -> None:
        """Keeps a token; those that expired before it was made are dropped.

        Raises:
            Busy: there are `JOIN_TOKENS_MOST` already.
        """
        await self._database.write(lambda connection: _add_token(connection, key, token))

    async def drop_token(self, id: str) -> None:
        """Forgets a token; NotFound if there is none of that id."""
        if not await self._database.write(lambda connection: connection.change(_DROP_TOKEN, id=id)):
            raise NotFound(f"no join token has the id {id}", hint="ecnode token list shows them")


def _find(connection: Reading, fingerprint: str) -> Member | None:
    row = connection.row(_MEMBER, fingerprint=fingerprint)
    return None if row is None else decode(Member, row)


def _known(connection: Reading, fingerprint: str) -> Member:
    found = _find(connection, fingerprint)
    if found is None:
        raise NotFound(f"no member has the fingerprint {fingerprint}", hint="ecnode peers list shows them")
    return found


def _check_name(connection: Reading, member: Member) -> None:
    if connection.number(_NAMED, name=member.name, fingerprint=member.fingerprint, revoked=MemberState.REVOKED):
        raise Conflict(
            f"another key has the name '{member.name}'",
            hint="give the newcomer another node.name, or revoke the old key: ecnode peers remove",
        )


def _enrol(connection: Writing, member: Member, reason: str) -> Member:
    before = _find(connection, member.fingerprint)
    if before is not None and before.state is MemberState.REVOKED:
        raise Forbidden(
            f"the key {member.fingerprint} was revoked", hint="delete identity.key in its data_dir and join with the new key"
        )
    _check_name(connection, member)
    if before is None:
        if connection.number(_COUNT) >= MEMBERS_MOST:
            raise Busy(f"there are {MEMBERS_MOST} members already", hint="a key that was ever known counts")
        enrolled = member.replace(state=MEMBER_LIFE.start)
        connection.change(_ADD, **encode(enrolled))
    else:
        enrolled = member.replace(state=before.state, created_at=before.created_at, drained_at=before.drained_at)
        _save(connection, before, enrolled)
    _audit(connection, enrolled, "enrol", reason)
    if member.state is MemberState.ADMITTED and enrolled.state is not MemberState.ADMITTED:
        return _step(connection, member.fingerprint, "approve", reason, member.changed_at, {})
    return enrolled


def _redeem(connection: Writing, key: str, member: Member) -> Member:
    row = connection.row(_TOKEN, key=key)
    if row is None:
        raise Forbidden("there is no such join token any more", hint="ask for a new one")
    token = decode(JoinToken, row)
    if not connection.change(_USE_TOKEN, key=key, by=member.fingerprint, nobody="", now=member.created_at):
        if token.used_by == member.fingerprint:
            return _known(connection, member.fingerprint)
        what = "has expired" if not token.used_by else "was used by another node"
        raise Forbidden(f"this join token {what}", hint="a token lets one node in; ask for a new one")
    known = _find(connection, member.fingerprint)
    if known is not None and known.state is not MemberState.REVOKED:  # a token does not change what somebody else's key may do
        raise Conflict(f"that key is known already, as '{known.name}'", hint="start the node, or approve it: ecnode peers list")
    return _enrol(connection, member, f"token {token.id}")


def _step(  # noqa: PLR0917 - as `Members.step`
    connection: Writing, fingerprint: str, event: str, reason: str, now: float, changes: Mapping[str, object]
) -> Member:
    before = _known(connection, fingerprint)
    after = before.replace(state=MEMBER_LIFE.after(before.state, event), changed_at=now, **changes)
    _check_name(connection, after)
    _save(connection, before, after)
    _audit(connection, after, event, reason)
    return after


def _announced(connection: Writing, member: Member) -> Member:
    before = _find(connection, member.fingerprint)
    if before is None:
        return _enrol(connection, member, "announced its next key")
    after = before.replace(next_keys=member.next_keys, changed_at=member.changed_at)
    _save(connection, before, after)
    _audit(connection, after, "announce", "its next key")
    return after


def _drain(connection: Writing, fingerprint: str, now: float, drained: bool) -> Member:
    before = _known(connection, fingerprint)
    after = before.replace(drained_at=now if drained else None, changed_at=now)
    _save(connection, before, after)
    _audit(connection, after, "drain" if drained else "undrain", "")
    return after


def _invite(connection: Writing, fingerprint: str, sessions: tuple[str, ...], now: float) -> Member:
    before = _known(connection, fingerprint)
    after = before.replace(sessions=sessions, changed_at=now)
    _save(connection, before, after)
    _audit(connection, after, "invite", ", ".join(sessions) or "to any session")
    return after


def _save(connection: Writing, before: Member, after: Member) -> None:
    if connection.change(_SAVE, held=before.state, **encode(after)) != 1:
        raise Conflict(f"the member '{before.name}' is no longer {before.state}", hint="look again, then repeat the change")


def _audit(connection: Writing, member: Member, event: str, reason: str) -> None:
    line = MemberEvent(
        time=member.changed_at,
        fingerprint=member.fingerprint,
        name=member.name,
        event=event,
        state=member.state,
        reason=reason[:REASON_MOST],
    )
    _note(connection, line)


def _note(connection: Writing, line: MemberEvent) -> None:
    connection.change(_ADD_EVENT, **encode(line))
    connection.change(_OLD_EVENTS, number=connection.number(_LAST_EVENT) - EVENTS_KEPT)


def _add_token(connection: Writing, key: str, token: JoinToken) -> None:
    connection.change(_EXPIRED_TOKENS, now=token.created_at)
    if connection.number(_COUNT_TOKENS) >= JOIN_TOKENS_MOST:
        raise Busy(f"there are {JOIN_TOKENS_MOST} join tokens already", hint="revoke some: ecnode token list")
    connection.change(_ADD_TOKEN, key=key, **encode(token))
