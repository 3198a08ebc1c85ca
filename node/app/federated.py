"""What is the role federated made of?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from node.api.compat import efls_peers
from node.app.ground import Ground
from node.app.part import Gauge, Loops, Part, nothing
from node.pipeline.federated.identity import load_or_create
from node.roles.federated.console.console import Console
from node.roles.federated.coordinator import Coordinator
from node.roles.federated.datasets import DataRoot, DatasetRegistry
from node.roles.federated.memory import Memory
from node.roles.federated.peer import SessionPeer
from node.roles.federated.policy import Policy
from node.roles.shared.news import SessionNews

SIGNING_KEY: Final = "signing.key"
SESSIONS: Final = "sessions"
DATA_ROOT: Final = "federated"


@dataclass(frozen=True, slots=True)
class FederatedParts:
    """The parties that this node plays, the sessions that it coordinates, its data sets, and its projects with others."""

    peer: SessionPeer
    coordinator: Coordinator
    datasets: DatasetRegistry
    console: Console

    @classmethod
    def make(cls, ground: Ground) -> Self:
        """Puts the role together; nothing of it runs yet.

        Raises:
            StorageFailed: the signing key cannot be used.
        """
        config, settings = ground.config, ground.config.federated
        data_dir = config.node.data_dir
        news = SessionNews(ground.bus)
        root = DataRoot(Path(settings.data_root).expanduser() if settings.data_root else data_dir / DATA_ROOT)
        datasets = DatasetRegistry(root, ground.store.datasets, ground.spawner, ground.clock)
        key = load_or_create(data_dir / SIGNING_KEY)
        peer = SessionPeer(
            config.node.name,
            key,
            Policy(
                settings.approve,
                frozenset(settings.allow),
                frozenset(settings.capabilities),
                settings.min_intersection,
                settings.token,
            ),
            Memory(data_dir / SESSIONS),
            data=datasets,
            store=ground.store,
            transport=ground.transport,
            delivery=ground.delivery,
            spawner=ground.spawner,
            clock=ground.clock,
            members=ground.peers.directory.named,
            news=news,
        )
        peer.register()
        coordinator = Coordinator(
            config.node.name,
            peer,
            store=ground.store,
            transport=ground.transport,
            delivery=ground.delivery,
            clock=ground.clock,
            news=news,
        )
        coordinator.register()
        console = Console.make(
            config.node.name,
            key,
            settings.console,
            sessions=coordinator,
            store=ground.store.console,
            blobs=ground.objects,
            transport=ground.transport,
            clock=ground.clock,
        )
        console.link.serve(partial(efls_peers.answer, console))
        return cls(peer, coordinator, datasets, console)

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`."""
        return (
            Part("parties", nothing, self.peer.stop),
            Part("sessions", self.coordinator.start, self.coordinator.stop),
            Part("other consoles", nothing, self.console.peers.stop),
            Part("instances", self.console.runs.start, self.console.runs.stop),
            loops.part("console", self.console.runs.tell),
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """As `Assembled.gauges`."""
        return (
            ("parties", "Worker processes of parties of private sessions.", lambda: self.peer.running),
            ("instances", "Instances of projects that run.", lambda: self.console.runs.running),
        )
