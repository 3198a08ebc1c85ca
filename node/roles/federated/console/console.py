"""What is a console made of, and how does it begin and end?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from node.clock import Clock
from node.config.schema import ConsoleConfig
from node.pipeline.federated.identity import SigningKey
from node.roles.federated.console.answers import Answers
from node.roles.federated.console.desk import Desk
from node.roles.federated.console.engine import Engine, load_hook
from node.roles.federated.console.link import ConsoleLink
from node.roles.federated.console.peers import Peers
from node.roles.federated.console.runs import Runs
from node.roles.federated.console.session_engine import SessionEngine, Sessions
from node.roles.federated.console.shelf import ObjectShelf
from node.roles.federated.console.users import Users
from node.storage.blobs import BlobStore
from node.storage.console import ConsoleStore
from node.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Console:
    """Projects of this node with the consoles of others."""

    link: ConsoleLink
    peers: Peers
    desk: Desk
    answers: Answers
    runs: Runs
    users: Users
    shelf: ObjectShelf

    @classmethod
    def make(
        cls,
        node: str,
        key: SigningKey,
        config: ConsoleConfig,
        *,
        sessions: Sessions,
        store: ConsoleStore,
        blobs: BlobStore,
        transport: Transport,
        clock: Clock,
    ) -> Self:
        """Puts it together, to answer other consoles as soon as `link.serve` says how; only before the transport starts.

        Raises:
            ConfigInvalid: the engine that the config names is none.
        """
        link = ConsoleLink(transport)
        link.register()
        peers = Peers(key, config, store, clock, link)
        runs = Runs(store, peers, clock)
        engine: Engine = SessionEngine(node, sessions, runs.other_side, clock)
        runs.use(load_hook(config.engine, clock) if config.engine else engine)
        return cls(
            link,
            peers,
            Desk(node, store, peers, runs, clock),
            Answers(config, store, peers, runs),
            runs,
            Users(store, clock),
            ObjectShelf(store, blobs),
        )
