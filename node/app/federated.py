"""What is the role federated made of?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from node.app.ground import Ground
from node.app.part import Gauge, Loops, Part, nothing
from node.pipeline.federated.identity import load_or_create
from node.roles.federated.coordinator import Coordinator
from node.roles.federated.datasets import DataRoot, DatasetRegistry
from node.roles.federated.peer import Policy, SessionPeer

SIGNING_KEY: Final = "signing.key"
SESSIONS: Final = "sessions"
DATA_ROOT: Final = "federated"


@dataclass(frozen=True, slots=True)
class FederatedParts:
    """The parties that this node plays, the sessions that it coordinates, and its data sets."""

    peer: SessionPeer
    coordinator: Coordinator
    datasets: DatasetRegistry

    @classmethod
    def make(cls, ground: Ground) -> Self:
        """Puts the role together; nothing of it runs yet.

        Raises:
            StorageFailed: the signing key cannot be used.
        """
        config, settings = ground.config, ground.config.federated
        data_dir = config.node.data_dir
        root = DataRoot(Path(settings.data_root).expanduser() if settings.data_root else data_dir / DATA_ROOT)
        datasets = DatasetRegistry(root, ground.store.datasets, ground.spawner, ground.clock)
        peer = SessionPeer(
            config.node.name,
            load_or_create(data_dir / SIGNING_KEY),
            Policy(settings.approve, frozenset(settings.allow), frozenset(settings.capabilities), settings.min_intersection),
            data_dir / SESSIONS,
            data=datasets,
            store=ground.store,
            transport=ground.transport,
            delivery=ground.delivery,
            spawner=ground.spawner,
            clock=ground.clock,
            members=ground.peers.directory.named,
        )
        peer.register()
        coordinator = Coordinator(
            config.node.name,
            peer,
            store=ground.store,
            transport=ground.transport,
            delivery=ground.delivery,
            clock=ground.clock,
        )
        coordinator.register()
        return cls(peer, coordinator, datasets)

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`."""
        return (
            Part("parties", nothing, self.peer.stop),
            Part("sessions", self.coordinator.start, self.coordinator.stop),
        )

    def gauges(self) -> tuple[Gauge, ...]:
        """As `Assembled.gauges`."""
        return (("parties", "Worker processes of parties of private sessions.", lambda: self.peer.running),)
