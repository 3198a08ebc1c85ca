"""What do a cloud and an edge say to each other of a task that the one has accepted and the other runs?

Both keep a row of the same id. Orders go down and reports come up as durable messages, each in one transaction with the change
that it makes there; a log is not sent but asked for, at the place where it is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from node.clock import Clock
from node.errors import Forbidden, NotFound
from node.model.cluster import Received, Role
from node.model.task import Task, TaskRequest, TaskSpec, TaskState
from node.model.wire.task import (
    TASK_GO,
    TASK_LOG,
    TASK_REPORT,
    TASK_REVISE,
    TASK_START,
    TASK_STOP,
    Part,
    TaskGo,
    TaskLogReply,
    TaskLogRequest,
    TaskReport,
    TaskRevise,
    TaskStart,
    TaskStop,
)
from node.roles.shared import task_logs
from node.roles.shared.delivery import Delivery, Effect
from node.roles.shared.task_logs import LogPart
from node.roles.shared.task_runtime import TaskRuntime
from node.storage.connection import Writing
from node.storage.tasks import KEPT, REASON_MOST, Tasks
from node.transport.base import Answer, Call, Peer, Transport

log = logging.getLogger(__name__)

LOG_CALL_S: Final = 10.0
LOG_WAIT_S: Final = 5.0
NOT_YET_S: Final = 0.05


class Driver(Protocol):
    """Who drives the tasks of this node."""

    def look(self, id: str) -> None:
        """Has the loop of a task look at it again, or begin."""

    def hint(self, id: str, sources: Sequence[str]) -> None:
        """Other nodes that have the blobs of a task that comes."""

    def drives(self, id: str) -> bool:
        """Whether the task has a loop."""

    def prepare(self, id: str) -> None:
        """Has a revision that was ordered made ready."""


class TaskLink:
    """The orders, reports and logs of one node's tasks."""

    def __init__(self, name: str, store: Tasks, transport: Transport, delivery: Delivery, clock: Clock) -> None:
        self._name = name
        self._store = store
        self._transport = transport
        self._delivery = delivery
        self._clock = clock

    def register(self, roles: tuple[Role, ...], runtime: TaskRuntime, driver: Driver) -> None:
        """Takes orders at an edge and reports at a cloud; only before the transport starts."""
        self._runtime = runtime
        self._driver = driver
        if Role.EDGE in roles:
            self._delivery.answer(TASK_START, self._start)
            self._delivery.answer(TASK_GO, self._go)
            self._delivery.answer(TASK_STOP, self._stop)
            self._delivery.answer(TASK_REVISE, self._revise)
            self._transport.answer(TASK_LOG, self._log)
        if Role.CLOUD in roles:
            self._delivery.answer(TASK_REPORT, self._report)

    # At the cloud

    async def order(self, task: Task, spec: TaskSpec, sources: Sequence[str] = ()) -> None:
        """Has the task's edge run it; repeating it changes nothing. `sources` are other edges that have its blobs."""
        words = {"id": task.id, "name": task.name, "node": task.node}
        request = TaskRequest.model_validate({**dict(spec), **words})
        part = Part(parent=task.parent, round=task.round) if task.parent else None
        await self._delivery.send(task.node, TASK_START, TaskStart(request=request, part=part, sources=tuple(sources)))

    async def order_go(self, task: Task) -> None:
        """Has the part's edge start it; repeating it changes nothing."""
        await self._delivery.send(task.node, TASK_GO, TaskGo(task=task.id))

    async def order_stop(self, task: Task) -> None:
        """Has the task's edge end it; repeating it changes nothing."""
        await self._delivery.send(task.node, TASK_STOP, TaskStop(task=task.id))

    async def order_revision(self, task: Task, spec: TaskSpec) -> Task:
        """Has the task's edge do something else in it; raises as `Tasks.revising` does."""
        order = TaskRevise(task=task.id, revision=task.revision + 1, spec=spec)
        kept, _ = await self._delivery.post(self._store.revising(task.id, spec), task.node, TASK_REVISE, order)
        return kept

    async def log(self, task: Task, attempt: int, offset: int, *, lines: int | None = None, wait: float = 0.0) -> LogPart:
        """A part of the log that lies at the task's edge.

        Raises:
            Unavailable: it is away.
        """
        wanted = TaskLogRequest(
            task=task.id, revision=task.revision, attempt=attempt, offset=offset, tail=lines, wait=min(wait, LOG_WAIT_S)
        )
        answer = await self._transport.call(task.node, TASK_LOG, wanted, timeout=LOG_CALL_S)
        content = bytes(answer.blobs[0]) if answer.blobs else b""
        return LogPart(answer.body.offset, content, answer.body.size)

    def _report(self, peer: Peer, report: TaskReport) -> Effect[Task | None, Received]:
        return Effect(
            apply=self._store.mirroring(peer.name, report.event, report.task), reply=lambda _: Received(), then=self._reported
        )

    def _reported(self, task: Task | None) -> None:
        if task is not None:
            self._store.told(task)
            self._driver.look(task.id)

    # At the edge

    async def report(self, event: str, task: Task) -> None:
        """Tells the cloud that a task came from how it stands."""
        await self._delivery.send(task.origin, TASK_REPORT, TaskReport(event=event, task=task))

    def _start(self, peer: Peer, order: TaskStart) -> Effect[Task, Received]:
        request = order.request
        if request.node != self._name or request.id is None:
            raise Forbidden(f"a task for {request.node} came to {self._name}")
        now = self._clock.wall()
        task = Task(
            id=request.id,
            name=request.name,
            state=TaskState.CREATED,
            node=self._name,
            origin=peer.name,
            created_at=now,
            updated_at=now,
            parent=order.part.parent if order.part else "",
            round=order.part.round if order.part else 0,
            held=order.part is not None,
        )
        self._driver.hint(task.id, order.sources)
        return Effect(apply=self._store.creation(task, request), reply=lambda _: Received(), then=self._taken)

    def _taken(self, task: Task) -> None:
        self._store.told(task)
        self._driver.look(task.id)

    def _go(self, peer: Peer, order: TaskGo) -> Effect[Task | None, Received]:
        apply: Callable[[Writing], Task | None] = self._store.releasing(order.task, peer.name)
        return Effect(apply=apply, reply=lambda _: Received(), then=partial(self._changed, order.task))

    def _stop(self, peer: Peer, order: TaskStop) -> Effect[Task | None, Received]:
        apply: Callable[[Writing], Task | None] = self._store.stopping(order.task, peer.name)
        return Effect(apply=apply, reply=lambda _: Received(), then=partial(self._changed, order.task))

    def _revise(self, peer: Peer, order: TaskRevise) -> Effect[Task | None, Received]:
        apply = self._store.ordering(order.task, peer.name, order.revision, order.spec)
        return Effect(apply=apply, reply=lambda _: Received(), then=self._ordered)

    def _ordered(self, task: Task | None) -> None:
        if task is not None:
            self._driver.prepare(task.id)

    async def keep(self, task: Task, reason: str) -> None:
        """Tells the cloud that a task runs on as it did, because its next revision cannot be made ready; both or neither."""
        report = TaskReport(event=KEPT, task=task.replace(reason=reason[:REASON_MOST]))
        await self._delivery.post(self._store.dropping(task.id), task.origin, TASK_REPORT, report)

    def _changed(self, id: str, task: Task | None) -> None:
        if task is not None:
            self._driver.look(id)

    async def _log(self, call: Call, wanted: TaskLogRequest) -> Answer[TaskLogReply]:
        try:
            task = await self._store.get(wanted.task)
        except NotFound:  # its start is still on the way
            await self._clock.sleep(min(wanted.wait, NOT_YET_S))
            return Answer(TaskLogReply(offset=0, size=0))
        if task.origin != call.peer.name:
            raise Forbidden(f"task {task.id} is not one of {call.peer.name}")
        path = self._runtime.output(task.id, wanted.revision, wanted.attempt)
        offset = wanted.offset if wanted.tail is None else task_logs.tail(path, wanted.tail)
        end = self._clock.monotonic() + wanted.wait
        if wanted.tail is None and wanted.wait:
            await task_logs.grown(self._clock, path, offset, asyncio.Event(), lambda: self._is_enough(task.id, end))
        part = task_logs.read(path, offset)
        return Answer(TaskLogReply(offset=part.offset, size=part.size), (part.content,))

    def _is_enough(self, id: str, end: float) -> bool:
        """Whether who waits for a log has waited long enough, or for nothing."""
        return self._clock.monotonic() >= end or not self._driver.drives(id)
