"""A controller of tasks over a real store, real files and real processes, and the lives of its node."""

from __future__ import annotations

import asyncio
from pathlib import Path

from node.clock import SystemClock
from node.model.process import SandboxLevel
from node.model.task import TASK_LIFE, Task, TaskRequest
from node.roles.shared.runner.probe import Ladder
from node.roles.shared.runner.runner import Runner
from node.roles.shared.task_controller import TaskController
from node.roles.shared.task_policy import Rules
from node.roles.shared.task_runtime import Bounds, TaskRuntime
from node.roles.shared.tasks import end
from node.storage import Store, open_store
from node.storage.blobs import FolderBlobs

CLOCK = SystemClock()
WAIT = 30.0


class Desk:
    """One node's tasks; `die` ends it as a kill does, `live` begins its next life."""

    def __init__(self, root: Path, rules: Rules) -> None:
        self.root = root
        self.rules = rules

    async def live(self, *, drive: bool = True) -> Desk:
        self.store: Store = await open_store("sqlite:///node.db", self.root, CLOCK)
        self.blobs = FolderBlobs(self.root / "objects", CLOCK)
        await self.blobs.start()
        self.runner = Runner(CLOCK)
        self.runtime = TaskRuntime(self.runner, self.blobs, self.root / "tasks", CLOCK, Bounds())
        self.runtime._ladder = Ladder(SandboxLevel.L1, {})  # the ladder has tests of its own
        self.controller = TaskController(self.store.tasks, self.runtime, CLOCK, self.rules)
        self._loop = asyncio.create_task(self.controller.run()) if drive else None
        await CLOCK.sleep(0)
        return self

    async def die(self) -> None:
        await end(self._loop)
        await self.runner.stop()
        await self.blobs.close()
        await self.store.close()

    async def submit(self, script: str, **changes: object) -> Task:
        task, _ = await self.controller.submit(TaskRequest.model_validate({"script": script, **changes}))
        return task

    async def until(self, id: str, *states: str) -> Task:
        """The task once it is in one of the states, by default a final one."""
        wanted = set(states) or {state.value for state in TASK_LIFE.terminal}
        async with CLOCK.timeout(WAIT):
            while (task := await self.store.tasks.get(id)).state not in wanted:
                await CLOCK.sleep(0.005)
        return task

    async def said(self, id: str, text: str) -> None:
        """Returns once the newest attempt's log holds a text."""
        async with CLOCK.timeout(WAIT):
            while text not in await self.log(id):
                await CLOCK.sleep(0.005)

    async def log(self, id: str) -> str:
        return (await self.controller.log_part(id, 0)).content.decode()
