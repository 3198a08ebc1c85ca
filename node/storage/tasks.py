"""What is remembered of a task, and which changes may it take?

A step is one transaction with its event row; several steps that follow each other at once may share one. The life-cycle table
alone decides which event is possible. All methods may be repeated after an `Unavailable` error, which means that nothing was
kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeAlias, cast

from peewee import fn
from pydantic_core import from_json

from node.clock import Clock
from node.errors import Busy, Conflict, Forbidden, NotFound, Stale
from node.model.task import TASK_LIFE, Task, TaskChange, TaskEvent, TaskRequest, TaskSpec, TaskState
from node.storage.connection import Reading, Row, Writing
from node.storage.database import Database
from node.storage.rows import decode, encode, parse, text
from node.storage.tables import TaskEventRow, TaskRow, column, compiled, derived, insertion, slot

LIST_PAGE: Final = 500
LIVE_MOST: Final = 4096  # tasks that are not final
EVENTS_KEPT: Final = 500  # of one task
REASON_MOST: Final = 2000
CANDIDATES_SHOWN: Final = 8
LAST: Final = "@last"

_id: Final = column(TaskRow, "id")
_name: Final = column(TaskRow, "name")
_state: Final = column(TaskRow, "state")
_parent: Final = column(TaskRow, "parent")
_LIVE_STATES: Final = {f"live{n}": state for n, state in enumerate(TASK_LIFE.states) if state not in TASK_LIFE.terminal}
_IS_LIVE: Final = _state.in_([slot(name) for name in _LIVE_STATES])
_FIELDS: Final = derived(TaskRow, Task)

_CREATE: Final = insertion(TaskRow, leave_out="number", ignore=True)
_ADD_EVENT: Final = insertion(TaskEventRow, leave_out="number")
_STORED: Final = compiled(TaskRow.select(TaskRow.number, TaskRow.request, *_FIELDS).where(_id == slot("id")))
_SPEC: Final = compiled(TaskRow.select(TaskRow.spec).where(_id == slot("id")))
_HAS_NEXT: Final = compiled(
    TaskRow.select(fn.COUNT(TaskRow.number)).where((_id == slot("id")) & column(TaskRow, "next").is_null(is_null=False))
)
_SET_NEXT: Final = compiled(TaskRow.update({column(TaskRow, "next"): slot("spec")}).where(_id == slot("id")))
_ORDERED: Final = compiled(TaskRow.select(column(TaskRow, "ordered")).where(_id == slot("id")))
_SET_ORDERED: Final = compiled(TaskRow.update({column(TaskRow, "ordered"): slot("spec")}).where(_id == slot("id")))
_TAKE_ORDERED: Final = 'UPDATE "tasks" SET "next" = "ordered", "ordered" = NULL WHERE "id" = :id'
_TAKE_NEXT: Final = 'UPDATE "tasks" SET "spec" = "next", "next" = NULL WHERE "id" = :id'
_LIVE: Final = compiled(TaskRow.select(*_FIELDS).where(_IS_LIVE).order_by(TaskRow.number).limit(slot("limit")))
_LIVE_COUNT: Final = compiled(TaskRow.select(fn.COUNT(TaskRow.number)).where(_IS_LIVE))
_NEWEST: Final = compiled(
    TaskRow.select(_id).where(_parent == slot("parent")).order_by(TaskRow.number.desc()).limit(slot("limit"))
)
_MATCHING: Final = compiled(
    TaskRow.select(_id, _name)
    .where((_name == slot("ref")) | ((_id >= slot("ref")) & (_id < slot("beyond"))))
    .order_by(TaskRow.number.desc())
    .limit(slot("limit"))
)
_REQUEST: Final = compiled(TaskRow.select(TaskRow.request).where(_id == slot("id")))
_PARTS: Final = compiled(
    TaskRow.select(*_FIELDS)
    .where((_parent == slot("parent")) & (column(TaskRow, "round") == slot("round")))
    .order_by(TaskRow.number)
    .limit(slot("limit"))
)
_EVENTS: Final = compiled(
    TaskEventRow.select(*derived(TaskEventRow, TaskEvent))
    .where(TaskEventRow.task == slot("task"))
    .order_by(TaskEventRow.number.desc())
    .limit(slot("limit"))
)


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a task's life, its reason, and the fields that change with it."""

    event: str
    reason: str = ""
    changes: dict[str, object] = field(default_factory=dict)


Planned: TypeAlias = tuple[Task, TaskRequest]
"""A task that is to be made, and what it does."""

NOTE: Final = "note"  # an event of a script's own: it changes no state


class Tasks:
    """The tasks of a node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._watchers: list[Callable[[Task], None]] = []

    def watch(self, watcher: Callable[[Task], None]) -> None:
        """Has `watcher` called after a task was made or changed."""
        self._watchers.append(watcher)

    def told(self, task: Task) -> Task:
        """Tells the watchers of a task whose change is committed; gives it back."""
        for watcher in self._watchers:
            watcher(task)
        return task

    # Operations for whoever owns the transaction

    def creation(self, task: Task, request: TaskRequest) -> Callable[[Writing], Task]:
        """Stores a task that another node orders. What is there already stays: its present revision may be another one.

        Raises (when it runs):
            Forbidden: the task came from elsewhere.
            Busy: as `create`.
        """

        def apply(connection: Writing) -> Task:
            if connection.row(_STORED, id=task.id) is None:
                return _create(connection, task, request)[0]
            _, stored = _stored(connection, task.id)
            if stored.origin != task.origin:
                raise Forbidden(f"task {task.id} did not come from {task.origin}")
            return stored

        return apply

    def stopping(self, id: str, origin: str) -> Callable[[Writing], Task | None]:
        """Notes that a stop was asked for by the node that the task came from; None where it is unknown or over."""
        now = self._clock.wall()
        return lambda connection: _stop_of(connection, id, origin, now)

    def releasing(self, id: str, origin: str) -> Callable[[Writing], Task | None]:
        """Has a part of that node's wait no longer; None where it is unknown, to end, or waits for nothing."""
        now = self._clock.wall()
        return lambda connection: _release_of(connection, id, origin, now)

    def mirroring(self, node: str, event: str, task: Task) -> Callable[[Writing], Task | None]:
        """Keeps how a task stands at the node that runs it; None where that changes nothing any more.

        Raises (when it runs):
            NotFound, Forbidden: there is no such task on that node.
        """
        return lambda connection: _mirror(connection, node, event, task)

    def revising(self, id: str, spec: TaskSpec) -> Callable[[Writing], Task]:
        """Keeps what the next revision does at another node, until that reports it or has refused it.

        Raises (when it runs):
            Conflict: the task is over, about to stop, or about to be revised.
        """

        def apply(connection: Writing) -> Task:
            if connection.number(_HAS_NEXT, id=id):
                raise Conflict(f"task {id} is about to be revised already", hint="repeat it when that revision has begun")
            return _revise(connection, id, spec)

        return apply

    def ordering(self, id: str, origin: str, revision: int, spec: TaskSpec) -> Callable[[Writing], Task | None]:
        """Notes what the node that the task came from wants as its next revision; None where that comes too late.

        Raises (when it runs):
            Forbidden: the task came from elsewhere.
        """
        return lambda connection: _order(connection, id, origin, revision, spec)

    def dropping(self, id: str) -> Callable[[Writing], object]:
        """Forgets a revision that was ordered and cannot be."""
        return lambda connection: connection.change(_SET_ORDERED, id=id, spec=None)

    async def ordered(self, id: str) -> TaskSpec | None:
        """The next revision that was ordered and is not ready yet."""
        row = await self._database.read(lambda it: it.row(_ORDERED, id=id))
        return None if row is None or row[0] is None else parse(TaskSpec, text(row, 0))

    async def take_ordered(self, id: str) -> Task | None:
        """What was ordered is ready: it is what the next revision does. None where the task is over, or about to stop."""
        return await self._database.write(lambda it: _take_ordered(it, id))

    async def create(self, task: Task, request: TaskRequest) -> tuple[Task, bool]:
        """The stored task, and whether this call stored it. The same id with the same request gives the stored one.

        Raises:
            Conflict: the id is taken by another request.
            Busy: too many tasks are live.
        """
        stored, new = await self._database.write(lambda it: _create(it, task, request))
        return (self.told(stored), True) if new else (stored, False)

    async def create_joint(self, task: Task, request: TaskRequest, parts: Sequence[Planned]) -> tuple[Task, bool]:
        """As `create`, a joint task with the parts of its first round: all are kept or none."""
        stored, new = await self._database.write(lambda it: _create_joint(it, task, request, parts))
        return (self.told(stored), True) if new else (stored, False)

    async def next_round(self, id: str, round: int, reason: str, parts: Sequence[Planned]) -> Task:
        """The joint task in its next round, with the parts of that."""
        now = self._clock.wall()
        step = Step("round", reason, {"round": round})
        return self.told(await self._database.write(lambda it: _next_round(it, id, step, parts, now)))

    async def release(self, id: str, parts: Sequence[str], *steps: Step) -> Task:
        """The joint task after `steps`; those parts wait no longer."""
        now = self._clock.wall()
        released, task = await self._database.write(lambda it: _release(it, id, parts, steps, now))
        for part in released:
            self.told(part)
        return self.told(task)

    async def parts(self, parent: str, round: int) -> tuple[Task, ...]:
        """The parts of one round of a joint task, in the order of its edges; what combines them comes last."""
        rows = await self._database.read(lambda it: it.rows(_PARTS, parent=parent, round=round, limit=LIST_PAGE))
        return tuple(decode(Task, row) for row in rows)

    async def request(self, id: str) -> TaskRequest:
        """What was asked for, as it was."""
        row = await self._database.read(lambda it: it.row(_REQUEST, id=id))
        if row is None:
            raise _unknown(id)
        return parse(TaskRequest, text(row, 0))

    async def advance(self, id: str, *steps: Step, attempt: int | None = None) -> Task:
        """The task after steps that follow each other; all are kept or none.

        Raises:
            Conflict: the life cycle forbids one of them.
            Stale: the task is in another attempt than `attempt`.
        """
        now = self._clock.wall()
        return self.told(await self._database.write(lambda it: _advance(it, id, steps, attempt, now)))

    async def note(self, id: str, **changes: object) -> Task:
        """The task with other fields, in the state that it is in; Conflict if it is final."""
        now = self._clock.wall()
        return self.told(await self._database.write(lambda it: _note(it, id, changes, now)))

    async def describe(self, id: str, change: TaskChange, version: int | None) -> Task:
        """The task under other words; Stale where its version is not the one that the caller has read."""
        now = self._clock.wall()
        return self.told(await self._database.write(lambda it: _describe(it, id, change, version, now)))

    async def revise(self, id: str, spec: TaskSpec) -> Task:
        """Keeps what the next revision does, until `take_next`; Conflict if the task is final, or is about to stop."""
        return self.told(await self._database.write(lambda it: _revise(it, id, spec)))

    async def take_next(self, id: str) -> Task:
        """The task at the beginning of its next revision, in place of the end of the present one."""
        now = self._clock.wall()
        return self.told(await self._database.write(lambda it: _take_next(it, id, now)))

    async def get(self, id: str) -> Task:
        """The task; NotFound if there is none."""
        return await self._database.read(lambda it: _stored(it, id)[1])

    async def now(self, id: str) -> tuple[Task, bool]:
        """The task, and whether it is to end for its next revision; NotFound if there is none."""
        return await self._database.read(lambda it: (_stored(it, id)[1], it.number(_HAS_NEXT, id=id) > 0))

    async def spec(self, id: str) -> TaskSpec:
        """What the present revision does."""
        row = await self._database.read(lambda it: it.row(_SPEC, id=id))
        if row is None:
            raise _unknown(id)
        return parse(TaskSpec, text(row, 0))

    async def resolve(self, ref: str) -> str:
        """The full id that a user means by an id, the beginning of one, a name, or `@last`.

        Raises:
            NotFound: nothing matches.
            Conflict: several tasks do; the hint names them.
        """
        return await self._database.read(lambda it: _resolve(it, ref))

    async def list(self, state: TaskState | None, limit: int, after: str | None) -> tuple[Task, ...]:
        """Tasks, the last accepted first, behind the id `after`; parts are not among them."""
        return await self._database.read(lambda it: _list(it, state, limit, after))

    async def live(self) -> tuple[Task, ...]:
        """The tasks that are not final, the first accepted first."""
        rows = await self._database.read(lambda it: it.rows(_LIVE, limit=LIVE_MOST, **_LIVE_STATES))
        return tuple(decode(Task, row) for row in rows)

    async def events(self, id: str) -> tuple[TaskEvent, ...]:
        """The newest `EVENTS_KEPT` steps of the task's life, oldest first."""
        return await self._database.read(lambda it: _events(it, _stored(it, id)[0]))


def _create(connection: Writing, task: Task, request: TaskRequest) -> tuple[Task, bool]:
    asked = request.model_dump_json(exclude_defaults=True, exclude={"id"})
    row = connection.row(_STORED, id=task.id)
    if row is not None:
        if from_json(text(row, 1)) != from_json(asked):
            raise Conflict(f"the id {task.id} belongs to another request", hint="leave the id out to get a new task")
        return decode(Task, row[2:]), False
    if connection.number(_LIVE_COUNT, **_LIVE_STATES) >= LIVE_MOST:
        raise Busy(f"{LIVE_MOST} tasks are under way already", hint="stop some of them, or wait until they end")
    spec = TaskSpec(**{name: value for name, value in request if name in TaskSpec.model_fields})
    connection.change(_CREATE, request=asked, spec=_written(spec), next=None, ordered=None, **encode(task))
    _record(connection, _stored(connection, task.id)[0], task, "create", task.created_at)
    return task, True


KEPT: Final = "keep"  # an event: another node could not make the next revision ready and runs on as it did


def _create_joint(connection: Writing, task: Task, request: TaskRequest, parts: Sequence[Planned]) -> tuple[Task, bool]:
    stored, new = _create(connection, task, request)
    if new:
        for part in parts:
            _create(connection, *part)
    return stored, new


def _next_round(connection: Writing, id: str, step: Step, parts: Sequence[Planned], now: float) -> Task:
    task = _advance(connection, id, (step,), None, now)
    for part in parts:
        _create(connection, *part)
    return task


def _release(connection: Writing, id: str, parts: Sequence[str], steps: Sequence[Step], now: float) -> tuple[list[Task], Task]:
    task = _advance(connection, id, steps, None, now)
    return [part for each in parts if (part := _release_of(connection, each, task.origin, now)) is not None], task


def _release_of(connection: Writing, id: str, origin: str, now: float) -> Task | None:
    if connection.row(_STORED, id=id) is None:
        return None
    number, before = _stored(connection, id)
    if before.origin != origin:
        raise Forbidden(f"task {id} did not come from {origin}")
    if before.state in TASK_LIFE.terminal or before.stopping or not before.held:
        return None
    return _keep(connection, number, before, before.replace(held=False, updated_at=now))


_MIRRORED: Final = (
    "state",
    "reason",
    "revision",
    "attempt",
    "level",
    "code",
    "signal",
    "limit",
    "artifacts",
    "cpu_s",
    "memory_bytes",
    "updated_at",
    "started_at",
    "ended_at",
)


def _mirror(connection: Writing, node: str, event: str, task: Task) -> Task | None:
    number, before = _stored(connection, task.id)
    if before.node != node:
        raise Forbidden(f"task {task.id} does not run on {node}")
    after = before.replace(**{name: getattr(task, name) for name in _MIRRORED})
    same = all(getattr(after, name) == getattr(before, name) for name in ("state", "revision", "attempt", "reason"))
    if before.state in TASK_LIFE.terminal or same:
        return None
    _record(connection, number, after, event, task.updated_at)
    if after.revision > before.revision:
        connection.change(_TAKE_NEXT, id=task.id)
    elif event == KEPT or after.state in TASK_LIFE.terminal:
        connection.change(_SET_NEXT, id=task.id, spec=None)
    return _keep(connection, number, before, after)


def _order(connection: Writing, id: str, origin: str, revision: int, spec: TaskSpec) -> Task | None:
    if connection.row(_STORED, id=id) is None:
        return None
    _, task = _stored(connection, id)
    if task.origin != origin:
        raise Forbidden(f"task {id} did not come from {origin}")
    if task.state in TASK_LIFE.terminal or task.revision >= revision:
        return None
    connection.change(_SET_ORDERED, id=id, spec=_written(spec))
    return task


def _take_ordered(connection: Writing, id: str) -> Task | None:
    _, task = _stored(connection, id)
    if task.state in TASK_LIFE.terminal or task.stopping:
        connection.change(_SET_ORDERED, id=id, spec=None)
        return None
    connection.change(_TAKE_ORDERED, id=id)
    return task


def _stop_of(connection: Writing, id: str, origin: str, now: float) -> Task | None:
    if connection.row(_STORED, id=id) is None:
        return None
    number, before = _stored(connection, id)
    if before.origin != origin:
        raise Forbidden(f"task {id} did not come from {origin}")
    if before.state in TASK_LIFE.terminal:
        return None
    return _keep(connection, number, before, before.replace(stopping=True, updated_at=now))


def _written(spec: TaskSpec) -> str:
    return spec.model_dump_json(exclude_defaults=True)


def _record(connection: Writing, number: int, task: Task, event: str, now: float) -> None:
    step = TaskEvent(time=now, event=event, state=task.state, revision=task.revision, attempt=task.attempt, reason=task.reason)
    connection.change(_ADD_EVENT, task=number, **encode(step))


def _stored(connection: Reading, id: str) -> tuple[int, Task]:
    row = connection.row(_STORED, id=id)
    if row is None:
        raise _unknown(id)
    return cast(int, row[0]), decode(Task, row[2:])


def _unknown(ref: str) -> NotFound:
    return NotFound(f"no task is called '{ref}'", hint="list the tasks to see which there are")


@cache
def _update(changed: tuple[str, ...]) -> str:
    values = {column(TaskRow, name): slot(name) for name in changed}
    return compiled(TaskRow.update(values).where(TaskRow.number == slot("row")))


def _keep(connection: Writing, number: int, before: Task, after: Task) -> Task:
    old, new = dict(before), dict(after)
    changed = tuple(name for name in new if new[name] != old[name])
    if changed:
        connection.change(_update(changed), row=number, **encode(after, changed))
    return after


def after_step(task: Task, step: Step, now: float) -> Task:
    """The task after a step; Conflict where its life cycle forbids it."""
    if step.event == NOTE:
        return task
    state = TASK_LIFE.after(task.state, step.event)
    ended = {"ended_at": now} if state in TASK_LIFE.terminal else {}
    return task.replace(state=state, reason=step.reason[:REASON_MOST], updated_at=now, **{**ended, **step.changes})


def _advance(connection: Writing, id: str, steps: Sequence[Step], attempt: int | None, now: float) -> Task:
    number, before = _stored(connection, id)
    if attempt is not None and before.attempt != attempt:
        raise Stale(f"task {id} is in attempt {before.attempt}, not {attempt}")
    task = before
    for step in steps:
        task = after_step(task, step, now)
        _record(connection, number, task.replace(reason=step.reason[:REASON_MOST]), step.event, now)
    return _keep(connection, number, before, task)


def _note(connection: Writing, id: str, changes: dict[str, object], now: float) -> Task:
    number, before = _stored(connection, id)
    if before.state in TASK_LIFE.terminal:
        raise Conflict(f"task {id} is {before.state}, nothing can be changed in it", hint="submit it again")
    return _keep(connection, number, before, before.replace(updated_at=now, **changes))


def _revise(connection: Writing, id: str, spec: TaskSpec) -> Task:
    _, task = _stored(connection, id)
    if task.state in TASK_LIFE.terminal or task.stopping:
        raise Conflict(f"task {id} is {'about to stop' if task.stopping else task.state}", hint="submit another task")
    connection.change(_SET_NEXT, id=id, spec=_written(spec))
    return task


def _take_next(connection: Writing, id: str, now: float) -> Task:
    changes: dict[str, object] = {"attempt": 0, "started_at": None, "code": None, "signal": None, "limit": None}
    task = _stored(connection, id)[1]
    step = Step("revise", f"revision {task.revision} ended for the next", {**changes, "revision": task.revision + 1})
    after = _advance(connection, id, (step,), None, now)
    connection.change(_TAKE_NEXT, id=id)
    return after


def _describe(connection: Writing, id: str, change: TaskChange, version: int | None, now: float) -> Task:
    number, before = _stored(connection, id)
    if version is not None and version != before.version:
        raise Stale(f"task {id} is in version {before.version} by now", hint="read it again, then repeat the change")
    given = {name: value for name in change.model_fields_set if (value := getattr(change, name)) is not None}
    return _keep(connection, number, before, before.replace(version=before.version + 1, updated_at=now, **given))


def _resolve(connection: Reading, ref: str) -> str:
    if ref == LAST:
        row = connection.row(_NEWEST, parent="", limit=1)
        if row is None:
            raise NotFound("there is no task yet", hint="submit one: ecnode tasks submit FILE")
        return text(row, 0)
    found: list[Row] = connection.rows(_MATCHING, ref=ref, beyond=f"{ref}\U0010ffff", limit=CANDIDATES_SHOWN + 1)
    exact = [text(row, 0) for row in found if text(row, 0) == ref]
    if exact or len(found) == 1:
        return exact[0] if exact else text(found[0], 0)
    if not found:
        raise _unknown(ref)
    named = ", ".join(f"{text(row, 0)} ({text(row, 1)})" if row[1] else text(row, 0) for row in found[:CANDIDATES_SHOWN])
    raise Conflict(f"several tasks are called '{ref}'", hint=f"one of {named}{' …' if len(found) > CANDIDATES_SHOWN else ''}")


@cache
def _listing(with_state: bool, with_after: bool) -> str:
    rows = TaskRow.select(*_FIELDS).where(_parent == slot("parent"))
    if with_state:
        rows = rows.where(_state == slot("state"))
    if with_after:
        rows = rows.where(TaskRow.number < slot("number"))
    return compiled(rows.order_by(TaskRow.number.desc()).limit(slot("limit")))


def _list(connection: Reading, state: TaskState | None, limit: int, after: str | None) -> tuple[Task, ...]:
    given: dict[str, str | int] = {"parent": "", **({} if state is None else {"state": state})}
    if after is not None:
        given["number"] = _stored(connection, after)[0]
    rows = connection.rows(_listing(state is not None, after is not None), limit=min(limit, LIST_PAGE), **given)
    return tuple(decode(Task, row) for row in rows)


def _events(connection: Reading, number: int) -> tuple[TaskEvent, ...]:
    rows = connection.rows(_EVENTS, task=number, limit=EVENTS_KEPT)
    return tuple(decode(TaskEvent, row) for row in reversed(rows))
