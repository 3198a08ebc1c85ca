"""The plug-in through which several schedulers take turns in one cloud: each query gets a new one, of the kind that is due.

Which one that is, is in a file, by the name that `cloud.scheduler` would take; a cloud need not start anew for each of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.model.video import Constraint, Plan, Result, Runtime
from node.pipeline.video.planner.base import Cautious, Choice, Explaining, Explanation, ResourceInfo, Safe, Scheduler
from node.pipeline.video.planner.delay import ShadowRun
from node.pipeline.video.planner.loading import load_scheduler
from node.pipeline.video.planner.wishes import Curious, Golden, Shadow, Wish

DUE: Final = "ECNODE_BENCH_SCHEDULER_FILE"


class Turns:
    """See the module; what the scheduler of a query cannot do is not done."""

    def __init__(self) -> None:
        self._due = Path(os.environ[DUE])
        self._by_job: dict[str, Scheduler] = {}

    def plan(
        self, job_uid: str, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime, user_constraint: Constraint
    ) -> Choice | None:
        """See `Scheduler`."""
        if job_uid not in self._by_job:
            self._by_job[job_uid] = load_scheduler(self._due.read_text())
        return self._by_job[job_uid].plan(job_uid, dag, resource_info, runtime_info, user_constraint)

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """See `Scheduler`."""
        if job_uid in self._by_job:
            self._by_job[job_uid].observe(job_uid, plan, result)

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """See `Scheduler`."""
        if job_uid in self._by_job:
            self._by_job[job_uid].failed(job_uid, plan, stage)

    def forget(self, job_uid: str) -> None:
        """See `Scheduler`."""
        if (mine := self._by_job.pop(job_uid, None)) is not None:
            mine.forget(job_uid)

    def safe(self, job_uid: str) -> Safe | None:
        """See `Cautious`."""
        mine = self._by_job.get(job_uid)
        return mine.safe(job_uid) if isinstance(mine, Cautious) else None

    def explain(self, job_uid: str) -> Explanation | None:
        """See `Explaining`."""
        mine = self._by_job.get(job_uid)
        return mine.explain(job_uid) if isinstance(mine, Explaining) else None

    def wish(self, job_uid: str) -> Wish | None:
        """See `Curious`."""
        mine = self._by_job.get(job_uid)
        return mine.wish(job_uid) if isinstance(mine, Curious) else None

    def tried(self, job_uid: str, wish: Shadow, run: ShadowRun) -> None:
        """See `Curious`."""
        if isinstance(mine := self._by_job.get(job_uid), Curious):
            mine.tried(job_uid, wish, run)

    def judged(self, job_uid: str, wish: Golden, seen: float, objects: int) -> None:
        """See `Curious`."""
        if isinstance(mine := self._by_job.get(job_uid), Curious):
            mine.judged(job_uid, wish, seen, objects)
