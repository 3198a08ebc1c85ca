"""How does a task come to do something else under the same id, whatever cuts in between?

What it will do is made ready beside what runs: where that fails, the present revision runs on. Then the row says that there is
a next one, and the task's loop ends the present program and takes it up. Each step may be repeated: a folder is made again, a
row says so already. For a task on another node the order goes there, and that node takes the steps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from node.clock import Clock
from node.errors import Conflict, NotFound, Rejected, Unavailable
from node.model.task import TASK_LIFE, Task, TaskSpec
from node.roles.shared.task_link import TaskLink
from node.roles.shared.task_runtime import Attempt, TaskRuntime
from node.storage.tasks import Tasks

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0


class Look(Protocol):
    """Has the loop of a task look at it again; `waits` says that its program may not have started."""

    def __call__(self, id: str, *, waits: bool = True) -> None: ...


class Revisions:
    """Makes the next revisions of tasks ready."""

    def __init__(self, store: Tasks, runtime: TaskRuntime, clock: Clock, allow: Callable[[TaskSpec], Awaitable[None]]) -> None:
        self._store = store
        self._runtime = runtime
        self._clock = clock
        self._allow = allow
        self._one = asyncio.Lock()  # a folder is made by one of them

    async def make(self, id: str, spec: TaskSpec) -> Task:
        """Makes a revision of a task of this node ready and gives the task, whose loop must look at it again.

        Raises:
            Conflict: the task is over, about to stop, or about to be revised.
            Rejected: it cannot be made ready; all is as it was.
        """
        await self._allow(spec)
        async with self._one:
            task, has_next = await self._store.now(id)
            if has_next:
                raise Conflict(f"task {id} is about to be revised already", hint="repeat it when that revision has begun")
            await self._stage(task, spec, "")
            return await self._store.revise(id, spec)

    async def _stage(self, task: Task, spec: TaskSpec, source: str) -> None:
        await self._runtime.clear(task.id, task.revision + 1, 1)
        sources = (source,) if source else ()
        await self._runtime.stage(Attempt(task.id, task.revision + 1, 1, spec, sources))

    async def make_ordered(self, id: str, link: TaskLink, look: Look) -> None:
        """The same for what the node that the task came from has ordered, until it is done or refused."""
        while True:
            try:
                async with self._one:
                    if not await self._take(id, link, look):
                        return
            except (NotFound, Conflict):
                return
            except Unavailable as error:
                log.warning("a revision waits", extra={"task": id, "reason": error.message})
            await self._clock.sleep(AGAIN_S)

    async def _take(self, id: str, link: TaskLink, look: Look) -> bool:
        """Takes one step; whether there is another one."""
        spec = await self._store.ordered(id)
        if spec is None:
            return False
        task, has_next = await self._store.now(id)
        if has_next:
            return True  # the one before it has not begun
        if task.state not in TASK_LIFE.terminal:
            try:
                await self._allow(spec)
                await self._stage(task, spec, task.origin)
            except Rejected as error:
                with suppress(Conflict):
                    await link.keep(task, f"revision {task.revision + 1} was not taken: {error.message}")
                return False
        if (taken := await self._store.take_ordered(id)) is not None:
            look(taken.id)
        return False
