"""The scheduler that chooses once, by the knowledge base alone.

The original's cold start, with its arithmetic put right: every placement is looked at, a plan that holds the limit is never
replaced by one that breaks it, and the prediction is the figure that will be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.model.video import Constraint, Plan, Result, Runtime
from node.pipeline.stage import SERVICES, ServiceSpec
from node.pipeline.video.planner.accuracy import Curves
from node.pipeline.video.planner.base import Choice, ResourceInfo, can_run
from node.pipeline.video.planner.robust import Robust


class ColdStart:
    """See the module."""

    def __init__(self, services: Mapping[str, ServiceSpec] = SERVICES, curves: Curves | None = None) -> None:
        self._book = Robust(services, curves, telemetry=False, curious=False)  # which never hears how it went
        self._chosen: dict[str, tuple[Constraint, Choice]] = {}

    def plan(
        self,
        job_uid: str,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        user_constraint: Constraint,
    ) -> Choice | None:
        """See `Scheduler`; anew only for a changed constraint, or where a node of the choice is gone."""
        constraint, choice = self._chosen.get(job_uid, (None, None))
        if choice is not None and constraint == user_constraint and can_run(choice[1], resource_info):
            return choice
        choice = self._book.plan(job_uid, dag, resource_info, runtime_info, user_constraint)
        if choice is not None:
            self._chosen[job_uid] = user_constraint, choice
        return choice

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """Nothing to learn."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """Nothing to learn."""

    def forget(self, job_uid: str) -> None:
        """See `Scheduler`."""
        self._chosen.pop(job_uid, None)
        self._book.forget(job_uid)
