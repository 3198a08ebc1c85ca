"""What does a scheduler know, and what must it answer?

A scheduler is a plug-in with the original's signature. It is pure: what it learns, it learns from `observe`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, runtime_checkable

from node.errors import ConfigInvalid, Problem
from node.model.cluster import ServiceReport
from node.model.video import Constraint, Placement, Plan, Resolution, Result, Runtime, StageRole, VideoConf

Choice: TypeAlias = tuple[VideoConf, dict[str, Placement]]


@dataclass(frozen=True, slots=True)
class NodeResource:
    """One node that may run stages. `rtt_s` is the round trip between the host edge and it, 0 for the host itself."""

    name: str
    role: StageRole
    workers: int
    cpu_fraction: float
    rtt_s: float
    services: Mapping[str, ServiceReport]


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """The nodes that the host edge can reach, itself included, and what its camera gives.

    `camera_height` is the rows of its pictures, 0 where unknown: a larger resolution than that finds nothing more.
    """

    nodes: tuple[NodeResource, ...]
    camera_fps: float
    camera_height: int = 0

    def resolutions(self) -> tuple[Resolution, ...]:
        """The resolutions worth choosing; the smallest always is."""
        smallest, *larger = Resolution
        limit = self.camera_height or max(resolution.size[1] for resolution in Resolution)
        return (smallest, *(resolution for resolution in larger if resolution.size[1] <= limit))

    def offering(self, service: str) -> tuple[NodeResource, ...]:
        """The nodes that have measured the service."""
        return tuple(node for node in self.nodes if service in node.services and node.services[service].profile)


@runtime_checkable
class Scheduler(Protocol):
    """Chooses video configuration and placement for one query at a time."""

    def plan(
        self,
        job_uid: str,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        user_constraint: Constraint,
    ) -> Choice | None:
        """The choice for the query from now on; None while no reachable node offers one of the stages."""

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """Takes one result of the query, under the plan that it was made with, into account."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """A frame was lost in that stage under the plan: its node did not answer, or not in time."""

    def forget(self, job_uid: str) -> None:
        """The query is over."""


_BUILT_IN: Final = {
    "fixed": "node.pipeline.video.planner.fixed:Fixed",
    "ewma": "node.pipeline.video.planner.ewma:Ewma",
}


def load_scheduler(name: str) -> Scheduler:
    """The built-in scheduler of that name, or the class at `package.module:Class`.

    Raises:
        ConfigInvalid: neither exists.
    """
    module, _, attribute = _BUILT_IN.get(name, name).partition(":")
    try:
        made: object = getattr(importlib.import_module(module), attribute)()
        if not isinstance(made, Scheduler):
            raise ValueError("it lacks one of plan, observe, failed, forget")
    except (ImportError, AttributeError, ValueError) as error:
        problem = Problem("cloud.scheduler", f"no scheduler '{name}': {error}")
        hint = f"one of {', '.join(_BUILT_IN)}, or package.module:Class"
        raise ConfigInvalid(f"cloud.scheduler: no scheduler '{name}'", problems=[problem], hint=hint) from error
    return made
