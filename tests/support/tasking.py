"""A controller of tasks over a real store, real files and real processes, and the lives of its node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from node.clock import SystemClock
from node.model.process import SandboxLevel
from node.model.task import TASK_LIFE, Task, TaskRequest, TaskSpec, TaskState
from node.model.value import new_id
from node.roles.shared.runner.probe import Ladder
from node.roles.shared.runner.runner import Runner
from node.roles.shared.task_controller import TaskController
from node.roles.shared.task_environments import Packages
from node.roles.shared.task_link import TaskLink
from node.roles.shared.task_policy import Rules
from node.roles.shared.task_runtime import Bounds, TaskRuntime
from node.roles.shared.tasks import end
from node.storage import Store, open_store
from node.storage.blobs import FolderBlobs

CLOCK = SystemClock()
WAIT = 30.0


class Told:
    """What an edge tells the cloud that its tasks came from, which is not there."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.reports: list[tuple[str, int, str]] = []

    async def report(self, event: str, task: Task) -> None:
        self.reports.append((event, task.revision, task.reason))

    async def keep(self, task: Task, reason: str) -> None:
        assert self.store is not None
        await self.store._database.write(self.store.tasks.dropping(task.id))
        await self.report("keep", task.replace(reason=reason))


class Desk:
    """One node's tasks; `die` ends it as a kill does, `live` begins its next life. With `told` they come from a cloud."""

    def __init__(self, root: Path, rules: Rules, told: Told | None = None) -> None:
        self.root = root
        self.rules = rules
        self.told = told
        self.packages = Packages()

    async def live(self, *, drive: bool = True) -> Desk:
        self.store: Store = await open_store("sqlite:///node.db", self.root, CLOCK)
        self.blobs = FolderBlobs(self.root / "objects", CLOCK)
        await self.blobs.start()
        self.runner = Runner(CLOCK)
        self.runtime = TaskRuntime(self.runner, self.blobs, self.root / "tasks", CLOCK, Bounds(packages=self.packages))
        self.runtime._ladder = Ladder(SandboxLevel.L1, {})  # the ladder has tests of its own
        link = cast("TaskLink | None", self.told)
        if self.told is not None:
            self.told.store = self.store
        self.controller = TaskController(self.store.tasks, self.runtime, CLOCK, self.rules, link)
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

    async def order(self, script: str) -> Task:
        """A task from the cloud."""
        request = TaskRequest(id=new_id("t", CLOCK.wall()), script=script, node=self.rules.name)
        task = Task(
            id=str(request.id),
            state=TaskState.CREATED,
            node=self.rules.name,
            origin="cloud-1",
            created_at=CLOCK.wall(),
            updated_at=CLOCK.wall(),
        )
        await self.store._database.write(self.store.tasks.creation(task, request))
        self.controller.look(task.id)
        return task

    async def order_revision(self, id: str, spec: TaskSpec) -> None:
        """What the cloud's order leaves in the store."""
        await self.store._database.write(self.store.tasks.ordering(id, "cloud-1", 2, spec))

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
