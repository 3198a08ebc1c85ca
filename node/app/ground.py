"""What do all roles of a node stand on?

Opened in this order, before any role is put together; what is opened is held until the very end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from node import datadir
from node.app.part import Gauge, Loops, Part, nothing
from node.app.peers import OpenTransport, Peers, TransportFactory, known_peers
from node.clock import Clock
from node.config import NodeConfig
from node.model.cluster import NodeReport, Role
from node.pipeline import catalogue
from node.roles.shared.arena import FrameArena
from node.roles.shared.blobs import BlobService
from node.roles.shared.compute_peers import ComputePeers
from node.roles.shared.compute_service import ComputeService
from node.roles.shared.delivery import Delivery
from node.roles.shared.events import EventBus
from node.roles.shared.link_meter import LinkMeter
from node.roles.shared.processes import Spawner
from node.roles.shared.registry import Registry
from node.roles.shared.runner.runner import Runner
from node.storage import Store, open_store
from node.storage.blobs import FolderBlobs
from node.transport.keys import Identity, load_or_create


@dataclass(frozen=True, slots=True)
class Ground:
    """Config, key, store, transport and what every role uses of them."""

    config: NodeConfig
    clock: Clock
    spawner: Spawner
    identity: Identity
    store: Store
    boot: int
    peers: Peers
    transport: OpenTransport
    delivery: Delivery
    registry: Registry
    objects: FolderBlobs
    blobs: BlobService
    bus: EventBus
    arena: FrameArena
    compute: ComputeService
    compute_peers: ComputePeers
    runner: Runner
    meter: LinkMeter

    @classmethod
    async def open(
        cls,
        config: NodeConfig,
        clock: Clock,
        spawner: Spawner,
        *,
        make_transport: TransportFactory,
        report: Callable[[], NodeReport],
        cores: int,
        held: AsyncExitStack,
    ) -> Self:
        """Opens everything; `report` is asked for this node's own figures, `cores` are those of the machine.

        Raises:
            Rejected, Unavailable: a part could not be opened.
        """
        held.callback(datadir.own(config.node.data_dir).close)
        identity = load_or_create(config.identity_file)
        store = await open_store(config.storage.database, config.node.data_dir, clock)
        held.push_async_callback(store.close)
        boot = await store.cluster.next_boot()
        is_cloud = "cloud" in config.node.roles
        joined = [] if is_cloud else [one for one in await store.members.all() if one.address]
        peers = known_peers(config, joined)
        transport = make_transport(config, identity, peers, clock, boot)
        delivery = await Delivery.open(store, transport, clock, boot, max_message=config.transport.max_message)
        registry = Registry(
            report,
            clock,
            suspect_after=config.transport.suspect_after,
            dead_after=config.transport.dead_after,
            lease=config.cloud.lease if is_cloud else 0.0,
        )
        registry.register(transport)
        objects = FolderBlobs(config.node.data_dir / config.storage.objects, clock, config.storage.blob_quota)
        held.push_async_callback(objects.close)
        await objects.start()
        blobs = BlobService(objects, clock, config.transport.max_message)
        blobs.register(transport)
        arena = FrameArena()
        held.callback(arena.close)
        workers = config.edge.workers or max(1, cores - 1)
        tables = {name: table.model_dump(mode="json") for name, table in config.services.items()}
        catalogue.install(tables)
        compute = ComputeService(spawner, arena, clock, config.node.assets_dir, workers, tables)
        meter = LinkMeter(config.node.name, transport, clock)
        meter.register()
        compute_peers = ComputePeers(compute, transport, clock, meter)
        compute_peers.register()
        return cls(
            config=config,
            clock=clock,
            spawner=spawner,
            identity=identity,
            store=store,
            boot=boot,
            peers=peers,
            transport=transport,
            delivery=delivery,
            registry=registry,
            objects=objects,
            blobs=blobs,
            bus=EventBus(),
            arena=arena,
            compute=compute,
            compute_peers=compute_peers,
            runner=Runner(clock),
            meter=meter,
        )

    @property
    def roles(self) -> tuple[Role, ...]:
        """What this node is there for."""
        return tuple(Role(role) for role in self.config.node.roles)

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`: these start before every role."""
        return (
            Part("delivery", nothing, self.delivery.stop),
            Part("transport", self.transport.start, self.transport.stop),
            Part("blobs", nothing, self.blobs.stop),
            Part("runner", nothing, self.runner.stop),
            loops.part("compute", self.compute.run),
            Part("stages of peers", nothing, self.compute_peers.stop),
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """As `Assembled.gauges`."""
        return (
            ("compute_queue", "Calls that wait for a worker.", lambda: self.compute.queued),
            ("arena_free_slots", "Picture slots that nobody holds.", lambda: self.arena.free),
            ("delivery_waiting", "Durable messages that no peer has acknowledged yet.", lambda: self.delivery.waiting),
            ("delivery_rejected", "Durable messages that a peer refused for good.", lambda: self.delivery.rejected),
            (
                "delivery_old_epochs",
                "Batches of lives of a sender that are over.",
                lambda: self.delivery.counts.old_epochs,
            ),
            ("relayed_calls", "Requests that this cloud has passed on between members.", lambda: self.transport.relayed.calls),
            ("relayed_bytes", "Bytes of them, there and back.", lambda: self.transport.relayed.bytes),
            ("blob_bytes", "Bytes that blobs take, with those reserved for what comes in.", lambda: self.objects.held),
            ("blob_bytes_served", "Bytes of blobs that peers were given.", lambda: self.blobs.figures.served),
            ("blob_bytes_received", "Bytes of blobs that peers gave.", lambda: self.blobs.figures.received),
            ("blob_chunks_refused", "Chunks that did not have their digest.", lambda: self.blobs.figures.wrong_chunks),
        )
