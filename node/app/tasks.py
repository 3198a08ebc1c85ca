"""What are the tasks of a node made of, be it a cloud, an edge or both?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from node.app.ground import Ground
from node.app.part import Gauge, Loops, Part
from node.config.schema import TasksConfig
from node.model.cluster import NodeState, Role
from node.model.process import Limits, SandboxLevel
from node.roles.shared.task_controller import TaskController
from node.roles.shared.task_environments import Packages
from node.roles.shared.task_git import GitRules, GitSources
from node.roles.shared.task_link import TaskLink
from node.roles.shared.task_policy import Circle, Rules
from node.roles.shared.task_retention import TaskRetention
from node.roles.shared.task_runtime import Bounds, TaskRuntime

FOLDER: Final = "tasks"
GIT_FOLDER: Final = "git"
FETCH_S: Final = 600.0  # for one blob; what came in until then stays, and the next try goes on


@dataclass(frozen=True, slots=True)
class TaskParts:
    """What drives tasks, and what is said of them to other nodes."""

    controller: TaskController
    retention: TaskRetention

    @classmethod
    def make(cls, ground: Ground) -> Self:
        """Puts it together; nothing of it runs yet."""
        config, clock = ground.config, ground.clock
        tasks = config.tasks

        async def fetch(blob: str, sources: Sequence[str]) -> object:
            linked = {link.peer.name for link in ground.transport.links()}  # others would be asked over the cloud: no gain
            near = [source for source in sources[:-1] if source in linked]
            return await ground.blobs.fetch(blob, (*near, sources[-1]), deadline=clock.monotonic() + FETCH_S)

        def edges() -> frozenset[str]:
            return frozenset(view.report.name for view in ground.registry.views() if Role.EDGE in view.report.roles)

        def is_silent(name: str) -> bool:
            return ground.registry.state(name) is not NodeState.READY

        packages = Packages(tasks.packages, tasks.index)
        bounds = Bounds(_limits(tasks), SandboxLevel(tasks.sandbox), tasks.network, packages, tasks.own)
        runtime = TaskRuntime(ground.runner, ground.objects, config.node.data_dir / FOLDER, clock, bounds, fetch)
        link = TaskLink(config.node.name, ground.store.tasks, ground.transport, ground.delivery, clock)
        circle = Circle(edges, ground.registry.silent_for, is_silent)
        rules = Rules(config.node.name, tasks.allow, frozenset(tasks.digests), tasks.signers, tasks.at_once, circle)
        places = GitRules(tasks.git_hosts, tasks.git_folders)
        git = GitSources(ground.runner, ground.objects, config.node.data_dir / GIT_FOLDER, places, runtime.ladder)
        controller = TaskController(ground.store.tasks, runtime, clock, rules, link, git)
        link.register(ground.roles, runtime, controller)
        return cls(controller, TaskRetention(ground.store.tasks, runtime, clock, config.storage.keep.logs))

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`."""
        return (loops.part("tasks", self.controller.run), loops.part("logs of tasks", self.retention.run))

    def gauges(self) -> tuple[Gauge, ...]:
        """As `Assembled.gauges`."""
        return (("tasks_running", "Programs of tasks that run on this node.", lambda: self.controller.running),)


def _limits(config: TasksConfig) -> Limits:
    return Limits(
        cpu_s=config.cpu,
        wall_s=config.wall,
        memory_bytes=config.memory,
        processes=config.processes,
        output_bytes=config.output,
        disk_bytes=config.disk,
    )
