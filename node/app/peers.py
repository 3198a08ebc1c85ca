"""Whom does a node know when it starts, and through which transport does it reach them?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from node.clock import Clock
from node.config import NodeConfig
from node.model.cluster import Role
from node.model.member import Member
from node.transport.auth import Directory
from node.transport.base import Dialler, Peer, Transport
from node.transport.keys import Identity, fingerprint
from node.transport.options import Dial, LinkOptions
from node.transport.relay import Relayed
from node.transport.zmq import ZmqTransport


class OpenTransport(Transport, Dialler, Protocol):
    """A transport that can say where it listens and what ails it, and be told to dial."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses that are really bound."""

    def healthy(self) -> str | None:
        """A sentence when the door is not as it should be."""

    def excuse(self, peer: str) -> str:
        """Why there is no link to a peer, as far as it is known."""

    @property
    def relayed(self) -> Relayed:
        """What this node has passed on between members."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Whom a node knows when it starts: who is admitted, by key, and where it knocks."""

    admitted: tuple[tuple[str, Peer], ...]
    dials: tuple[Dial, ...]
    directory: Directory


TransportFactory: TypeAlias = Callable[[NodeConfig, Identity, Peers, Clock, int], OpenTransport]


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
        relay=settings.relay,
    )
    return ZmqTransport(identity, peers.directory, settings.listen, peers.dials, clock, options)
