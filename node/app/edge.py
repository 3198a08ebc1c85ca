"""What is the role edge made of?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Self

from node.app.ground import Ground
from node.app.part import Gauge, Loops, Part, nothing
from node.config import SourceConfig
from node.roles.edge.credit import FrameCredit
from node.roles.edge.job import Bench
from node.roles.edge.job_manager import JobManager
from node.roles.edge.source_reader import SourceReader
from node.roles.edge.sources import KEPT_FILE, Rules, Sources
from node.roles.edge.stage_runner import StageRunner
from node.roles.edge.trials import Trials
from node.roles.shared.link_meter import LinkMeter


@dataclass(frozen=True, slots=True)
class EdgeParts:
    """This node's cameras, and the jobs on them."""

    sources: Sources
    jobs: JobManager
    credit: FrameCredit
    meter: LinkMeter

    @classmethod
    def make(cls, ground: Ground) -> Self:
        """Puts the role together; nothing of it runs yet."""
        config, credit = ground.config, FrameCredit()
        runner = StageRunner(config.node.name, ground.compute, ground.transport, ground.clock, credit, meter=ground.meter)
        runner.register()
        trials = Trials(config.node.name, ground.compute, ground.transport, ground.clock)
        bench = Bench(runner, ground.compute, ground.delivery, ground.clock, trials, ground.registry.hears)
        make = partial(_reader, ground)
        kept = config.node.data_dir / KEPT_FILE
        rules = Rules(config.edge.source_hosts, config.edge.source_folders, kept)
        sources = Sources(config.edge.sources, make, ground.clock, rules)
        jobs = JobManager(sources, bench)
        jobs.register(ground.transport)
        ground.registry.when_changed(jobs.node_changed)
        return cls(sources, jobs, credit, ground.meter)

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`."""
        return (
            loops.part("links", self.meter.run),
            Part("sources", self.sources.recall, self.sources.stop),
            Part("jobs", nothing, self.jobs.stop),
        )

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


def _reader(ground: Ground, name: str, config: SourceConfig) -> SourceReader:
    return SourceReader(name, config, ground.spawner, ground.arena, ground.clock)
