"""What is kept of a query's past: its results, tallies, plans and events, and how much of each?

All functions run inside an operation of the database; `query` is the row number of the query that they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, cast

import peewee
from peewee import fn

from node.errors import Conflict, Invalid
from node.model.decision import Decision
from node.model.value import COUNT_MOST
from node.model.video import Event, Plan, Result, Tally
from node.storage.connection import Reading, Writing
from node.storage.rows import decode, encode, parse, text
from node.storage.tables import AttemptRow, DecisionRow, EventRow, PlanRow, ResultRow, compiled, derived, insertion, slot

RESULTS_KEPT: Final = 20_000  # × about 2 kB: 40 MB for one query
RESULTS_PAGE: Final = 1000  # the most that one call reads
CURSOR_MOST: Final = 2**62  # SQLite's integers end at 2**63
EXPIRED_AT_ONCE: Final = 2000  # deleted in one transaction: a few ms for the writer
HOLDERS_PAGE: Final = 500
PLANS_KEPT: Final = 500  # × about 500 bytes
EVENTS_KEPT: Final = 500
DECISIONS_KEPT: Final = 200  # × about 3 kB with the five best plans of each

_START_ATTEMPT: Final = insertion(AttemptRow)
_ATTEMPT: Final = compiled(
    AttemptRow.select(AttemptRow.tally, AttemptRow.forgotten).where(
        AttemptRow.query == slot("query"), AttemptRow.attempt == slot("attempt")
    )
)
_SET_TALLY: Final = compiled(
    AttemptRow.update({AttemptRow.tally: slot("tally")}).where(
        AttemptRow.query == slot("query"), AttemptRow.attempt == slot("attempt")
    )
)
_OLDEST: Final = compiled(
    ResultRow.select(ResultRow.attempt, fn.MAX(ResultRow.n_loop))
    .where(ResultRow.query == slot("query"), ResultRow.cursor <= slot("cursor"))
    .group_by(ResultRow.attempt)
)
_FORGET: Final = compiled(
    AttemptRow.update({AttemptRow.forgotten: fn.MAX(AttemptRow.forgotten, slot("n_loop"))}).where(
        AttemptRow.query == slot("query"), AttemptRow.attempt == slot("attempt")
    )
)
_DROP_RESULTS: Final = compiled(ResultRow.delete().where(ResultRow.query == slot("query"), ResultRow.cursor <= slot("cursor")))
_LAST_CURSOR: Final = compiled(ResultRow.select(fn.MAX(ResultRow.cursor)).where(ResultRow.query == slot("query")))
_FIRST_CURSOR: Final = compiled(ResultRow.select(fn.MIN(ResultRow.cursor)).where(ResultRow.query == slot("query")))
_ADD_RESULT: Final = insertion(ResultRow, ignore=True)
_RESULTS: Final = compiled(
    ResultRow.select(ResultRow.cursor, ResultRow.result)
    .where(ResultRow.query == slot("query"), ResultRow.cursor > slot("after"))
    .order_by(ResultRow.cursor)
    .limit(slot("limit"))
)
_NEWEST_RESULTS: Final = compiled(
    ResultRow.select(ResultRow.result)
    .where(ResultRow.query == slot("query"))
    .order_by(ResultRow.cursor.desc())
    .limit(slot("limit"))
)

_HOLDERS: Final = compiled(
    ResultRow.select(ResultRow.query)
    .where(ResultRow.query > slot("after"))
    .group_by(ResultRow.query)
    .having(fn.MAX(ResultRow.cursor) > fn.MIN(ResultRow.cursor))
    .order_by(ResultRow.query)
    .limit(slot("limit"))
)

_ADD_PLAN: Final = insertion(PlanRow)
_newer = PlanRow.alias()
_TRIM_PLANS: Final = compiled(
    PlanRow.delete().where(
        PlanRow.query == slot("query"),
        PlanRow.number  # epochs may leave numbers out, so the kept ones are counted
        <= _newer.select(_newer.number)
        .where(_newer.query == slot("query"))
        .order_by(_newer.number.desc())
        .limit(peewee.SQL("1"))
        .offset(slot("kept")),
    )
)
_PLANS: Final = compiled(
    PlanRow.select(PlanRow.time, PlanRow.plan).where(PlanRow.query == slot("query")).order_by(PlanRow.number)
)
_ADD_EVENT: Final = insertion(EventRow)
_LAST_EVENT: Final = compiled(EventRow.select(fn.MAX(EventRow.number)).where(EventRow.query == slot("query")))
_DROP_EVENTS: Final = compiled(EventRow.delete().where(EventRow.query == slot("query"), EventRow.number <= slot("number")))
_EVENTS: Final = compiled(
    EventRow.select(*derived(EventRow, Event)).where(EventRow.query == slot("query")).order_by(EventRow.number)
)
_ADD_DECISION: Final = insertion(DecisionRow)
_LAST_DECISION: Final = compiled(DecisionRow.select(fn.MAX(DecisionRow.number)).where(DecisionRow.query == slot("query")))
_DROP_DECISIONS: Final = compiled(
    DecisionRow.delete().where(DecisionRow.query == slot("query"), DecisionRow.number <= slot("number"))
)
_DECISIONS: Final = compiled(
    DecisionRow.select(DecisionRow.decision)
    .where(DecisionRow.query == slot("query"))
    .order_by(DecisionRow.number.desc())
    .limit(slot("limit"))
)


def start_attempt(connection: Writing, query: int, attempt: int) -> None:
    """Makes room for the tally of an attempt that begins."""
    connection.change(_START_ATTEMPT, query=query, attempt=attempt, tally=Tally().model_dump_json(), forgotten=-1)


def append(connection: Writing, query: int, attempt: int, results: Sequence[Result], tally: Tally, *, total: Tally) -> Tally:
    """Keeps the results that are not kept yet, and gives the query's `total` with the attempt's newest tally in it.

    A tally that captured fewer frames than the stored one was overtaken on its way and changes nothing.

    Raises:
        Conflict: the attempt was never begun.
        Invalid: a result belongs to another attempt.
    """
    row = connection.row(_ATTEMPT, query=query, attempt=attempt)
    if row is None:
        raise Conflict(f"attempt {attempt} was never begun", hint="results belong to an attempt that the cloud has begun")
    strangers = sorted({result.attempt for result in results} - {attempt})
    if strangers:
        raise Invalid(f"results of attempt {strangers[0]} were sent as results of attempt {attempt}")
    _keep(connection, query, [result for result in results if result.n_loop > cast(int, row[1])])
    held = parse(Tally, text(row, 0))
    if tally == held or tally.captured < held.captured:
        return total
    return _replace_tally(connection, query, attempt, held, tally, total=total)


def settle(connection: Writing, query: int, attempt: int, fate: Literal["failed", "skipped"], *, total: Tally) -> Tally:
    """The query's `total` once the frames that were in flight when the attempt ended have met their fate."""
    row = connection.row(_ATTEMPT, query=query, attempt=attempt)
    if row is None:
        return total
    held = parse(Tally, text(row, 0))
    return _replace_tally(connection, query, attempt, held, held.settled(fate), total=total)


def _replace_tally(connection: Writing, query: int, attempt: int, held: Tally, tally: Tally, *, total: Tally) -> Tally:
    connection.change(_SET_TALLY, query=query, attempt=attempt, tally=tally.model_dump_json())
    before, after = dict(held), dict(tally)
    # whatever an edge claimed, the sum stays a tally: a query that cannot be added up could not be stopped either
    return Tally(**{name: max(0, min(count - before[name] + after[name], COUNT_MOST)) for name, count in total})


def _keep(connection: Writing, query: int, results: Sequence[Result]) -> None:
    last = cursor = connection.number(_LAST_CURSOR, query=query)
    for result in results:
        cursor += connection.change(
            _ADD_RESULT,
            query=query,
            cursor=cursor + 1,
            attempt=result.attempt,
            n_loop=result.n_loop,
            result=result.model_dump_json(),
        )
    surplus = cursor - RESULTS_KEPT
    if cursor > last and surplus >= connection.number(_FIRST_CURSOR, query=query):
        _forget(connection, query, surplus)


def _forget(connection: Writing, query: int, cursor: int) -> None:
    """Deletes the results up to a cursor, and remembers that they were there."""
    for attempt, n_loop in connection.rows(_OLDEST, query=query, cursor=cursor):
        connection.change(_FORGET, query=query, attempt=attempt, n_loop=n_loop)
    connection.change(_DROP_RESULTS, query=query, cursor=cursor)


def results(connection: Reading, query: int, after: int, limit: int) -> tuple[tuple[int, Result], ...]:
    """The results whose cursor is above `after`, oldest first, at most `RESULTS_PAGE`."""
    rows = connection.rows(_RESULTS, query=query, after=min(after, CURSOR_MOST), limit=max(0, min(limit, RESULTS_PAGE)))
    return tuple((cast(int, row[0]), parse(Result, text(row, 1))) for row in rows)


def expire(connection: Writing, query: int, before: float) -> int:
    """Deletes results captured before that wall time, the oldest first, at most `EXPIRED_AT_ONCE`; how many it were.

    Results come in the order of their capture, give or take some in flight; the newest one stays.
    """
    first, last = (connection.number(statement, query=query) for statement in (_FIRST_CURSOR, _LAST_CURSOR))
    low, high = first, min(last, first + EXPIRED_AT_ONCE)
    while low < high:  # the lowest cursor that stays
        middle = (low + high) // 2
        (row,) = connection.rows(_RESULTS, query=query, after=middle - 1, limit=1)
        low, high = (middle + 1, high) if parse(Result, text(row, 1)).captured_at < before else (low, middle)
    if low > first:
        _forget(connection, query, low - 1)
    return low - first


def holders(connection: Reading, after: int) -> tuple[int, ...]:
    """Row numbers above `after` of queries with more than one result."""
    return tuple(cast(int, number) for number, *_ in connection.rows(_HOLDERS, after=after, limit=HOLDERS_PAGE))


def newest(connection: Reading, query: int, count: int) -> tuple[Result, ...]:
    """The last `count` results that arrived, at most `RESULTS_PAGE`, oldest first."""
    rows = connection.rows(_NEWEST_RESULTS, query=query, limit=max(0, min(count, RESULTS_PAGE)))
    return tuple(parse(Result, text(row, 0)) for row in reversed(rows))


def add_plan(connection: Writing, query: int, time: float, plan: Plan) -> None:
    """Keeps a plan under its epoch."""
    connection.change(_ADD_PLAN, query=query, number=plan.epoch, time=time, plan=plan.model_dump_json())
    connection.change(_TRIM_PLANS, query=query, kept=PLANS_KEPT)


def plans(connection: Reading, query: int) -> tuple[tuple[float, Plan], ...]:
    """Wall time and plan, oldest first."""
    return tuple((cast(float, row[0]), parse(Plan, text(row, 1))) for row in connection.rows(_PLANS, query=query))


def add_decision(connection: Writing, query: int, decision: Decision) -> None:
    """Keeps why a query has its plan."""
    number = connection.number(_LAST_DECISION, query=query) + 1
    connection.change(_ADD_DECISION, query=query, number=number, decision=decision.model_dump_json())
    if number > DECISIONS_KEPT:
        connection.change(_DROP_DECISIONS, query=query, number=number - DECISIONS_KEPT)


def decisions(connection: Reading, query: int, limit: int) -> tuple[Decision, ...]:
    """The newest decisions, oldest first."""
    rows = connection.rows(_DECISIONS, query=query, limit=max(0, min(limit, DECISIONS_KEPT)))
    return tuple(parse(Decision, text(row, 0)) for row in reversed(rows))


def add_event(connection: Writing, query: int, event: Event) -> None:
    """Keeps one step of the query's life."""
    number = connection.number(_LAST_EVENT, query=query) + 1
    connection.change(_ADD_EVENT, query=query, number=number, **encode(event))
    if number > EVENTS_KEPT:
        connection.change(_DROP_EVENTS, query=query, number=number - EVENTS_KEPT)


def events(connection: Reading, query: int) -> tuple[Event, ...]:
    """The newest steps, oldest first."""
    return tuple(decode(Event, row) for row in connection.rows(_EVENTS, query=query))
