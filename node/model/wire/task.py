"""How does a cloud have an edge run a task?

What must arrive is durable: a start, a stop, and every step that the edge takes. The edge keeps the task under the same id;
what it says counts, because the program runs there.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from node.model.cluster import Received, Role
from node.model.task import ATTEMPTS_MOST, Task, TaskId, TaskRequest, TaskSpec
from node.model.value import Count, Items, Name, Value, Word63
from node.model.wire.method import Lane, Method

LOG_BYTES: Final = 256 * 1024
SOURCES_MOST: Final = 4


class Part(Value):
    """Which part of which joint task this is."""

    parent: TaskId
    round: Count


class TaskStart(Value):
    """Run this; a repeat changes nothing. A script comes as a bundle, which the edge fetches from the cloud by its digest, or
    from one of `sources` as well. A part of a joint task is made ready and waits for `task.go`.
    """

    request: TaskRequest
    part: Part | None = None
    sources: Annotated[Items[Name], Field(max_length=SOURCES_MOST)] = ()


class TaskGo(Value):
    """Start the part that waits; a repeat changes nothing."""

    task: TaskId


class TaskStop(Value):
    """End this task. One that has not started never will."""

    task: TaskId


class TaskRevise(Value):
    """Make this ready, and only then end what the task does now and begin it, as `revision`.

    Where it cannot be made ready the present revision runs on, and a report says so with the event `keep`.
    """

    task: TaskId
    revision: Count
    spec: TaskSpec


class TaskReport(Value):
    """How a task stands at its edge after an event."""

    event: Word63
    task: Task


class TaskLogRequest(Value):
    """Give a part of an attempt's log: what is behind `offset`, or the last `tail` lines.

    Waits up to `wait` seconds where there is nothing yet. Reply blob: those bytes, at most 256 KiB.
    """

    task: TaskId
    revision: Count
    attempt: Annotated[int, Field(ge=0, le=ATTEMPTS_MOST)]
    offset: Count = 0
    tail: Annotated[int, Field(ge=0, le=100_000)] | None = None
    wait: Annotated[float, Field(ge=0.0, le=30.0, allow_inf_nan=False)] = 0.0


class TaskLogReply(Value):
    """Where the bytes begin, and how many the log has by now."""

    offset: Count
    size: Count


_CLOUD: Final = frozenset({Role.CLOUD})
_EDGE: Final = frozenset({Role.EDGE})

TASK_START: Final = Method("task.start", TaskStart, Received, _CLOUD, durable=True)
TASK_GO: Final = Method("task.go", TaskGo, Received, _CLOUD, durable=True)
TASK_STOP: Final = Method("task.stop", TaskStop, Received, _CLOUD, durable=True)
TASK_REVISE: Final = Method("task.revise", TaskRevise, Received, _CLOUD, durable=True)
TASK_REPORT: Final = Method("task.report", TaskReport, Received, _EDGE, durable=True)
TASK_LOG: Final = Method("task.log", TaskLogRequest, TaskLogReply, _CLOUD, Lane.DATA)
