"""What is remembered of a private session, and which changes may it take?

Every step is one transaction with its event; the life-cycle table alone decides which is possible. An epoch is begun once,
before the first word of it is said, and the masks of its steps are noted as used up before they leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from peewee import fn

from node.clock import Clock
from node.errors import Busy, Conflict, NotFound, Stale
from node.model.federated import SESSION_LIFE, PartyView, Record, Session, SessionEvent, SessionState
from node.model.wire.session import SessionReport, Signed
from node.storage.connection import Reading, Writing
from node.storage.database import Database
from node.storage.rows import decode, encode, parse, text
from node.storage.tables import (
    SessionBurnRow,
    SessionEventRow,
    SessionRecordRow,
    SessionRow,
    column,
    compiled,
    derived,
    insertion,
    slot,
)

LIVE_MOST: Final = 256  # sessions that are not over; each has a worker process for each party here
LIST_PAGE: Final = 500
RECORDS_PAGE: Final = 10_000  # × about 150 B = 1.5 MB
EVENTS_PAGE: Final = 500
REASON_MOST: Final = 2000  # characters, as `Text` allows
LAST: Final = "@last"

_id: Final = column(SessionRow, "id")
_name: Final = column(SessionRow, "name")
_state: Final = column(SessionRow, "state")
_FIELDS: Final = derived(SessionRow, Session)
_STORED: Final = compiled(SessionRow.select(SessionRow.number, *_FIELDS).where(_id == slot("id")))
_ADD: Final = insertion(SessionRow, leave_out="number")
_SAVE: Final = compiled(
    SessionRow.update({field: slot(field.column_name) for field in _FIELDS if field.column_name != "id"}).where(
        _id == slot("id"), _state == slot("held")
    )
)
_LIVE_STATES: Final = {f"live{n}": state for n, state in enumerate(SESSION_LIFE.states) if state not in SESSION_LIFE.terminal}
_IS_LIVE: Final = _state.in_([slot(name) for name in _LIVE_STATES])
_LIVE: Final = compiled(SessionRow.select(*_FIELDS).where(_IS_LIVE).order_by(SessionRow.number))
_LIVE_COUNT: Final = compiled(SessionRow.select(fn.COUNT(SessionRow.number)).where(_IS_LIVE))
_MATCHING: Final = compiled(
    SessionRow.select(_id)
    .where((_name == slot("ref")) | ((_id >= slot("ref")) & (_id < slot("beyond"))))
    .order_by(SessionRow.number.desc())
    .limit(slot("limit"))
)
_LIST: Final = compiled(
    SessionRow.select(*_FIELDS)
    .where(SessionRow.number < slot("before"))
    .order_by(SessionRow.number.desc())
    .limit(slot("limit"))
)
_LAST_EVENT: Final = compiled(
    SessionEventRow.select(fn.MAX(SessionEventRow.number)).where(SessionEventRow.session == slot("session"))
)
_ADD_EVENT: Final = insertion(SessionEventRow)
_EVENTS: Final = compiled(
    SessionEventRow.select(*derived(SessionEventRow, SessionEvent))
    .where(SessionEventRow.session == slot("session"))
    .order_by(SessionEventRow.number)
    .limit(slot("limit"))
)
_DROP_RECORD: Final = compiled(
    SessionRecordRow.delete().where(SessionRecordRow.session == slot("session"), SessionRecordRow.step == slot("step"))
)
_ADD_RECORD: Final = insertion(SessionRecordRow)
_RECORDS: Final = compiled(
    SessionRecordRow.select(SessionRecordRow.record)
    .where(SessionRecordRow.session == slot("session"), SessionRecordRow.step > slot("after"))
    .order_by(SessionRecordRow.step)
    .limit(slot("limit"))
)
_BURN: Final = insertion(SessionBurnRow)
_UNBURN: Final = compiled(
    SessionBurnRow.delete().where(
        SessionBurnRow.session == slot("session"),
        SessionBurnRow.party == slot("party"),
        SessionBurnRow.epoch == slot("epoch"),
    )
)
_BURNED: Final = compiled(
    SessionBurnRow.select(fn.MAX(SessionBurnRow.step)).where(
        SessionBurnRow.session == slot("session"),
        SessionBurnRow.party == slot("party"),
        SessionBurnRow.epoch == slot("epoch"),
    )
)


class Sessions:
    """The sessions of a node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, session: Session) -> tuple[Session, bool]:
        """The stored session, and whether this call stored it; the same id with the same spec gives the stored one.

        Raises:
            Conflict: the id is taken by another spec.
            Busy: too many sessions are live.
        """
        return await self._database.write(lambda connection: _create(connection, session))

    async def get(self, id: str) -> Session:
        """The session; NotFound if there is none."""
        return await self._database.read(lambda connection: _stored(connection, id)[1])

    async def resolve(self, ref: str) -> str:
        """The full id that a user means by an id, the beginning of one, a name, or `@last`.

        Raises:
            NotFound: nothing matches.
            Conflict: several sessions do.
        """
        return await self._database.read(lambda connection: _resolve(connection, ref))

    async def list(self, limit: int, after: str | None) -> tuple[Session, ...]:
        """Sessions, the last made first; `after` is the id that the page before ended with."""
        return await self._database.read(lambda connection: _list(connection, limit, after))

    async def live(self) -> tuple[Session, ...]:
        """The sessions that are not over, the first made first."""
        return await self._database.read(
            lambda connection: tuple(decode(Session, row) for row in connection.rows(_LIVE, **_LIVE_STATES))
        )

    async def transition(self, id: str, event: str, reason: str = "") -> Session:
        """The session after `event`.

        Raises:
            Conflict: the life cycle forbids the event in the present state.
        """
        now = self._clock.wall()
        return await self._database.write(lambda connection: _transition(connection, id, event, reason, now))

    def ended(self, id: str, sender: str, state: SessionState, reason: str) -> Callable[[Writing], Session | None]:
        """The change that ends a session by the word of its coordinator, for whoever owns the transaction.

        None where there is nothing to end.
        """
        now = self._clock.wall()
        event = {SessionState.FINISHED: "finish", SessionState.FAILED: "fail"}.get(state, "stop")

        def apply(connection: Writing) -> Session | None:
            try:
                _, session = _stored(connection, id)
            except NotFound:
                return None
            if session.coordinator != sender or session.state in SESSION_LIFE.terminal:
                return None
            if (session.state, event) not in SESSION_LIFE.table:  # finished without a start that this node has heard of
                return _transition(connection, id, "stop", reason or f"the coordinator says that it is {state}", now)
            return _transition(connection, id, event, reason, now)

        return apply

    async def begin(self, id: str, epoch: int, reason: str = "") -> Session:
        """The session in its next epoch, on the disk before anybody hears of it.

        Raises:
            Stale: that epoch was begun before, or a later one.
            Conflict: it is not accepted yet, or over.
        """
        now = self._clock.wall()
        return await self._database.write(lambda connection: _begin(connection, id, epoch, reason, now))

    async def accept(self, id: str, signatures: Sequence[Signed]) -> Session:
        """The session with the signatures of some of its parties."""
        return await self._database.write(self.accepted(id, signatures, lambda _: None))

    def accepted(self, id: str, signatures: Sequence[Signed], check: Callable[[Session], None]) -> Callable[[Writing], Session]:
        """As `accept`, for whoever owns the transaction; `check` raises where the signatures are not to be taken."""
        now = self._clock.wall()

        def apply(connection: Writing) -> Session:
            _, session = _stored(connection, id)
            check(session)
            by = {signed.party: signed.signature for signed in signatures}
            parties = tuple(
                view.replace(accepted=True, signature=by[view.name]) if view.name in by else view for view in session.parties
            )
            session = _save(connection, session.replace(parties=parties), session.state)
            if session.state is SessionState.CREATED and all(view.accepted for view in parties):
                return _transition(connection, id, "accept", "", now)
            return session

        return apply

    def reported(self, report: SessionReport, check: Callable[[Session], None]) -> Callable[[Writing], Session]:
        """The change that keeps what a party reports, for whoever owns the transaction; `check` raises where it may not."""

        def apply(connection: Writing) -> Session:
            number, session = _stored(connection, report.session)
            check(session)
            for record in report.records:
                connection.change(_DROP_RECORD, session=number, step=record.step)
                connection.change(_ADD_RECORD, session=number, step=record.step, record=record.model_dump_json())
            if report.epoch != session.epoch or not (report.done or report.error):
                return session
            changes = {"done": report.done, "outputs": report.outputs, "error": report.error}
            parties = tuple(view.replace(**changes) if view.name == report.party else view for view in session.parties)
            return _save(connection, session.replace(parties=parties), session.state)

        return apply

    async def report(self, report: SessionReport) -> Session:
        """Keeps a report."""
        return await self._database.write(self.reported(report, lambda _: None))

    async def progressed(self, id: str, views: Sequence[PartyView]) -> None:
        """Keeps where the parties were at the end."""

        def apply(connection: Writing) -> None:
            _, session = _stored(connection, id)
            by = {view.name: view.progress for view in views}
            parties = tuple(view.replace(progress=by.get(view.name, view.progress)) for view in session.parties)
            _save(connection, session.replace(parties=parties), session.state)

        await self._database.write(apply)

    async def burn(self, id: str, party: str, epoch: int, step: int) -> None:
        """Notes durably that the masks of an epoch are used up below `step`; the mark never falls."""

        def apply(connection: Writing) -> None:
            before = connection.number(_BURNED, session=id, party=party, epoch=epoch)
            connection.change(_UNBURN, session=id, party=party, epoch=epoch)
            connection.change(_BURN, session=id, party=party, epoch=epoch, step=max(step, before))

        await self._database.write(apply)

    async def burned(self, id: str, party: str, epoch: int) -> int:
        """Below which step the masks of an epoch are used up."""
        return await self._database.read(lambda connection: connection.number(_BURNED, session=id, party=party, epoch=epoch))

    async def records(self, id: str, after: int = -1) -> tuple[Record, ...]:
        """The tests of the model behind a step, in order."""

        def find(connection: Reading) -> tuple[Record, ...]:
            number, _ = _stored(connection, id)
            rows = connection.rows(_RECORDS, session=number, after=after, limit=RECORDS_PAGE)
            return tuple(parse(Record, text(row, 0)) for row in rows)

        return await self._database.read(find)

    async def events(self, id: str) -> tuple[SessionEvent, ...]:
        """Every step of a session's life, oldest first."""

        def find(connection: Reading) -> tuple[SessionEvent, ...]:
            number, _ = _stored(connection, id)
            rows = connection.rows(_EVENTS, session=number, limit=EVENTS_PAGE)
            return tuple(decode(SessionEvent, row) for row in rows)

        return await self._database.read(find)


def _stored(connection: Reading, id: str) -> tuple[int, Session]:
    row = connection.row(_STORED, id=id)
    if row is None:
        raise NotFound(f"there is no session {id}")
    number, *fields = row
    assert isinstance(number, int)
    return number, decode(Session, fields)


def _create(connection: Writing, session: Session) -> tuple[Session, bool]:
    if connection.row(_STORED, id=session.id) is not None:
        _, stored = _stored(connection, session.id)
        if stored.spec != session.spec:
            raise Conflict(f"session {session.id} exists with another spec", hint="leave the id away, or make a new one")
        return stored, False
    if connection.number(_LIVE_COUNT, **_LIVE_STATES) >= LIVE_MOST:
        raise Busy(f"{LIVE_MOST} sessions are live already", hint="stop some of them")
    connection.change(_ADD, **encode(session))
    _note(connection, session.id, SessionEvent(time=session.created_at, event="create", state=session.state))
    return session, True


def _note(connection: Writing, id: str, told: SessionEvent) -> None:
    number, _ = _stored(connection, id)
    place = connection.number(_LAST_EVENT, session=number) + 1
    connection.change(_ADD_EVENT, session=number, number=place, **encode(told))


def _save(connection: Writing, session: Session, held: SessionState) -> Session:
    if not connection.change(_SAVE, **encode(session), held=held.value):
        raise Conflict(f"session {session.id} was changed meanwhile")
    return session


def _transition(connection: Writing, id: str, event: str, reason: str, now: float) -> Session:
    _, session = _stored(connection, id)
    state = SESSION_LIFE.after(session.state, event)
    changes: dict[str, object] = {"state": state, "reason": reason[:REASON_MOST]}
    if state in SESSION_LIFE.terminal:
        changes["ended_at"] = now
    changed = _save(connection, session.replace(**changes), session.state)
    _note(connection, id, SessionEvent(time=now, event=event, state=state, reason=reason[:REASON_MOST]))
    return changed


def _begin(connection: Writing, id: str, epoch: int, reason: str, now: float) -> Session:
    _, session = _stored(connection, id)
    event = "resume" if session.state is SessionState.RUNNING else "start"
    state = SESSION_LIFE.after(session.state, event)
    if epoch <= session.epoch:
        raise Stale(f"epoch {epoch} of session {id} is over: {session.epoch} was begun", hint="its masks are used up")
    parties = tuple(view.replace(done=False, error="") for view in session.parties)
    started = session.started_at if session.started_at is not None else now
    changes = {"state": state, "epoch": epoch, "reason": "", "parties": parties, "started_at": started}
    changed = _save(connection, session.replace(**changes), session.state)
    _note(connection, id, SessionEvent(time=now, event=event, state=state, reason=reason or f"epoch {epoch}"))
    return changed


def _resolve(connection: Reading, ref: str) -> str:
    if ref == LAST:
        newest = _list(connection, 1, None)
        if not newest:
            raise NotFound("there is no session yet", hint="make one: ecnode sessions create FILE")
        return newest[0].id
    found = [text(row, 0) for row in connection.rows(_MATCHING, ref=ref, beyond=ref + "~", limit=8)] if ref else []
    if ref in found or len(found) == 1:
        return ref if ref in found else found[0]
    if not found:
        raise NotFound(f"there is no session '{ref}'", hint="ecnode sessions list shows them")
    raise Conflict(f"'{ref}' stands for several sessions", hint=f"name one of {', '.join(found)}")


def _list(connection: Reading, limit: int, after: str | None) -> tuple[Session, ...]:
    before = 2**62 if after is None else _stored(connection, after)[0]
    return tuple(decode(Session, row) for row in connection.rows(_LIST, before=before, limit=min(limit, LIST_PAGE)))
