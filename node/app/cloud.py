"""What is the role cloud made of?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from node.app.ground import Ground
from node.app.part import Gauge, Loops, Part
from node.model.plot import PLOT_LIFE, PlotState
from node.pipeline.video.planner.loading import load_scheduler
from node.roles.cloud.admission import Admission, Policy
from node.roles.cloud.membership import Membership
from node.roles.cloud.overlord import Overlord
from node.roles.cloud.query_manager import QueryManager
from node.roles.cloud.retention import Retention
from node.roles.cloud.rosters import Rosters
from node.roles.cloud.scheduler import QueryScheduler
from node.roles.cloud.succession import Succession


@dataclass(frozen=True, slots=True)
class CloudParts:
    """Queries with their scheduler, plots, and the members with their rosters."""

    queries: QueryManager
    overlord: Overlord
    scheduler: QueryScheduler
    membership: Membership
    rosters: Rosters
    retention: Retention

    @classmethod
    async def make(cls, ground: Ground) -> Self:
        """Puts the role together; nothing of it runs yet."""
        config, clock, directory = ground.config, ground.clock, ground.peers.directory
        policy = Policy(config.node.name, ground.identity.public, ground.roles, config.transport.admit, ground.peers.admitted)
        admission = Admission(policy, directory, clock)
        rosters = Rosters(admission, ground.registry, ground.transport, clock, ground.boot)
        succession = Succession(config.identity_file, rosters)
        membership = Membership(admission, ground.store.members, directory, clock, succession, ground.delivery.drop)
        membership.register(ground.transport)
        await membership.load()
        queries = QueryManager(
            store=ground.store,
            registry=ground.registry,
            transport=ground.transport,
            delivery=ground.delivery,
            clock=clock,
            members=directory,
        )
        queries.register()
        scheduler = QueryScheduler(
            manager=queries,
            planner=load_scheduler(config.cloud.scheduler),
            store=ground.store,
            registry=ground.registry,
            transport=ground.transport,
            clock=clock,
            tick=config.cloud.tick,
            dead_after=config.transport.dead_after,
            drained=membership.drained,
        )
        retention = Retention(ground.store.queries, clock, config.storage.keep.results)
        overlord = Overlord(
            orders=ground.store.orders,
            registry=ground.registry,
            transport=ground.transport,
            delivery=ground.delivery,
            clock=clock,
            members=directory,
            drained=membership.drained,
        )
        overlord.register()
        return cls(queries, overlord, scheduler, membership, rosters, retention)

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`."""
        return (
            loops.part("scheduler", self.scheduler.run),
            Part("orders", self.overlord.load, self.overlord.close),
            loops.part("overlord", self.overlord.run),
            loops.part("membership", self.membership.run),
            loops.part("rosters", self.rosters.run),
            loops.part("retention", self.retention.run),
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """As `Assembled.gauges`."""
        under_way = tuple(state for state in PlotState if state not in PLOT_LIFE.terminal)
        return (
            ("plots_ordered", "Plots ordered here that are not over.", lambda: self.overlord.count(*under_way)),
            ("plots_unplaced", "Plots that wait for a talent to take them.", lambda: self.overlord.unplaced),
        )
