"""What is the role edge made of?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from node.app.ground import Ground
from node.app.part import Gauge, Loops, Part, nothing
from node.roles.edge.credit import FrameCredit
from node.roles.edge.job import Bench
from node.roles.edge.job_manager import JobManager
from node.roles.edge.stage_runner import StageRunner
from node.roles.edge.trials import Trials


@dataclass(frozen=True, slots=True)
class EdgeParts:
    """The jobs on this node's cameras."""

    jobs: JobManager
    credit: FrameCredit

    @classmethod
    def make(cls, ground: Ground) -> Self:
        """Puts the role together; nothing of it runs yet."""
        config, credit = ground.config, FrameCredit()
        runner = StageRunner(config.node.name, ground.compute, ground.transport, ground.clock, credit)
        trials = Trials(config.node.name, ground.compute, ground.transport, ground.clock)
        bench = Bench(runner, ground.compute, ground.delivery, ground.clock, trials, ground.registry.hears)
        jobs = JobManager(config.edge.sources, bench, ground.spawner, ground.arena)
        jobs.register(ground.transport)
        return cls(jobs, credit)

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`."""
        return (Part("jobs", nothing, self.jobs.stop),)

    def gauges(self) -> tuple[Gauge, ...]:
        """As `Assembled.gauges`."""
        return (
            ("jobs", "Jobs that run on this edge.", lambda: len(self.jobs.jobs())),
            (
                "frames_superseded",
                "Pictures that gave way to newer ones before a slow peer.",
                lambda: self.credit.superseded,
            ),
        )
