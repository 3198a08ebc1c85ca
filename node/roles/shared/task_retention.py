"""When is what a task has said forgotten?

The folder of a task that ended longer ago than `storage.keep.logs` is deleted, with the logs of all its attempts. Its record,
its history and its artifacts stay.
"""

from __future__ import annotations

import logging
from typing import Final

from node.clock import Clock
from node.errors import EcnodeError, NotFound
from node.model.task import TASK_LIFE
from node.roles.shared.task_runtime import TaskRuntime
from node.storage.tasks import Tasks

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 600.0  # seconds at most; a short age is looked after ten times in its span


class TaskRetention:
    """Forgets the logs of tasks that are over for `age` seconds."""

    def __init__(self, store: Tasks, runtime: TaskRuntime, clock: Clock, age: float) -> None:
        self._store = store
        self._runtime = runtime
        self._clock = clock
        self._age = age

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                count = await self.look()
                if count:
                    log.info("old logs of tasks deleted", extra={"tasks": count})
            except EcnodeError as error:
                log.warning("old logs of tasks stay for now", extra={"reason": error.message})
            await self._clock.sleep(min(LOOK_EVERY, self._age / 10))

    async def look(self) -> int:
        """Forgets what is old enough now; gives the number of tasks."""
        before, count = self._clock.wall() - self._age, 0
        for id in await self._runtime.kept():
            if await self._is_old(id, before):
                await self._runtime.forget(id)
                count += 1
        return count

    async def _is_old(self, id: str, before: float) -> bool:
        try:
            task = await self._store.get(id)
        except NotFound:
            return False  # of a database that was put back: it is not known when it ended
        return task.state in TASK_LIFE.terminal and (task.ended_at or task.updated_at) < before
