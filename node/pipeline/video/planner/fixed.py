"""The scheduler that never changes its mind: 480p, 10 frames per second, every stage as near to the camera as offered."""

from __future__ import annotations

from collections.abc import Sequence

from node.model.video import Constraint, Placement, Plan, Resolution, Result, Runtime, VideoConf
from node.pipeline.video.planner.base import Choice, ResourceInfo


class Fixed:
    """See the module."""

    def plan(
        self,
        job_uid: str,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        user_constraint: Constraint,
    ) -> Choice | None:
        mapping = {}
        for stage in dag:
            offering = resource_info.offering(stage)
            if not offering:
                return None
            nearest = min(offering, key=lambda node: node.rtt_s)
            mapping[stage] = Placement(node=nearest.name, role=nearest.role)
        resolution = min(resource_info.resolutions()[-1], Resolution.P480, key=lambda choice: choice.size[1])
        return VideoConf(fps=10, resolution=resolution), mapping

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """Nothing to learn."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """Nothing to learn."""

    def forget(self, job_uid: str) -> None:
        """Nothing to forget."""
