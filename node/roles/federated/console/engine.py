"""Who computes what a task says, and how does it tell how that goes?

The hook of the original: a class that is made with a task, an instance and the addresses of its resources, and that is asked to
run, start again and stop. Without one in the config, `SessionEngine` does it by private sessions.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, Protocol

from pydantic import JsonValue

from node.clock import Clock
from node.errors import Busy, ConfigInvalid, Problem
from node.model.project import Instance, InstanceState, Project, ProjectTask, TaskKind, number_of, word_of

log = logging.getLogger(__name__)

HOOKS_MOST: Final = 64  # threads of a hook at once


class Report(Protocol):
    """How an engine tells what it knows: `message` and `error` are merged into what was told before."""

    async def __call__(
        self,
        *,
        message: Mapping[str, JsonValue] | None = None,
        error: Mapping[str, JsonValue] | None = None,
        started_at: float | None = None,
        error_at: float | None = None,
        status: InstanceState | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One run of an instance, for its engine; `changed` is set when the other side has told something."""

    project: Project
    task: ProjectTask
    instance: Instance
    resources: Sequence[str]
    report: Report
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Engine(Protocol):
    """Who computes."""

    def check(self, project: Project, kind: TaskKind, config: Mapping[str, JsonValue]) -> None:
        """Is content where a task with that config could be run.

        Raises:
            Invalid, Rejected: it could not; the problems name the fields.
        """

    async def run(self, job: Job, *, again: bool) -> None:
        """Runs it; `again`: it ran before, in this life of the node or in an earlier one. What is told last counts."""

    async def stop(self, job: Job) -> None:
        """Ends what was begun."""


class HookEngine:
    """A class of the user's with the original's TaskInterface; each call has a thread of its own."""

    def __init__(self, kind: Callable[..., Any], clock: Clock) -> None:
        self._kind = kind
        self._clock = clock
        self._room = threading.BoundedSemaphore(HOOKS_MOST)

    def check(self, project: Project, kind: TaskKind, config: Mapping[str, JsonValue]) -> None:
        """Whatever its config, only the hook knows what it means."""

    async def run(self, job: Job, *, again: bool) -> None:
        """Calls task_run, or task_start where it ran before; also after the node was started anew."""
        await self._call(job, "task_start" if again else "task_run")

    async def stop(self, job: Job) -> None:
        """Calls task_stop."""
        await self._call(job, "task_stop")

    async def _call(self, job: Job, name: str) -> None:
        loop = asyncio.get_running_loop()
        if not self._room.acquire(blocking=False):
            raise Busy(f"{HOOKS_MOST} calls of federated.console.engine are under way")
        done = asyncio.Event()
        failed: list[str] = []

        def work() -> None:
            try:
                task, instance = SimpleNamespace(**_plain(job.task)), SimpleNamespace(**_plain(job.instance))
                hook = self._kind(task, instance, list(job.resources))
                getattr(hook, name)(_call_back(job.report, loop))
            except Exception as error:  # what users write may raise whatever it likes; told to them, and in the log
                log.exception("the engine's hook raised", extra={"instance": job.instance.id, "call": name})
                failed.append(f"{type(error).__name__}: {error}"[:2000])
            finally:
                self._room.release()
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=work, name=f"hook {job.instance.id}", daemon=True).start()
        await done.wait()
        if failed:
            await job.report(error={name: failed[0]}, error_at=self._clock.wall(), status=InstanceState.FAILED)


def _call_back(report: Report, loop: asyncio.AbstractEventLoop) -> Callable[..., None]:
    def call_back(
        message: Mapping[str, JsonValue] | None = None,
        error: Mapping[str, JsonValue] | None = None,
        gmt_start: float | None = None,
        gmt_error: float | None = None,
        status: int | None = None,
    ) -> None:
        word = None if status is None else word_of(InstanceState, int(status))
        told = report(message=message, error=error, started_at=gmt_start, error_at=gmt_error, status=word)
        asyncio.run_coroutine_threadsafe(told, loop).result()

    return call_back


def _plain(record: ProjectTask | Instance) -> dict[str, Any]:
    """A record's fields as the original's hook expects them: `type` and `status` are its numbers."""
    plain = record.model_dump(mode="json")
    if isinstance(record, ProjectTask):
        plain["type"] = number_of(record.kind)
    else:
        plain["status"] = number_of(record.status)
    return {**plain, "to_dict": lambda: dict(plain)}


def load_hook(place: str, clock: Clock) -> HookEngine:
    """The hook at `package.module:Class`.

    Raises:
        ConfigInvalid: there is no such class, or it lacks a method.
    """
    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        missing = [name for name in ("task_run", "task_start", "task_stop") if not callable(getattr(found, name, None))]
        if not inspect.isclass(found) or missing:
            raise ValueError(f"it is no class with {', '.join(missing) or 'those methods'}")
    except (ImportError, AttributeError, ValueError) as error:
        problem = Problem("federated.console.engine", f"'{place}': {error}")
        raise ConfigInvalid(f"federated.console.engine: no engine '{place}'", problems=[problem]) from error
    return HookEngine(found, clock)
