"""What are the tasks of a node made of?"""

from __future__ import annotations

from typing import Final

from node.app.ground import Ground
from node.config.schema import TasksConfig
from node.model.process import Limits, SandboxLevel
from node.roles.cloud.task_controller import Rules, TaskController
from node.roles.shared.task_runtime import Bounds, TaskRuntime

FOLDER: Final = "tasks"


def task_runtime(ground: Ground) -> TaskRuntime:
    """What runs attempts on this machine."""
    config = ground.config
    bounds = Bounds(_limits(config.tasks), SandboxLevel(config.tasks.sandbox), config.tasks.network)
    return TaskRuntime(ground.runner, ground.objects, config.node.data_dir / FOLDER, ground.clock, bounds)


def task_controller(ground: Ground) -> TaskController:
    """What drives the tasks of a cloud."""
    config = ground.config
    rules = Rules(config.node.name, config.tasks.allow, frozenset(config.tasks.digests), config.tasks.at_once)
    return TaskController(ground.store.tasks, task_runtime(ground), ground.clock, rules)


def _limits(config: TasksConfig) -> Limits:
    return Limits(
        cpu_s=config.cpu,
        wall_s=config.wall,
        memory_bytes=config.memory,
        processes=config.processes,
        output_bytes=config.output,
        disk_bytes=config.disk,
    )
