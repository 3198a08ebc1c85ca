"""What is known of one live connection to a peer, and what may its carrier be asked?"""

from __future__ import annotations

from typing import Protocol

from node.transport.base import LinkState, Peer
from node.transport.frames import Message


class Wire(Protocol):
    """One authenticated connection, whatever carries it."""

    def send(self, message: Message) -> None:
        """Takes `message` for sending; never blocks.

        Raises:
            Busy: the bounded queue to this peer is full.
            PeerUnreachable: the connection has ended.
        """

    def cut(self, reason: str) -> None:
        """Ends the connection. The side that dialled dials again later. Harmless when repeated."""


class Link:
    """A wire and the peer that its key proves. It is `up` once that peer has said who it is."""

    __slots__ = ("bytes_in", "bytes_out", "ended", "heard", "peer", "ping", "ping_at", "rtt_s", "up", "wire")

    def __init__(self, wire: Wire, peer: Peer, now: float) -> None:
        self.wire = wire
        self.peer = peer
        self.up = False
        self.ended = False
        self.heard = now
        self.ping = 0
        self.ping_at = now
        self.rtt_s = 0.0
        self.bytes_out = 0
        self.bytes_in = 0

    def send(self, message: Message) -> None:
        """As `Wire.send`, counted."""
        self.wire.send(message)
        self.bytes_out += message.size

    def state(self) -> LinkState:
        """What the outside sees of it."""
        return LinkState(self.peer, self.rtt_s, self.bytes_out, self.bytes_in)
