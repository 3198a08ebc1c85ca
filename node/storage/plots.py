"""What is remembered of plots, by the overlord and by the talent, and which changes may they take?

Both sides keep the same records in the same tables, told apart by `side`. Changes are given out as operations for whoever owns
the transaction, so that a change, the place in the log and the message to the overlord are kept together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal, TypeAlias, TypeVar, cast

from peewee import fn
from pydantic_core import from_json

from node.clock import Clock
from node.errors import Busy, Conflict, NotFound
from node.model.plot import (
    PLOT_LIFE,
    STOP_LIFE,
    LogPlace,
    Plot,
    PlotRequest,
    PlotState,
    PlotStatus,
    PlotStep,
    PlotStop,
    PlotTime,
    wide,
)
from node.storage.connection import Reading, Row, Writing
from node.storage.database import Database
from node.storage.rows import decode, encode, parse, text
from node.storage.tables import (
    PlotLogRow,
    PlotRow,
    PlotStepRow,
    PlotStopRow,
    PlotTimeRow,
    column,
    compiled,
    derived,
    insertion,
    slot,
)

T = TypeVar("T")
Side: TypeAlias = Literal["overlord", "talent"]

LIST_PAGE: Final = 500
LIVE_MOST: Final = 4096  # plots that are not final, of one side
STOPS_MOST: Final = 4096  # that wait for a plot which was never created: the oldest are forgotten
STEPS_KEPT: Final = 500
REASON_MOST: Final = 2000
HISTORY_MOST: Final = 10
CANDIDATES_SHOWN: Final = 8
LAST: Final = "@last"

_id: Final = column(PlotRow, "id")
_task: Final = column(PlotRow, "task_id")
_name: Final = column(PlotRow, "name")
_state: Final = column(PlotRow, "state")
_FIELDS: Final = derived(PlotRow, Plot)
_OURS: Final = PlotRow.side == slot("side")
_LIVE_STATES: Final = {f"live{n}": state for n, state in enumerate(PLOT_LIFE.states) if state not in PLOT_LIFE.terminal}
_IS_LIVE: Final = _state.in_([slot(name) for name in _LIVE_STATES])

_CREATE: Final = insertion(PlotRow, leave_out="number")
_STORED: Final = compiled(PlotRow.select(PlotRow.number, PlotRow.request, *_FIELDS).where(_OURS, _id == slot("id")))
_BY_TASK: Final = compiled(PlotRow.select(_id).where(_OURS, _task == slot("task")))
_LIVE: Final = compiled(PlotRow.select(*_FIELDS).where(_OURS, _IS_LIVE).order_by(PlotRow.number).limit(slot("limit")))
_LIVE_COUNT: Final = compiled(PlotRow.select(fn.COUNT(PlotRow.number)).where(_OURS, _IS_LIVE))
_UNTOLD: Final = compiled(
    PlotRow.select(*_FIELDS)
    .join(PlotLogRow, on=(PlotLogRow.plot == PlotRow.number))
    .where(_OURS, ~_IS_LIVE, PlotLogRow.overlord != slot("nobody"), PlotLogRow.told < column(PlotRow, "step"))
    .order_by(PlotRow.number)
    .limit(slot("limit"))
)
_NEWEST: Final = compiled(PlotRow.select(_id).where(_OURS).order_by(PlotRow.number.desc()).limit(slot("limit")))
_MATCHING: Final = compiled(
    PlotRow.select(_id, _name)
    .where(
        _OURS,
        (_name == slot("ref")) | (_task == slot("ref")) | ((_id >= slot("ref")) & (_id < slot("beyond"))),
    )
    .order_by(PlotRow.number.desc())
    .limit(slot("limit"))
)
_ADD_STEP: Final = insertion(PlotStepRow, ignore=True)
_DROP_STEPS: Final = compiled(
    PlotStepRow.delete().where(PlotStepRow.plot == slot("plot"), column(PlotStepRow, "number") <= slot("last"))
)
_STEPS: Final = compiled(
    PlotStepRow.select(*derived(PlotStepRow, PlotStep))
    .where(PlotStepRow.plot == slot("plot"), column(PlotStepRow, "number") > slot("after"))
    .order_by(column(PlotStepRow, "number"))
)
_SET_TIME: Final = insertion(PlotTimeRow).replace("INSERT INTO", "INSERT OR REPLACE INTO", 1)
_TIMES: Final = compiled(
    PlotTimeRow.select(*derived(PlotTimeRow, PlotTime))
    .where(PlotTimeRow.plot == slot("plot"))
    .order_by(column(PlotTimeRow, "phase"), column(PlotTimeRow, "table"), column(PlotTimeRow, "kind"))
)
_SET_LOG: Final = insertion(PlotLogRow).replace("INSERT INTO", "INSERT OR REPLACE INTO", 1)
_LOG: Final = compiled(
    PlotLogRow.select(PlotLogRow.overlord, PlotLogRow.place, PlotLogRow.told).where(PlotLogRow.plot == slot("plot"))
)
_SET_STOP: Final = insertion(PlotStopRow).replace("INSERT INTO", "INSERT OR REPLACE INTO", 1)
_stop_plot: Final = column(PlotStopRow, "plot")
_STOP: Final = compiled(
    PlotStopRow.select(*derived(PlotStopRow, PlotStop)).where(PlotStopRow.side == slot("side"), _stop_plot == slot("plot"))
)
_OLD_STOPS: Final = compiled(
    PlotStopRow.delete().where(
        PlotStopRow.side == slot("side"),
        _stop_plot.in_(
            PlotStopRow.select(_stop_plot)
            .where(PlotStopRow.side == slot("side"))
            .order_by(column(PlotStopRow, "created_at").desc())
            .limit(slot("all"))
            .offset(slot("most"))
        ),
    )
)
_PHASES: Final = compiled(
    PlotTimeRow.select(PlotRow.number, column(PlotTimeRow, "phase"), column(PlotTimeRow, "seconds"))
    .join(PlotRow, on=(PlotTimeRow.plot == PlotRow.number))
    .where(
        _OURS,
        _state == slot("state"),
        column(PlotRow, "ksize") == slot("ksize"),
        column(PlotRow, "plotter") == slot("plotter"),
        column(PlotTimeRow, "kind") == slot("kind"),
    )
    .order_by(PlotRow.number.desc())
    .limit(slot("limit"))
)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a plot in one transaction; `told` is the newest step that its overlord knows afterwards."""

    before: Plot
    after: Plot
    steps: tuple[PlotStep, ...] = ()
    times: tuple[PlotTime, ...] = ()
    place: LogPlace | None = None
    told: int | None = None


@dataclass(frozen=True, slots=True)
class PlotLog:
    """Whose plot it is, where its log's reader stands, and the newest step that the overlord was told of."""

    overlord: str = ""
    place: LogPlace = field(default_factory=LogPlace)
    told: int = 0


class Plots:
    """The plots of one side of a node."""

    def __init__(self, database: Database, clock: Clock, side: Side) -> None:
        self._database = database
        self._clock = clock
        self._side = side
        self._watchers: list[Callable[[Plot], None]] = []

    def watch(self, watcher: Callable[[Plot], None]) -> None:
        """Has `watcher` called after a plot was made or changed."""
        self._watchers.append(watcher)

    def tell(self, plot: Plot) -> Plot:
        """Tells the watchers of a plot whose change is committed; gives it back."""
        for watcher in self._watchers:
            watcher(plot)
        return plot

    async def write(self, operation: Callable[[Writing], T]) -> T:
        """What an operation of this store gives, once it is on the disk."""
        return await self._database.write(operation)

    # Operations for whoever owns the transaction

    def creation(self, plot: Plot, request: PlotRequest, overlord: str = "") -> Callable[[Writing], tuple[Plot, bool]]:
        """Stores a new plot; gives the stored one and whether it is new. The same id with the same request is one plot.
        `overlord` is the node that is to hear of its steps.

        Raises (when it runs):
            Conflict: its id or its task_id belongs to another request.
            Busy: too many plots are under way.
        """
        return lambda connection: _create(connection, self._side, plot, request, overlord)

    def change(self, change: Change) -> Callable[[Writing], Plot]:
        """Keeps a change; Conflict (when it runs) where the plot is no longer as `before` says."""
        return lambda connection: _change(connection, self._side, change)

    def setting_stop(self, stop: PlotStop) -> Callable[[Writing], PlotStop]:
        """Keeps a stop as it is now."""
        return lambda connection: _set_stop(connection, self._side, stop)

    def stored(self, id: str) -> Callable[[Reading], Plot]:
        """Finds a plot; NotFound (when it runs) if there is none."""
        return lambda connection: _stored(connection, self._side, id)[1]

    def found_stop(self, id: str) -> Callable[[Reading], PlotStop | None]:
        """Finds the stop of a plot."""
        return lambda connection: _stop(connection, self._side, id)

    # Questions

    async def get(self, id: str) -> Plot:
        """The plot; NotFound if there is none."""
        return await self._database.read(self.stored(id))

    async def status(self, id: str) -> PlotStatus:
        """The plot with its times; NotFound if there is none."""
        return await self._database.read(lambda it: _status(it, *_stored(it, self._side, id)))

    async def resolve(self, ref: str) -> str:
        """The full id that a user means by an id, the beginning of one, a task_id, a name or `@last`.

        Raises:
            NotFound: nothing matches.
            Conflict: several plots do; the hint names them.
        """
        return await self._database.read(lambda it: _resolve(it, self._side, ref))

    async def by_task(self, task_id: str) -> str | None:
        """The id of the plot with that task_id."""
        row = await self._database.read(lambda it: it.row(_BY_TASK, side=self._side, task=task_id))
        return None if row is None else text(row, 0)

    async def list(
        self, state: PlotState | None = None, *, cache1: str | None = None, limit: int = LIST_PAGE, after: str | None = None
    ) -> tuple[PlotStatus, ...]:
        """Plots with their times, the last accepted first, behind the id `after`."""
        return await self._database.read(lambda it: _list(it, self._side, _Page(state, cache1, limit, after)))

    async def live(self) -> tuple[Plot, ...]:
        """The plots that are not final, the first accepted first."""
        rows = await self._database.read(lambda it: it.rows(_LIVE, side=self._side, limit=LIVE_MOST, **_LIVE_STATES))
        return tuple(decode(Plot, row) for row in rows)

    async def untold(self) -> tuple[Plot, ...]:
        """The plots that are over and whose overlord does not know it, the first accepted first."""
        rows = await self._database.read(
            lambda it: it.rows(_UNTOLD, side=self._side, nobody="", limit=LIVE_MOST, **_LIVE_STATES)
        )
        return tuple(decode(Plot, row) for row in rows)

    async def steps(self, id: str, after: int = 0) -> tuple[PlotStep, ...]:
        """The steps of a plot's life behind the number `after`."""
        return await self._database.read(lambda it: _steps(it, _stored(it, self._side, id)[0], after))

    async def log(self, id: str) -> PlotLog:
        """What is remembered beside a plot."""
        return await self._database.read(lambda it: _log(it, _stored(it, self._side, id)[0]))

    async def request(self, id: str) -> PlotRequest:
        """What was asked for."""
        row = await self._database.read(lambda it: it.row(_STORED, side=self._side, id=id))
        if row is None:
            raise _unknown(id)
        return parse(PlotRequest, text(row, 1))

    async def stop(self, id: str) -> PlotStop | None:
        """The stop of a plot, known or not."""
        return await self._database.read(self.found_stop(id))

    async def history(self, ksize: int, plotter: str) -> tuple[tuple[float, float, float, float], ...]:
        """The seconds of the four phases of the newest finished plots of that size and plotter."""
        return await self._database.read(lambda it: _history(it, self._side, ksize, plotter))


def advance(plot: Plot, event: str, now: float, reason: str = "", **changes: object) -> tuple[Plot, PlotStep]:
    """The plot after an event, and the step that it was.

    Raises:
        Conflict: the life cycle forbids it.
    """
    state = PLOT_LIFE.after(plot.state, event)
    ended: dict[str, object] = {"ended_at": now, "suspended": False, "eta_s": None} if state in PLOT_LIFE.terminal else {}
    after = plot.replace(state=state, reason=reason[:REASON_MOST], step=plot.step + 1, updated_at=now, **{**ended, **changes})
    return after, PlotStep(number=after.step, time=now, event=event, state=state, reason=after.reason)


def advance_stop(stop: PlotStop, event: str, now: float, reason: str = "") -> PlotStop:
    """The stop after an event; Conflict where its life cycle forbids it."""
    return stop.replace(state=STOP_LIFE.after(stop.state, event), reason=reason[:REASON_MOST], updated_at=now)


def follow_stop(stop: PlotStop, state: PlotState, now: float) -> PlotStop:
    """The stop as far as its plot is, which is in `state`: received, stopping, or over with it."""
    over = state in PLOT_LIFE.terminal
    events = ("receive", "stop", "end") if over else ("receive", "stop") if state is PlotState.STOPPING else ("receive",)
    reason = f"the plot is {state}" if over and state is not PlotState.STOPPED else ""
    for event in events:
        if event in STOP_LIFE.events(stop.state):
            stop = advance_stop(stop, event, now, reason)
    return stop


def _create(connection: Writing, side: Side, plot: Plot, request: PlotRequest, overlord: str) -> tuple[Plot, bool]:
    row = connection.row(_STORED, side=side, id=plot.id)
    asked = request.model_dump_json(exclude_defaults=True, exclude={"id", "task_id"})
    if row is not None:
        if from_json(text(row, 1)) != from_json(asked):
            raise Conflict(f"the id {plot.id} belongs to another request", hint="leave the id out to get a new plot")
        return decode(Plot, row[2:]), False
    if connection.row(_BY_TASK, side=side, task=plot.task_id) is not None:
        raise Conflict(f"the task_id {plot.task_id} belongs to another plot", hint="a task_id is used once")
    if connection.number(_LIVE_COUNT, side=side, **_LIVE_STATES) >= LIVE_MOST:
        raise Busy(f"{LIVE_MOST} plots are under way already", hint="stop some of them, or wait until they end")
    connection.change(_CREATE, side=side, request=asked, **encode(plot))
    number, stored = _stored(connection, side, plot.id)
    connection.change(_SET_LOG, plot=number, overlord=overlord, place=LogPlace().model_dump_json(), told=0)
    return stored, True


def _stored(connection: Reading, side: Side, id: str) -> tuple[int, Plot]:
    row = connection.row(_STORED, side=side, id=id)
    if row is None:
        raise _unknown(id)
    return cast(int, row[0]), decode(Plot, row[2:])


def _unknown(ref: str) -> NotFound:
    return NotFound(f"no plot is called '{ref}'", hint="list the plots to see which there are")


@cache
def _update(changed: tuple[str, ...]) -> str:
    values = {column(PlotRow, name): slot(name) for name in changed}
    return compiled(
        PlotRow.update(values).where(
            PlotRow.number == slot("row"), _state == slot("held"), column(PlotRow, "step") == slot("stood")
        )
    )


def _change(connection: Writing, side: Side, change: Change) -> Plot:
    number, _ = _stored(connection, side, change.before.id)
    before, after = dict(change.before), dict(change.after)
    changed = tuple(name for name in after if after[name] != before[name]) or ("updated_at",)
    touched = connection.change(
        _update(changed),
        row=number,
        held=change.before.state,
        stood=change.before.step,
        **encode(change.after, changed),
    )
    if touched != 1:
        raise Conflict(
            f"plot {change.after.id} is no longer {change.before.state}", hint="read it again, then repeat the change"
        )
    for step in change.steps:
        connection.change(_ADD_STEP, plot=number, **encode(step))
    if change.steps:
        connection.change(_DROP_STEPS, plot=number, last=change.steps[-1].number - STEPS_KEPT)
    for one in change.times:
        connection.change(_SET_TIME, plot=number, **encode(one))
    if change.place is not None or change.told is not None:
        known = _log(connection, number)
        connection.change(
            _SET_LOG,
            plot=number,
            overlord=known.overlord,
            place=(change.place or known.place).model_dump_json(),
            told=known.told if change.told is None else change.told,
        )
    return change.after


def _log(connection: Reading, number: int) -> PlotLog:
    row = connection.row(_LOG, plot=number)
    return PlotLog() if row is None else PlotLog(text(row, 0), parse(LogPlace, text(row, 1)), cast(int, row[2]))


def _steps(connection: Reading, number: int, after: int) -> tuple[PlotStep, ...]:
    return tuple(decode(PlotStep, row) for row in connection.rows(_STEPS, plot=number, after=after))


def _times(connection: Reading, number: int) -> tuple[PlotTime, ...]:
    return tuple(decode(PlotTime, row) for row in connection.rows(_TIMES, plot=number))


def _status(connection: Reading, number: int, plot: Plot) -> PlotStatus:
    return PlotStatus(**dict(plot), number=number, times=wide(_times(connection, number)))


def _set_stop(connection: Writing, side: Side, stop: PlotStop) -> PlotStop:
    connection.change(_SET_STOP, side=side, **encode(stop))
    connection.change(_OLD_STOPS, side=side, all=-1, most=STOPS_MOST)
    return stop


def _stop(connection: Reading, side: Side, id: str) -> PlotStop | None:
    row = connection.row(_STOP, side=side, plot=id)
    return None if row is None else decode(PlotStop, row)


@dataclass(frozen=True, slots=True)
class _Page:
    """Which plots, and how many."""

    state: PlotState | None
    cache1: str | None
    limit: int
    after: str | None


def _list(connection: Reading, side: Side, page: _Page) -> tuple[PlotStatus, ...]:
    query = PlotRow.select(PlotRow.number, *_FIELDS).where(_OURS).order_by(PlotRow.number.desc()).limit(slot("limit"))
    values: dict[str, str | int | None] = {"side": side, "limit": max(0, min(page.limit, LIST_PAGE))}
    if page.state is not None:
        query, values["state"] = query.where(_state == slot("state")), page.state
    if page.cache1 is not None:
        query, values["cache1"] = query.where(column(PlotRow, "cache1") == slot("cache1")), page.cache1
    if page.after is not None:
        query, values["number"] = query.where(PlotRow.number < slot("number")), _stored(connection, side, page.after)[0]
    return tuple(
        _status(connection, cast(int, row[0]), decode(Plot, row[1:])) for row in connection.rows(compiled(query), **values)
    )


def _resolve(connection: Reading, side: Side, ref: str) -> str:
    if ref == LAST:
        newest = connection.row(_NEWEST, side=side, limit=1)
        if newest is None:
            raise _unknown(ref)
        return text(newest, 0)
    beyond = f"{ref}\U0010ffff"  # above every id that begins with ref
    found: Sequence[Row] = []
    if ref:
        found = connection.rows(_MATCHING, side=side, ref=ref, beyond=beyond, limit=CANDIDATES_SHOWN + 1)
    exact = [row for row in found if text(row, 0) == ref]
    if len(found) == 1 or exact:
        return text((exact or found)[0], 0)
    if not found:
        raise _unknown(ref)
    shown = ", ".join(" ".join(filter(None, (text(row, 0), text(row, 1)))) for row in found[:CANDIDATES_SHOWN])
    raise Conflict(f"'{ref}' may mean several plots", hint=f"name one of them by its id: {shown}")


def _history(connection: Reading, side: Side, ksize: int, plotter: str) -> tuple[tuple[float, float, float, float], ...]:
    rows = connection.rows(
        _PHASES,
        side=side,
        state=PlotState.FINISHED,
        ksize=ksize,
        plotter=plotter,
        kind="total",
        limit=5 * HISTORY_MOST,
    )
    plots: dict[int, dict[int, float]] = {}
    for number, phase, seconds in rows:
        plots.setdefault(cast(int, number), {})[cast(int, phase)] = cast(float, seconds)
    whole = [times for times in plots.values() if all(phase in times for phase in range(1, 5))]
    return tuple((times[1], times[2], times[3], times[4]) for times in whole[:HISTORY_MOST])
