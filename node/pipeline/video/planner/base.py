"""What does a scheduler know, and what must it answer?

A scheduler is a plug-in with the original's signature. It is pure: what it learns, it learns from `observe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from node.model.cluster import ServiceReport
from node.model.decision import Considered
from node.model.video import IN_FLIGHT, Constraint, Placement, Plan, Resolution, Result, Runtime, StageRole, VideoConf

Choice: TypeAlias = tuple[VideoConf, dict[str, Placement]]


class NodeLink(NamedTuple):
    """A link: its round trip, and what the newest probe of it found at the clock's time `probed_at`, 0 where there was none."""

    rtt_s: float
    bytes_s: float = 0.0
    probed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeResource:
    """One node that may run stages.

    `cpu_fraction` is what others than us take of a core, `rtt_s` the round trip between the host edge and it, 0 for the host
    itself; `bytes_s` what the newest probe of the link found, at the clock's time `probed_at`, 0 where there was none. `links`
    are those to other nodes than the host, by their names.
    """

    name: str
    role: StageRole
    workers: int
    cpu_fraction: float
    rtt_s: float
    services: Mapping[str, ServiceReport]
    bytes_s: float = 0.0
    probed_at: float = 0.0
    links: Mapping[str, NodeLink] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """The nodes that the host edge can reach, itself included, and what its camera gives.

    `camera_height` is the rows of its pictures, 0 where unknown: a larger resolution than that finds nothing more. `at` is the
    clock's time of all this, `in_flight` the pictures of a query that are worked on at once, `owner` the host edge where it is
    not among the nodes because its stages must run elsewhere.
    """

    nodes: tuple[NodeResource, ...]
    camera_fps: float
    camera_height: int = 0
    at: float = 0.0
    in_flight: int = IN_FLIGHT
    owner: str = ""

    @property
    def host(self) -> str:
        """The name of the edge that owns the camera; empty where nobody said it."""
        return self.owner or next((node.name for node in self.nodes if node.role is StageRole.HOST), "")

    def resolutions(self) -> tuple[Resolution, ...]:
        """The resolutions worth choosing; the smallest always is."""
        smallest, *larger = Resolution
        limit = self.camera_height or max(resolution.size[1] for resolution in Resolution)
        return (smallest, *(resolution for resolution in larger if resolution.size[1] <= limit))

    def offering(self, service: str) -> tuple[NodeResource, ...]:
        """The nodes that have measured the service."""
        return tuple(node for node in self.nodes if service in node.services and node.services[service].profile)


@dataclass(frozen=True, slots=True)
class Safe:
    """A choice that needs the host alone. It is taken by the edge itself once a frame is away for longer than `after_s`."""

    choice: Choice
    after_s: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a query has the plan that it has: a sentence, what is expected of it and of the one before, the best few."""

    reason: str
    predicted: Considered | None
    before: Considered | None
    best: tuple[Considered, ...]


def can_run(mapping: Mapping[str, Placement], resource_info: ResourceInfo) -> bool:
    """Whether every node of a choice is there and offers its stage."""
    offers = {node.name: node.services for node in resource_info.nodes}
    return all(stage in offers.get(place.node, {}) for stage, place in mapping.items())


@runtime_checkable
class Explaining(Protocol):
    """What a scheduler can do that gives its reasons."""

    def explain(self, job_uid: str) -> Explanation | None:
        """Why the query has the plan that it has; None before the first."""


@runtime_checkable
class Cautious(Protocol):
    """What a scheduler can do that says how an edge gets by on its own."""

    def safe(self, job_uid: str) -> Safe | None:
        """What the host does alone, and when; None where it cannot do everything."""


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
