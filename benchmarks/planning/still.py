"""The schedulers that never look: everything on the host, or everything in the cloud, with one configuration for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.model.video import Constraint, Fps, Placement, Plan, Resolution, Result, Runtime, StageRole, VideoConf
from node.pipeline.video.planner.base import Choice, ResourceInfo


class Still:
    """A plan for good, everything on the first node of a role."""

    def __init__(self, fps: Fps, resolution: Resolution, role: StageRole) -> None:
        self._conf = VideoConf(fps=fps, resolution=resolution)
        self._role = role

    def plan(
        self, job_uid: str, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime, user_constraint: Constraint
    ) -> Choice | None:
        """See `Scheduler`."""
        nodes = [node for node in resource_info.nodes if node.role is self._role]
        if not nodes or not set(dag) <= nodes[0].services.keys():
            return None
        return self._conf, dict.fromkeys(dag, Placement(node=nodes[0].name, role=self._role))

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """Nothing is learned."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """Nothing is learned."""

    def forget(self, job_uid: str) -> None:
        """Nothing is kept."""


EDGE_ONLY: Final = Still(10, Resolution.P480, StageRole.HOST)
CLOUD_ONLY: Final = Still(10, Resolution.P720, StageRole.CLOUD)
