"""What is a node made of, and in which order does it start and stop?

The composition root: the only place that knows every part. `Node.run` starts them in the order of `_parts` and stops them in
the reverse of it, each within a deadline; a loop that dies stops the node loudly.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from node import __version__, assets, datadir, failpoints, journal, rundir
from node.api.ports import Ports
from node.api.server import HttpServer
from node.clock import Clock
from node.config import NodeConfig
from node.model.cluster import LinkReport, NodeReport, NodeState, NodeView, Role
from node.model.member import Member, can_be_dialled
from node.pipeline.video.planner.base import load_scheduler
from node.roles.cloud.admission import Admission, Policy
from node.roles.cloud.membership import Membership
from node.roles.cloud.query_manager import QueryManager
from node.roles.cloud.rosters import Rosters
from node.roles.cloud.scheduler import QueryScheduler
from node.roles.cloud.succession import Succession
from node.roles.edge.credit import FrameCredit
from node.roles.edge.job import Bench
from node.roles.edge.job_manager import JobManager
from node.roles.edge.stage_runner import StageRunner
from node.roles.shared.arena import FrameArena
from node.roles.shared.blobs import BlobService
from node.roles.shared.calibration import calibrate
from node.roles.shared.compute_service import ComputeService
from node.roles.shared.delivery import Delivery
from node.roles.shared.events import EventBus
from node.roles.shared.known_keys import StoredKeys
from node.roles.shared.leases import Leases
from node.roles.shared.neighbours import Neighbours
from node.roles.shared.news import NodeNews, QueryNews
from node.roles.shared.processes import Spawner
from node.roles.shared.registry import Registry
from node.roles.shared.reporter import Machine, Reporter
from node.roles.shared.tasks import begin, end
from node.storage import open_store
from node.storage.blobs import FolderBlobs
from node.transport.auth import Directory
from node.transport.base import Dialler, LinkState, Peer, Transport
from node.transport.keys import Identity, fingerprint, load_or_create
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

log = logging.getLogger(__name__)

STOP_S: Final = 2.5  # for one part; together they stay below the five seconds that TERM may take


class OpenTransport(Transport, Dialler, Protocol):
    """A transport that can say where it listens and what ails it, and be told to dial."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses that are really bound."""

    def healthy(self) -> str | None:
        """A sentence when the door is not as it should be."""

    def excuse(self, peer: str) -> str:
        """Why there is no link to a peer, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Whom a node knows when it starts: who is admitted, by key, and where it knocks."""

    admitted: tuple[tuple[str, Peer], ...]
    dials: tuple[Dial, ...]
    directory: Directory


TransportFactory: TypeAlias = Callable[[NodeConfig, Identity, Peers, Clock, int], OpenTransport]


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


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
        self._roles = tuple(Role(role) for role in config.node.roles)
        self._metrics = journal.Metrics()
        self._loops: dict[str, asyncio.Task[None]] = {}
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
            await self._until(stop)

    def _parts(self) -> tuple[_Part, ...]:
        """The start order; the stop order is its reverse."""
        parts = [
            _Part("delivery", _nothing, self._delivery.stop),
            _Part("transport", self._transport.start, self._transport.stop),
            _Part("blobs", _nothing, self._blobs.stop),
            self._loop("compute", self._compute.run),
        ]
        if self._jobs is not None:
            parts.append(_Part("jobs", _nothing, self._jobs.stop))
        parts.append(self._loop("reporter", self._reporter.run))
        parts.append(_Part("calibration", self._start_calibration, self._stop_calibration))
        if self._scheduler is not None:
            parts.append(self._loop("scheduler", self._scheduler.run))
        if self._membership is not None:
            parts += [self._loop("membership", self._membership.run), self._loop("rosters", self._rosters.run)]
        parts.append(self._loop("news", self._news.run))
        parts.append(_Part("http", self._http.start, self._http.stop))
        parts.append(_Part("run file", self._announce, self._forget))
        return tuple(parts)

    async def _build(self) -> None:
        """Makes every part; what is opened here is held until the very end."""
        config, clock = self.config, self._clock
        if self._dev:
            failpoints.arm(os.environ.get(failpoints.ENVIRONMENT, ""))
        self._held.callback(datadir.own(config.node.data_dir).close)
        self._identity = load_or_create(config.identity_file)
        self._store = await open_store(config.storage.database, config.node.data_dir, clock)
        self._held.push_async_callback(self._store.close)
        self._boot = await self._store.cluster.next_boot()
        joined = [] if Role.CLOUD in self._roles else [one for one in await self._store.members.all() if one.address]
        self._peers = known_peers(config, joined)
        self._transport = self._make_transport(config, self._identity, self._peers, clock, self._boot)
        self._delivery = await Delivery.open(
            self._store, self._transport, clock, self._boot, max_message=config.transport.max_message
        )
        self._machine = Machine(clock)
        self._registry = Registry(
            self._report,
            clock,
            suspect_after=config.transport.suspect_after,
            dead_after=config.transport.dead_after,
            lease=config.cloud.lease if Role.CLOUD in self._roles else 0.0,
        )
        self._registry.register(self._transport)
        self._objects = FolderBlobs(config.node.data_dir / config.storage.objects, clock, config.storage.blob_quota)
        self._held.push_async_callback(self._objects.close)
        await self._objects.start()
        self._blobs = BlobService(self._objects, clock)
        self._blobs.register(self._transport)
        self._bus = EventBus()
        self._store.queries.watch(QueryNews(self._bus))
        self._news = NodeNews(self._bus, self._registry, clock)
        self._leases = Leases(clock)
        self._reporter = Reporter(self._report, self._transport, clock, config.transport.heartbeat, self._leases)
        self._arena = FrameArena()
        self._credit = FrameCredit()
        self._held.callback(self._arena.close)
        workers = config.edge.workers or max(1, self._machine.cores - 1)
        self._compute = ComputeService(self._spawner, self._arena, clock, config.node.assets_dir, workers)
        self._compute.register(self._transport)
        self._jobs = self._make_edge() if Role.EDGE in self._roles else None
        self._queries: QueryManager | None = None
        self._scheduler: QueryScheduler | None = None
        self._membership: Membership | None = None
        if Role.CLOUD in self._roles:
            await self._make_cloud()
        else:
            await self._meet_neighbours()
        self._measure()
        token = datadir.token(config.node.data_dir)
        self._http = HttpServer(config.http, token, self._ports(), clock, self._metrics)

    def _ports(self) -> Ports:
        return Ports(
            queries=self._queries,
            nodes=self,
            health=self,
            services=self._compute,
            aliases=self._store.aliases,
            tokens=self._store.tokens,
            answers=self._store.answers,
            events=self._bus,
            blobs=self._blobs,
            members=self._membership,
        )

    def _measure(self) -> None:
        """What /metrics tells of the parts, read when it is asked for."""
        for name, text, read in (
            ("peers_ready", "Peers whose reports come in time.", self._peers_ready),
            ("links", "Live links to peers.", lambda: len(self._links())),
            ("compute_queue", "Calls that wait for a worker.", lambda: self._compute.queued),
            ("arena_free_slots", "Picture slots that nobody holds.", lambda: self._arena.free),
            ("frames_superseded", "Pictures that gave way to newer ones before a slow peer.", lambda: self._credit.superseded),
            ("delivery_waiting", "Durable messages that no peer has acknowledged yet.", lambda: self._delivery.waiting),
            ("delivery_rejected", "Durable messages that a peer refused for good.", lambda: self._delivery.rejected),
            ("delivery_old_epochs", "Batches of lives of a sender that are over.", lambda: self._delivery.counts.old_epochs),
            ("blob_bytes", "Bytes that blobs take, with those reserved for what comes in.", lambda: self._objects.held),
            ("blob_bytes_served", "Bytes of blobs that peers were given.", lambda: self._blobs.figures.served),
            ("blob_bytes_received", "Bytes of blobs that peers gave.", lambda: self._blobs.figures.received),
            ("blob_chunks_refused", "Chunks that did not have their digest.", lambda: self._blobs.figures.wrong_chunks),
            ("leases_run_out", "Clouds that this node may not act for until it hears them again.", self._leases.run_out),
            ("jobs", "Jobs that run on this edge.", lambda: len(self._jobs.jobs()) if self._jobs else 0),
        ):
            self._metrics.gauge(name, text).set_function(read)

    def _peers_ready(self) -> int:
        ready = {view.report.name for view in self._registry.views() if view.state is NodeState.READY}
        return len(ready - {self.config.node.name})  # a node reports to itself as well

    def _make_edge(self) -> JobManager:
        runner = StageRunner(self.config.node.name, self._compute, self._transport, self._clock, self._credit)
        bench = Bench(runner, self._compute, self._delivery, self._clock)
        jobs = JobManager(self.config.edge.sources, bench, self._spawner, self._arena)
        jobs.register(self._transport)
        return jobs

    async def _meet_neighbours(self) -> None:
        peers, keys = self._peers, StoredKeys(self._store.members, self._clock)
        await keys.recall(peers.directory)
        neighbours = Neighbours(self.config.node.name, self.public_key, peers.admitted, peers.directory, keys)
        neighbours.register(self._transport, self._transport, lambda: self._address)

    async def _make_cloud(self) -> None:
        directory = self._peers.directory
        policy = Policy(self.config.node.name, self.public_key, self._roles, self.config.transport.admit, self._peers.admitted)
        admission = Admission(policy, directory, self._clock)
        self._rosters = Rosters(admission, self._registry, self._transport, self._clock, self._boot)
        succession = Succession(self.config.identity_file, self._rosters)
        self._membership = Membership(admission, self._store.members, directory.knocks, self._clock, succession)
        self._membership.register(self._transport)
        await self._membership.load()
        planner = load_scheduler(self.config.cloud.scheduler)
        self._queries = QueryManager(
            store=self._store,
            registry=self._registry,
            transport=self._transport,
            delivery=self._delivery,
            clock=self._clock,
            members=directory,
        )
        self._queries.register()
        self._scheduler = QueryScheduler(
            manager=self._queries,
            planner=planner,
            store=self._store,
            registry=self._registry,
            transport=self._transport,
            clock=self._clock,
            tick=self.config.cloud.tick,
            dead_after=self.config.transport.dead_after,
            drained=self._membership.drained,
        )

    # What the front door asks of a node (api.ports: Nodes and Health)

    @property
    def fingerprint(self) -> str:
        """The short form of this node's key, for people."""
        return self._identity.fingerprint

    @property
    def public_key(self) -> str:
        """This node's public key in Z85."""
        return self._identity.public

    def here(self) -> NodeReport:
        """This node's own report."""
        return self._report()

    def views(self) -> tuple[NodeView, ...]:
        """The peers, and this node itself."""
        drained = self._membership.drained() if self._membership is not None else frozenset()
        views = self._registry.views()
        return tuple(view.replace(drained=True) if view.report.name in drained else view for view in views)

    def problems(self) -> Mapping[str, str | None]:
        """Every component with what keeps it from being ready, None where nothing does."""
        linked = {link.peer.name for link in self._transport.links()}
        knocked = {door.public for door in self._peers.dials}
        dialled = {peer.name for public, peer in self._peers.admitted if public in knocked}
        away = [f"{name} ({why})" if (why := self._transport.excuse(name)) else name for name in sorted(dialled - linked)]
        missing = assets.missing(self.config.node.assets_dir)
        dead = [name for name, task in self._loops.items() if task.done()]
        return {
            "store": self._store.healthy(),
            "transport": self._transport.healthy(),
            "delivery": self._delivery.healthy(),
            "peers": f"no link to {', '.join(away)} yet" if away else None,
            "assets": f"missing: {', '.join(missing)}; run `ecnode assets fetch`" if missing else None,
            "loops": f"ended: {', '.join(dead)}" if dead else None,
        }

    @property
    def _address(self) -> str:
        """Where other members may dial this node; empty where they cannot."""
        advertised = self.config.transport.advertise
        named = (endpoint for endpoint in self._transport.endpoints if can_be_dialled(endpoint))
        return advertised or next(named, "")

    def _links(self) -> list[LinkState]:
        """The links to other nodes."""
        return [link for link in self._transport.links() if link.peer.name != self.config.node.name]

    def _report(self) -> NodeReport:
        return NodeReport(
            name=self.config.node.name,
            roles=self._roles,
            labels=self.config.node.labels,
            version=__version__,
            boot=self._boot,
            http=self._http.urls[0] if self._http.urls else "",
            address=self._address,
            cores=self._machine.cores,
            workers=self._compute.workers,
            services=self._compute.reports(),
            sources=self._jobs.sources() if self._jobs else (),
            jobs=self._jobs.jobs() if self._jobs else (),
            offload=self.config.edge.offload,
            links=tuple(
                LinkReport(peer=link.peer.name, rtt_ms=link.rtt_s * 1000, bytes_out=link.bytes_out, bytes_in=link.bytes_in)
                for link in self._links()
            ),
            **self._machine.figures(),
        )

    # Life

    def _loop(self, name: str, body: Callable[[], Coroutine[None, None, None]]) -> _Part:
        async def start() -> None:
            self._loops[name] = asyncio.create_task(body(), name=name)

        async def stop() -> None:
            await end(self._loops[name])

        return _Part(name, start, stop)

    async def _start_calibration(self) -> None:
        measuring = calibrate(self._compute, self.config.node.assets_dir, self._clock)
        self._calibration = begin(measuring, "calibration")

    async def _stop_calibration(self) -> None:
        await end(self._calibration)

    async def _until(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait(), name="stop signal")
        try:
            await asyncio.wait({stopping, *self._loops.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for name, task in self._loops.items():
            if task.done():
                log.error("a loop died, this node stops", extra={"loop": name}, exc_info=task.exception())
                task.result()

    async def _stop_part(self, part: _Part) -> None:
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
            tuple(self._roles),
            self._transport.endpoints,
            self.config.transport.admit if Role.CLOUD in self._roles else "roster",
            self._http.urls,
        )

    async def _announce(self) -> None:
        data_dir = self.config.node.data_dir
        rundir.announce(
            rundir.Running(
                name=self.config.node.name,
                roles=tuple(self._roles),
                url=self._http.urls[0],
                token_file=str(data_dir / datadir.TOKEN_FILE),
                data_dir=str(data_dir),
                pid=os.getpid(),
                started=self._clock.wall(),
            )
        )

    async def _forget(self) -> None:
        rundir.forget(self.config.node.name, os.getpid())


def known_peers(config: NodeConfig, joined: Sequence[Member]) -> Peers:
    """Whom the config names, and whom this node `joined` with a token, by the records of the store."""
    settings = config.transport
    admitted = {peer.key: Peer(peer.name, frozenset(map(Role, peer.roles)), fingerprint(peer.key)) for peer in settings.allow}
    names = {peer.name for peer in admitted.values()}
    clouds = [one for one in joined if one.key not in admitted and one.name not in names]
    admitted |= {one.key: Peer(one.name, frozenset(one.roles), one.fingerprint) for one in clouds}
    keys = {peer.address: peer.key for peer in settings.allow}
    dials = [Dial(address, keys[address]) for address in settings.join]
    dials += [Dial(one.address, one.key) for one in clouds]
    known = tuple(admitted.items())
    return Peers(known, tuple(dials), Directory(known))


def curve_transport(config: NodeConfig, identity: Identity, peers: Peers, clock: Clock, boot: int) -> OpenTransport:
    """ROUTER and DEALER over CURVE, open to those of the directory only."""
    settings = config.transport
    options = LinkOptions(
        name=config.node.name,
        security=settings.security,
        heartbeat=settings.heartbeat,
        suspect_after=settings.suspect_after,
        max_message=settings.max_message,
        max_in_flight=settings.max_in_flight,
        boot=boot,
        roles=frozenset(Role(role) for role in config.node.roles),
    )
    return ZmqTransport(identity, peers.directory, settings.listen, peers.dials, clock, options)


async def _nothing() -> None:
    """Parts that were opened while building have nothing left to start."""
