"""What is remembered of a query, and which changes may it take?

Every change is one transaction, made by one conditional statement; the life-cycle table alone decides which event is
possible. All methods may be repeated after an `Unavailable` error, which means that nothing was kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Final, Literal, Self, cast

from peewee import fn
from pydantic_core import from_json, to_json

from node.clock import Clock
from node.errors import Busy, Conflict, Forbidden, NotFound
from node.model.decision import Decision
from node.model.video import QUERY_LIFE, Constraint, Event, Plan, Query, QueryRequest, QueryState, Result, Tally
from node.model.wire.job import JobProgress
from node.storage import history
from node.storage.connection import Reading, Row, Scalar, Writing
from node.storage.database import Database
from node.storage.lane import Joint
from node.storage.rows import decode, encode, in_order, text
from node.storage.tables import QueryRow, column, compiled, derived, insertion_in_order, slot

LIST_PAGE: Final = 500  # the most queries that one call lists
LIVE_MOST: Final = 4096  # queries that are not final; `live` reads them all, about 2 kB each
REASON_MOST: Final = 2000  # characters, as `Text` allows
CANDIDATES_SHOWN: Final = 8
LAST: Final = "@last"

_id: Final = column(QueryRow, "id")
_name: Final = column(QueryRow, "name")
_state: Final = column(QueryRow, "state")
_FIELDS: Final = derived(QueryRow, Query)
_LIVE_STATES: Final = {f"live{n}": state for n, state in enumerate(QUERY_LIFE.states) if state not in QUERY_LIFE.terminal}
_IS_LIVE: Final = _state.in_([slot(name) for name in _LIVE_STATES])

_COLUMNS: Final = ("request", *Query.model_fields)
_REQUEST: Final = tuple(QueryRequest.model_fields)
_STORED: Final = compiled(QueryRow.select(QueryRow.number, QueryRow.request, *_FIELDS).where(_id == slot("id")))
_NUMBER: Final = compiled(QueryRow.select(QueryRow.number).where(_id == slot("id")))
_LIVE: Final = compiled(QueryRow.select(*_FIELDS).where(_IS_LIVE).order_by(QueryRow.number))
_LIVE_COUNT: Final = compiled(QueryRow.select(fn.COUNT(QueryRow.number)).where(_IS_LIVE))
_NEWEST: Final = compiled(QueryRow.select(_id).order_by(QueryRow.number.desc()).limit(slot("limit")))
_MATCHING: Final = compiled(
    QueryRow.select(_id, _name)
    .where((_name == slot("ref")) | ((_id >= slot("ref")) & (_id < slot("beyond"))))
    .order_by(QueryRow.number.desc())
    .limit(slot("limit"))
)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A query, its row number, and the request that it was created with as JSON."""

    number: int
    request: str
    query: Query


@dataclass(frozen=True, slots=True)
class Progressed:
    """A query after a progress: whether its attempt is the one that counts, and whether the query changed, or ended by it."""

    query: Query
    current: bool
    moved: bool
    ended: bool


class Queries:
    """The queries of a node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._room = _Room()
        self._watchers: list[Callable[[str, Query], None]] = []

    def watch(self, watcher: Callable[[str, Query], None]) -> None:
        """Has `watcher` called with `query` after a query was made or changed, with `progress` after only its tally did."""
        self._watchers.append(watcher)

    def _told(self, what: str, query: Query) -> Query:
        for watcher in self._watchers:
            watcher(what, query)
        return query

    def create(self, query: Query) -> Awaitable[tuple[Query, bool]]:
        """The stored query, and whether this call stored it. The same id with the same request gives the stored one.

        Raises:
            Conflict: the id is taken by another request, or the query is not in its first state.
            Busy: too many queries are live.
        """
        return self._database.write(_Creation(self._room, query, self._told))

    async def get(self, id: str) -> Query:
        """The query; NotFound if there is none."""
        return await self._database.read(lambda connection: _stored(connection, id).query)

    async def resolve(self, ref: str) -> str:
        """The full id that a user means by an id, the beginning of one, a name, or `@last`.

        Raises:
            NotFound: nothing matches.
            Conflict: several queries do; the hint names them.
        """
        return await self._database.read(lambda connection: _resolve(connection, ref))

    async def list(self, state: QueryState | None, limit: int, after: str | None) -> tuple[Query, ...]:
        """Queries, the last accepted first, at most `LIST_PAGE`; `after` is the id that the page before ended with."""
        return await self._database.read(lambda connection: _list(connection, state, limit, after))

    async def live(self) -> tuple[Query, ...]:
        """The queries whose state is not final, the first accepted first; at most `LIVE_MOST`."""
        return await self._database.read(
            lambda connection: tuple(decode(Query, row) for row in connection.rows(_LIVE, **_LIVE_STATES))
        )

    async def transition(self, id: str, event: str, reason: str = "") -> Query:
        """The query after `event`; `reason` becomes the query's, cut to `REASON_MOST`, and is kept with the event.

        Raises:
            Conflict: the life cycle forbids the event in the present state.
        """
        now = self._clock.wall()
        return self._told("query", await self._database.write(lambda it: _transition(it, id, event, reason, now)))

    async def set_constraint(self, id: str, constraint: Constraint) -> Query:
        """The query with another constraint; Conflict if it is final."""
        change = await self._database.write(lambda it: _change(it, _open(it, id), constraint=constraint))
        return self._told("query", change)

    async def set_plan(self, id: str, plan: Plan) -> Query:
        """The query with a newer plan.

        Raises:
            Conflict: the epoch is not above the present one, or the query is final.
        """
        now = self._clock.wall()
        return self._told("query", await self._database.write(lambda it: _set_plan(it, id, plan, now)))

    async def begin_attempt(self, id: str) -> Query:
        """The query with its attempt counted up, the first being 1; Conflict if it is final."""
        return await self._database.write(lambda connection: _begin_attempt(connection, id))

    def progress(self, node: str, progress: JobProgress) -> Callable[[Writing], Progressed]:
        """The change that keeps what the edge `node` tells of an attempt, for whoever owns the transaction; see `told`.

        Results are kept whenever they come, each once. The query itself is moved by its current attempt only, while it runs.

        Raises (when it runs):
            NotFound, Forbidden: there is no such query on that node.
            Conflict: the attempt was never begun.
            Invalid: a result belongs to another attempt.
        """
        now = self._clock.wall()
        return lambda connection: _progress(connection, node, progress, now)

    def told(self, done: Progressed) -> None:
        """Tells the watchers of a progress that is committed."""
        if done.moved:
            self._told("progress", done.query)
        if done.ended:
            self._told("query", done.query)

    async def append(self, id: str, attempt: int, results: Sequence[Result], tally: Tally) -> Query:
        """The query after results of one of its attempts, in any state; repeating it changes nothing.

        Raises:
            Conflict: the attempt was never begun.
            Invalid: a result belongs to another attempt.
        """
        return self._told("progress", await self._database.write(lambda it: _append(it, id, attempt, results, tally)))

    async def results(self, id: str, after: int, limit: int) -> tuple[tuple[int, Result], ...]:
        """Cursor and result of those kept above the cursor `after`, in order of arrival, at most `RESULTS_PAGE`."""
        return await self._database.read(lambda connection: history.results(connection, _number(connection, id), after, limit))

    async def newest(self, id: str, count: int) -> tuple[Result, ...]:
        """The last results that arrived, oldest first, at most `RESULTS_PAGE`."""
        return await self._database.read(lambda connection: history.newest(connection, _number(connection, id), count))

    async def expire(self, before: float) -> int:
        """Deletes the results captured before that wall time, but for the newest of each query; how many it were."""
        deleted, number = 0, 0
        while numbers := await self._database.read(partial(history.holders, after=number)):
            for number in numbers:
                while count := await self._database.write(partial(history.expire, query=number, before=before)):
                    deleted += count
        return deleted

    async def plans(self, id: str) -> tuple[tuple[float, Plan], ...]:
        """Wall time and plan, the newest `PLANS_KEPT` of them, oldest first."""
        return await self._database.read(lambda connection: history.plans(connection, _number(connection, id)))

    async def decide(self, id: str, decision: Decision) -> None:
        """Keeps why the query has the plan that it has, the newest `DECISIONS_KEPT` of such."""
        await self._database.write(lambda it: history.add_decision(it, _number(it, id), decision))

    async def decisions(self, id: str, limit: int) -> tuple[Decision, ...]:
        """The newest decisions, oldest first."""
        return await self._database.read(lambda connection: history.decisions(connection, _number(connection, id), limit))

    async def events(self, id: str) -> tuple[Event, ...]:
        """The newest `EVENTS_KEPT` steps of the query's life, oldest first."""
        return await self._database.read(lambda connection: history.events(connection, _number(connection, id)))


class _Room:
    """How many more queries may become live at least; for the writer's thread.

    A query that ends only makes more room, so the live ones are counted anew no sooner than the room of the last count is
    used up: counting looks at every one of them.
    """

    def __init__(self) -> None:
        self._left = 0

    def found(self, connection: Reading, count: int) -> bool:
        """Whether so many more may be live."""
        if self._left < count:
            self._left = max(0, LIVE_MOST - connection.number(_LIVE_COUNT, **_LIVE_STATES))
        return self._left >= count

    def take(self, count: int) -> None:
        """Notes that so many more are."""
        self._left -= count


class _Creation(Joint[Writing]):
    """The storing of a new query; `told` hears of it once it is kept."""

    def __init__(self, room: _Room, query: Query, told: Callable[[str, Query], object]) -> None:
        self._room = room
        self._query = query
        self._told = told

    @property
    def _request(self) -> bytes:
        held = self._query.__dict__
        return to_json({name: held[name] for name in _REQUEST})

    @property
    def _row(self) -> tuple[Scalar, ...]:
        return (self._request.decode(), *in_order(self._query))

    def __call__(self, connection: Writing) -> tuple[Query, bool]:
        # inserted first and looked for only where that is not possible: nearly every query is new
        return (self._query, True) if _insert(connection, [self]) else (self._present(connection), False)

    @classmethod
    def together(cls, connection: Writing, several: Sequence[Self]) -> list[tuple[Query, bool]] | None:
        return [(each._query, True) for each in several] if _insert(connection, several) else None

    def settled(self, value: object) -> None:
        _, new = cast("tuple[Query, bool]", value)
        if new:
            self._told("query", self._query)

    def _present(self, connection: Reading) -> Query:
        query = self._query
        row = connection.row(_STORED, id=query.id)
        if row is None and query.state != QUERY_LIFE.start:
            raise Conflict(
                f"a new query is {QUERY_LIFE.start}, not {query.state}", hint="create it first, then take its events"
            )
        if row is None:
            raise Busy(f"{LIVE_MOST} queries are live already", hint="stop some of them, or wait until they end")
        stored = _as_stored(row)
        if from_json(stored.request) != from_json(self._request):
            raise Conflict(f"the id {query.id} belongs to another request", hint="leave the id out to get a new one")
        return stored.query


def _insert(connection: Writing, creations: Sequence[_Creation]) -> bool:
    """Whether every one of them was new and there was room for it; an error, or none of them stored, where not."""
    room, count = creations[0]._room, len(creations)
    fresh = all(each._query.state == QUERY_LIFE.start for each in creations)
    if not fresh or not room.found(connection, count):
        return False
    values = tuple(chain.from_iterable(each._row for each in creations))
    if connection.insert(insertion_in_order(QueryRow, _COLUMNS, count), values) < count:
        return False
    room.take(count)
    return True


def _as_stored(row: Row) -> _Stored:
    return _Stored(number=cast(int, row[0]), request=text(row, 1), query=decode(Query, row[2:]))


def _stored(connection: Reading, id: str) -> _Stored:
    row = connection.row(_STORED, id=id)
    if row is None:
        raise _unknown(id)
    return _as_stored(row)


def _unknown(ref: str) -> NotFound:
    return NotFound(f"no query is called '{ref}'", hint="list the queries to see which there are")


def _number(connection: Reading, id: str) -> int:
    row = connection.row(_NUMBER, id=id)
    if row is None:
        raise _unknown(id)
    return cast(int, row[0])


def _open(connection: Reading, id: str) -> _Stored:
    stored = _stored(connection, id)
    if stored.query.state in QUERY_LIFE.terminal:
        raise Conflict(f"query {id} is {stored.query.state}, nothing can be changed in it", hint="submit it again")
    return stored


@cache
def _update(changed: tuple[str, ...]) -> str:
    values = {column(QueryRow, name): slot(name) for name in changed}
    return compiled(QueryRow.update(values).where(QueryRow.number == slot("number"), _state == slot("held")))


def _change(connection: Writing, stored: _Stored, **changes: object) -> Query:
    after = stored.query.replace(**changes)
    touched = connection.change(
        _update(tuple(changes)), number=stored.number, held=stored.query.state, **encode(after, changes)
    )
    if touched != 1:
        raise Conflict(f"query {after.id} is no longer {stored.query.state}", hint="read it again, then repeat the change")
    return after


def _transition(connection: Writing, id: str, event: str, reason: str, now: float) -> Query:
    stored = _stored(connection, id)
    state = QUERY_LIFE.after(stored.query.state, event)
    changes: dict[str, object] = {"state": state, "reason": reason[:REASON_MOST]}
    if state in QUERY_LIFE.terminal:
        # who stops a query gives its last frames up; otherwise they were lost
        changes |= {"ended_at": now, "tally": _settled(connection, stored, "skipped" if event == "stop" else "failed")}
    after = _change(connection, stored, **changes)
    history.add_event(connection, stored.number, Event(time=now, event=event, state=state, reason=after.reason))
    return after


def _settled(connection: Writing, stored: _Stored, fate: Literal["failed", "skipped"]) -> Tally:
    return history.settle(connection, stored.number, stored.query.attempt, fate, total=stored.query.tally)


def _set_plan(connection: Writing, id: str, plan: Plan, now: float) -> Query:
    stored = _open(connection, id)
    present = stored.query.plan
    if present is not None and plan.epoch <= present.epoch:
        raise Conflict(f"plan epoch {plan.epoch} is not above {present.epoch}", hint="plan again from the stored query")
    history.add_plan(connection, stored.number, now, plan)
    return _change(connection, stored, plan=plan)


def _begin_attempt(connection: Writing, id: str) -> Query:
    stored = _open(connection, id)
    after = _change(connection, stored, attempt=stored.query.attempt + 1, tally=_settled(connection, stored, "failed"))
    history.start_attempt(connection, stored.number, after.attempt)
    return after


def _append(connection: Writing, id: str, attempt: int, results: Sequence[Result], tally: Tally) -> Query:
    stored = _stored(connection, id)
    total = history.append(connection, stored.number, attempt, results, tally, total=stored.query.tally)
    return stored.query if total == stored.query.tally else _change(connection, stored, tally=total)


def _progress(connection: Writing, node: str, progress: JobProgress, now: float) -> Progressed:
    before = _stored(connection, progress.query).query
    if before.node != node:
        raise Forbidden(f"query {before.id} runs on '{before.node}', not on '{node}'")
    current = progress.attempt == before.attempt and before.state is QueryState.RUNNING
    tally = progress.tally
    if not current:  # nobody works on its frames any more
        tally = tally.settled("skipped" if before.state is QueryState.STOPPED else "failed")
    after = _append(connection, before.id, progress.attempt, progress.results, tally)
    if current and progress.outcome is not None:
        event = "end" if progress.outcome.state == "finished" else "fail"
        ended = _transition(connection, before.id, event, progress.outcome.reason, now)
        return Progressed(ended, current=True, moved=True, ended=True)
    return Progressed(after, current=current, moved=current, ended=False)


def _resolve(connection: Reading, ref: str) -> str:
    if ref == LAST:
        newest = connection.row(_NEWEST, limit=1)
        if newest is None:
            raise _unknown(ref)
        return text(newest, 0)
    if connection.row(_NUMBER, id=ref) is not None:
        return ref
    beyond = f"{ref}\U0010ffff"  # above every id that begins with ref
    found = connection.rows(_MATCHING, ref=ref, beyond=beyond, limit=CANDIDATES_SHOWN + 1) if ref else []
    if not found:
        raise _unknown(ref)
    if len(found) > 1:
        shown = ", ".join(" ".join(filter(None, (text(row, 0), text(row, 1)))) for row in found[:CANDIDATES_SHOWN])
        more = ", …" if len(found) > CANDIDATES_SHOWN else ""
        raise Conflict(f"'{ref}' may mean several queries", hint=f"name one of them by its id: {shown}{more}")
    return text(found[0], 0)


def _list(connection: Reading, state: QueryState | None, limit: int, after: str | None) -> tuple[Query, ...]:
    query = QueryRow.select(*_FIELDS).order_by(QueryRow.number.desc()).limit(slot("limit"))
    if state is not None:
        query = query.where(_state == slot("state"))
    if after is not None:
        query = query.where(QueryRow.number < slot("number"))
    number = None if after is None else _number(connection, after)
    rows = connection.rows(compiled(query), state=state, number=number, limit=max(0, min(limit, LIST_PAGE)))
    return tuple(decode(Query, row) for row in rows)
