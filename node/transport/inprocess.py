"""How do messages travel where both ends of a link are in this process?

A wire whose far end is another object, or itself: a node with several roles has a link to itself, so that one role asks
another in the same way wherever that one lives. Frames are encoded, copied and decoded as on a socket, so the same limits hold.
"""

from __future__ import annotations

import asyncio

from node.clock import Clock
from node.errors import Busy, PeerUnreachable, Rejected
from node.transport import limits
from node.transport.base import Peer
from node.transport.frames import Message, decode, encode
from node.transport.link import Link
from node.transport.options import LinkOptions
from node.transport.rpc import Rpc


class InProcessWire:
    """One end of a link; what it sends arrives at the far end in a later turn of the loop."""

    def __init__(self, rpc: Rpc, clock: Clock, options: LinkOptions) -> None:
        self.far: InProcessWire = self
        self.link: Link | None = None
        self._rpc = rpc
        self._clock = clock
        self._options = options
        self._ended = False
        self._under_way = 0

    data_place = ""

    def send(self, message: Message, *, at_once: bool = False) -> None:
        """As `Wire.send`; there is nothing to be gained by a burst."""
        if self._ended:
            raise PeerUnreachable("the link has ended")
        if self._under_way >= limits.OUT_QUEUE_MESSAGES:
            raise Busy(f"{self._under_way} messages wait already")
        # views and buffers are copied as a socket would: the caller may reuse them
        frames = [bytes(frame) for frame in encode((message,), self._clock.monotonic())]
        self._under_way += 1
        asyncio.get_running_loop().call_soon(self._arrive, frames)

    def open_data(self, place: str) -> None:
        """As `Wire.open_data`: one wire carries both lanes."""

    def cut(self, reason: str) -> None:
        """As `Wire.cut`; the far end hears of it at once, as it would from a closed socket."""
        if self._ended:
            return
        self._ended = self.far._ended = True
        for end in {self, self.far}:
            if end.link is not None:
                end._rpc.detach(end.link, reason)

    def _arrive(self, frames: list[bytes]) -> None:
        self._under_way -= 1
        far = self.far
        if self._ended or far.link is None:
            return
        try:
            for message in decode(frames, far._clock.monotonic(), far._options.max_message):
                far._rpc.receive(far.link, message)
        except Rejected as error:
            far.cut(f"it sent what cannot be decoded: {error.message}")


def link_to_self(rpc: Rpc, fingerprint: str, clock: Clock, options: LinkOptions) -> None:
    """Gives a node that has roles a link to itself, with those roles."""
    if options.roles:
        wire = InProcessWire(rpc, clock, options)
        wire.link = rpc.attach(wire, Peer(options.name, options.roles, fingerprint), data=wire)
