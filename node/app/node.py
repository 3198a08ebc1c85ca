"""What is a node made of, and in which order does it start and stop?

The composition root: the only place that knows every part. `Node.run` starts them in the order of `_parts` and stops them in
the reverse of it, each within a deadline; a loop that dies stops the node loudly.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from node import __version__, assets, datadir, failpoints, journal, rundir
from node.api.ports import Ports
from node.api.server import HttpServer
from node.app.cloud import CloudParts
from node.app.ground import Ground
from node.app.part import Assembled, Gauge, Loops, Part
from node.app.peers import TransportFactory, curve_transport
from node.app.tasks import TaskParts
from node.clock import Clock
from node.config import NodeConfig
from node.model.cluster import LINKS_MOST, LinkReport, NodeReport, NodeState, NodeView, Role
from node.model.member import can_be_dialled
from node.roles.shared.calibration import calibrate
from node.roles.shared.known_keys import StoredKeys
from node.roles.shared.leases import Leases
from node.roles.shared.neighbours import Neighbours
from node.roles.shared.news import NodeNews, PlotNews, QueryNews, TaskNews
from node.roles.shared.processes import Spawner
from node.roles.shared.reporter import Machine, Reporter
from node.roles.shared.service_desk import ServiceDesk
from node.roles.shared.tasks import begin, end
from node.transport.base import LinkState

if TYPE_CHECKING:
    from node.app.edge import EdgeParts
    from node.app.federated import FederatedParts
    from node.app.talent import TalentParts

log = logging.getLogger(__name__)

STOP_S: Final = 2.5  # for one part; together they stay below the five seconds that TERM may take


@dataclass(frozen=True, slots=True)
class Opened:
    """What a node says of itself once it is open."""

    name: str
    fingerprint: str
    public_key: str
    roles: tuple[str, ...]
    endpoints: tuple[str, ...]
    admit: str
    urls: tuple[str, ...]


class Node:
    """One node, made from its config. It is run once."""

    def __init__(
        self,
        config: NodeConfig,
        clock: Clock,
        spawner: Spawner,
        *,
        make_transport: TransportFactory | None = None,
        dev: bool = False,
    ) -> None:
        self.config = config
        self._clock = clock
        self._spawner = spawner
        self._make_transport = make_transport or curve_transport
        self._dev = dev
        self._metrics = journal.Metrics()
        self._loops = Loops()
        self._held = AsyncExitStack()

    async def run(self, stop: asyncio.Event, opened: Callable[[Opened], None]) -> None:
        """Starts every part, tells `opened`, waits for `stop` or for a loop to die, stops every part.

        Raises:
            Rejected, Unavailable: a part could not start.
            Exception: what a loop died of.
        """
        async with self._held:
            await self._build()
            for part in self._parts():
                await part.start()
                self._held.push_async_callback(self._stop_part, part)
            opened(self._opened())
            await self._loops.until(stop)

    def _parts(self) -> tuple[Part, ...]:
        """The start order; the stop order is its reverse."""
        return (
            *self._ground.parts(self._loops),
            *(self._edge.parts(self._loops) if self._edge else ()),
            *(self._talent.parts(self._loops) if self._talent else ()),
            self._loops.part("reporter", self._reporter.run),
            Part("calibration", self._start_calibration, self._stop_calibration),
            *(self._cloud.parts(self._loops) if self._cloud else ()),
            *(self._federated.parts(self._loops) if self._federated else ()),
            *(self._tasks.parts(self._loops) if self._tasks else ()),
            self._loops.part("news", self._news.run),
            Part("http", self._http.start, self._http.stop),
            Part("run file", self._announce, self._forget),
        )

    async def _build(self) -> None:
        """Makes every part."""
        config, clock = self.config, self._clock
        if self._dev:
            failpoints.arm(os.environ.get(failpoints.ENVIRONMENT, ""))
        self._machine = Machine(clock)
        self._ground = ground = await Ground.open(
            config,
            clock,
            self._spawner,
            make_transport=self._make_transport,
            report=self._report,
            cores=self._machine.cores,
            held=self._held,
        )
        ground.store.queries.watch(QueryNews(ground.bus))
        ground.store.orders.watch(PlotNews(ground.bus))
        ground.store.tasks.watch(TaskNews(ground.bus))
        self._news = NodeNews(ground.bus, ground.registry, clock)
        self._leases = Leases(clock)
        self._reporter = Reporter(self._report, ground.transport, clock, config.transport.heartbeat, self._leases)
        self._edge = _make_edge(ground) if Role.EDGE in ground.roles else None
        self._federated = _make_federated(ground) if Role.FEDERATED in ground.roles else None
        runs_tasks = not {Role.CLOUD, Role.EDGE}.isdisjoint(ground.roles)
        self._tasks = TaskParts.make(ground) if runs_tasks else None
        self._talent = await _make_talent(ground) if Role.TALENT in ground.roles else None
        self._cloud: CloudParts | None = None
        if Role.CLOUD in ground.roles:
            self._cloud = await CloudParts.make(ground)
        else:
            await self._meet_neighbours()
        for name, text, read in self._gauges():
            self._metrics.gauge(name, text).set_function(read)
        token = datadir.token(config.node.data_dir)
        self._http = HttpServer(config.http, token, self._ports(), clock, self._metrics)

    def _ports(self) -> Ports:
        ground, cloud, federated = self._ground, self._cloud, self._federated
        return Ports(
            queries=cloud.queries if cloud else None,
            nodes=self,
            health=self,
            services=ServiceDesk(ground.compute, self.config.node.assets_dir, self._clock),
            sources=self._edge.sources if self._edge else None,
            aliases=ground.store.aliases,
            tokens=ground.store.tokens,
            answers=ground.store.answers,
            events=ground.bus,
            blobs=ground.blobs,
            members=cloud.membership if cloud else None,
            tasks=self._tasks.controller if cloud and self._tasks else None,
            uploads=ground.store.uploads,
            sessions=federated.coordinator if federated else None,
            datasets=federated.datasets if federated else None,
            plots=cloud.overlord if cloud else None,
            console=federated.console if federated else None,
            console_prefix=self.config.federated.console.prefix,
        )

    def _gauges(self) -> tuple[Gauge, ...]:
        roles = (self._edge, self._talent, self._cloud, self._tasks, self._federated)
        assembled: tuple[Assembled | None, ...] = (self._ground, *roles)
        return (
            ("peers_ready", "Peers whose reports come in time.", self._peers_ready),
            ("links", "Live links to peers.", lambda: len(self._links())),
            ("leases_run_out", "Clouds that this node may not act for until it hears them again.", self._leases.run_out),
            *(gauge for role in assembled if role is not None for gauge in role.gauges()),
        )

    def _peers_ready(self) -> int:
        registry, own = self._ground.registry, self.config.node.name  # a node reports to itself as well
        return sum(registry.state(report.name) is NodeState.READY for report in registry.reports() if report.name != own)

    async def _meet_neighbours(self) -> None:
        ground = self._ground
        peers, keys = ground.peers, StoredKeys(ground.store.members, self._clock)
        await keys.recall(peers.directory)
        neighbours = Neighbours(self.config.node.name, self.public_key, peers.admitted, peers.directory, keys)
        neighbours.register(ground.transport, ground.transport, lambda: self._address)

    # What the front door asks of a node (api.ports: Nodes and Health)

    @property
    def fingerprint(self) -> str:
        """The short form of this node's key, for people."""
        return self._ground.identity.fingerprint

    @property
    def public_key(self) -> str:
        """This node's public key in Z85."""
        return self._ground.identity.public

    def here(self) -> NodeReport:
        """This node's own report."""
        return self._report()

    def views(self) -> tuple[NodeView, ...]:
        """The peers, and this node itself."""
        drained = self._cloud.membership.drained() if self._cloud else frozenset()
        views = self._ground.registry.views()
        return tuple(view.replace(drained=True) if view.report.name in drained else view for view in views)

    def problems(self) -> Mapping[str, str | None]:
        """Every component with what keeps it from being ready, None where nothing does."""
        ground = self._ground
        linked = {link.peer.name for link in ground.transport.links()}
        knocked = {door.public for door in ground.peers.dials}
        dialled = {peer.name for public, peer in ground.peers.admitted if public in knocked}
        excuse = ground.transport.excuse
        away = [f"{name} ({why})" if (why := excuse(name)) else name for name in sorted(dialled - linked)]
        missing = assets.missing(self.config.node.assets_dir)
        dead = self._loops.ended()
        return {
            "store": ground.store.healthy(),
            "transport": ground.transport.healthy(),
            "delivery": ground.delivery.healthy(),
            "peers": f"no link to {', '.join(away)} yet" if away else None,
            "assets": f"missing: {', '.join(missing)}; run `ecnode assets fetch`" if missing else None,
            "loops": f"ended: {', '.join(dead)}" if dead else None,
        }

    @property
    def _address(self) -> str:
        """Where other members may dial this node; empty where they cannot."""
        advertised = self.config.transport.advertise
        named = (endpoint for endpoint in self._ground.transport.endpoints if can_be_dialled(endpoint))
        return advertised or next(named, "")

    def _links(self) -> list[LinkState]:
        """The links to other nodes."""
        return [link for link in self._ground.transport.links() if link.peer.name != self.config.node.name]

    def _link(self, link: LinkState) -> LinkReport:
        width = self._ground.meter.width(link.peer.name)
        return LinkReport(
            peer=link.peer.name,
            rtt_ms=link.rtt_s * 1000,
            bytes_out=link.bytes_out,
            bytes_in=link.bytes_in,
            bytes_s=width.bytes_s if width else 0.0,
            measured_s=max(self._clock.monotonic() - width.at, 0.0) if width else 0.0,
        )

    def _report(self) -> NodeReport:
        ground, edge = self._ground, self._edge
        return NodeReport(
            name=self.config.node.name,
            roles=ground.roles,
            labels=self.config.node.labels,
            version=__version__,
            boot=ground.boot,
            http=self._http.urls[0] if self._http.urls else "",
            address=self._address,
            cores=self._machine.cores,
            workers=ground.compute.workers,
            queued=ground.compute.queued,
            services=ground.compute.reports(),
            sources=edge.sources.reports() if edge else (),
            jobs=edge.jobs.jobs() if edge else (),
            offload=self.config.edge.offload,
            talent=self._talent.worker.report() if self._talent else None,
            links=tuple(self._link(link) for link in self._links()[:LINKS_MOST]),
            **self._machine.figures(),
        )

    # Life

    async def _start_calibration(self) -> None:
        measuring = calibrate(self._ground.compute, self.config.node.assets_dir, self._clock)
        self._calibration = begin(measuring, "calibration")

    async def _stop_calibration(self) -> None:
        await end(self._calibration)

    async def _stop_part(self, part: Part) -> None:
        try:
            async with self._clock.timeout(STOP_S):
                await part.stop()
        except TimeoutError:
            log.error("a part did not stop in time", extra={"part": part.name, "seconds": STOP_S})

    def _opened(self) -> Opened:
        return Opened(
            self.config.node.name,
            self.fingerprint,
            self.public_key,
            tuple(self._ground.roles),
            self._ground.transport.endpoints,
            self.config.transport.admit if self._cloud else "roster",
            self._http.urls,
        )

    async def _announce(self) -> None:
        data_dir = self.config.node.data_dir
        rundir.announce(
            rundir.Running(
                name=self.config.node.name,
                roles=tuple(self._ground.roles),
                url=self._http.urls[0],
                token_file=str(data_dir / datadir.TOKEN_FILE),
                data_dir=str(data_dir),
                pid=os.getpid(),
                started=self._clock.wall(),
            )
        )

    async def _forget(self) -> None:
        rundir.forget(self.config.node.name, os.getpid())


# Imported when the role is there: what a node does not do costs it no memory. All of them cost a cloud 9 MiB, of which the
# signatures of sessions are seven.


def _make_edge(ground: Ground) -> EdgeParts:
    from node.app.edge import EdgeParts

    return EdgeParts.make(ground)


def _make_federated(ground: Ground) -> FederatedParts:
    from node.app.federated import FederatedParts

    return FederatedParts.make(ground)


async def _make_talent(ground: Ground) -> TalentParts:
    from node.app.talent import TalentParts

    return await TalentParts.make(ground)
