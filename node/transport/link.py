"""What is known of one live link to a peer, and what may its carriers be asked?

A link has a connection for each lane, control first. Without its data connection it goes on for a while and takes a new one,
without its control connection it has ended.
"""

from __future__ import annotations

from typing import Final, Protocol

from node.errors import PeerUnreachable
from node.model.wire.method import Lane
from node.transport.base import LinkState, Peer
from node.transport.frames import Message

DATA: Final = Lane.DATA  # an enumeration's members are looked up slowly


class Wire(Protocol):
    """One authenticated connection, whatever carries it."""

    @property
    def data_place(self) -> str:
        """What the greeting tells the other side about where this end takes data; empty where it is not listening."""

    def send(self, message: Message, *, at_once: bool = False) -> None:
        """Takes `message` for sending, at the end of this turn of the loop unless `at_once`; never blocks.

        Raises:
            Busy: the bounded queue to this peer is full.
            PeerUnreachable: the connection has ended.
        """

    def open_data(self, place: str) -> None:
        """The other side has greeted, and takes data at `place`: the end that dialled connects there.

        Raises:
            Malformed: that is no such place.
        """

    def cut(self, reason: str) -> None:
        """Ends the connection. The side that dialled dials again later. Harmless when repeated."""


class Link:
    """The wires to a peer whom their key proves: `greeted` once that peer has said who it is, `up` once both lanes are.

    `data_lost` is when the data lane of a link that was up went away.
    """

    __slots__ = (
        "boot",
        "bytes_in",
        "bytes_out",
        "data",
        "data_lost",
        "ended",
        "greeted",
        "heard",
        "peer",
        "ping",
        "ping_at",
        "release",
        "rtt_s",
        "up",
        "wire",
    )

    def __init__(self, wire: Wire, peer: Peer, now: float, data: Wire | None = None) -> None:
        self.wire = wire
        self.data = data
        self.data_lost = now
        self.peer = peer
        self.greeted = False
        self.up = False
        self.release = ""
        self.boot = 0
        self.ended = False
        self.heard = now
        self.ping = 0
        self.ping_at = now
        self.rtt_s = 0.0
        self.bytes_out = 0
        self.bytes_in = 0

    def send(self, message: Message, lane: Lane = Lane.CONTROL, *, at_once: bool = False) -> None:
        """As `Wire.send` of that lane, counted."""
        wire = self.data if lane is DATA else self.wire
        if wire is None:
            raise PeerUnreachable(f"the data lane to '{self.peer.name}' is not there now")
        wire.send(message, at_once=at_once)
        self.bytes_out += message.size

    def cut(self, reason: str) -> None:
        """Ends both connections. Harmless when repeated."""
        self.wire.cut(reason)
        if self.data is not None:
            self.data.cut(reason)

    def state(self) -> LinkState:
        """What the outside sees of it."""
        return LinkState(self.peer, self.rtt_s, self.bytes_out, self.bytes_in)
