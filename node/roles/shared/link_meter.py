"""How wide are the links from here?

Every picture that goes to a peer and back tells it: what the call took beyond the round trip, the wait and the work over there
is the time of its bytes. Where none has gone for a while a probe of 64 KiB does, so that a planner knows of a peer before it
trusts it with a picture. What is measured is the bulk lane as a picture finds it, encryption and this node's own load included.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Final

from node.clock import Clock
from node.errors import EcnodeError
from node.model.cluster import Received
from node.model.wire.link import LINK_PROBE, LinkProbe
from node.transport.base import Answer, Call, Transport

log = logging.getLogger(__name__)

PROBE_BYTES: Final = 64 * 1024
LOOK_EVERY_S: Final = 5.0
UNCERTAIN_AFTER_S: Final = 20.0  # 64 KiB in so long are 26 kbit/s of each link
PROBE_TIMEOUT_S: Final = 10.0  # a link that takes longer has 6 kB/s, and no picture belongs on it
LEAST_BYTES: Final = 8 * 1024  # a smaller one tells of the round trip, not of the width
LEAST_S: Final = 1e-4  # below it the clock and the loop are measured, not the link
WEIGHT: Final = 0.3  # of the newest of several pictures
MOST_PEERS: Final = 1024  # as many links as a report tells of


@dataclass(frozen=True, slots=True)
class Width:
    """Bytes per second, and the clock's time of the newest measurement."""

    bytes_s: float
    at: float


class LinkMeter:
    """The widths of one node's links. `here` is its name."""

    def __init__(self, here: str, transport: Transport, clock: Clock) -> None:
        self._here = here
        self._transport = transport
        self._clock = clock
        self._widths: dict[str, Width] = {}
        self._probe = os.urandom(PROBE_BYTES)  # what a tunnel cannot compress

    def register(self) -> None:
        """Has peers' probes answered; only before the transport starts."""
        self._transport.answer(LINK_PROBE, self._answer)

    def width(self, peer: str) -> Width | None:
        """What is known of the link to a peer."""
        return self._widths.get(peer)

    def took(self, peer: str, size_bytes: int, seconds: float) -> None:
        """A call moved so many bytes there and back in so many seconds, the work over there not counted."""
        if size_bytes < LEAST_BYTES:
            return
        rtt = next((link.rtt_s for link in self._transport.links() if link.peer.name == peer), 0.0)
        found = size_bytes / max(seconds - rtt, LEAST_S)
        known = self._widths.get(peer)
        if known is not None and self._clock.monotonic() - known.at < UNCERTAIN_AFTER_S:
            found = known.bytes_s + WEIGHT * (found - known.bytes_s)
        if known is not None or len(self._widths) < MOST_PEERS:
            self._widths[peer] = Width(found, self._clock.monotonic())

    async def run(self) -> None:
        """Probes the links of which too little is known, one after the other, until cancelled."""
        while True:
            links = [link.peer.name for link in self._transport.links() if link.peer.name != self._here]
            for gone in self._widths.keys() - set(links):
                del self._widths[gone]
            for peer in links:
                known = self._widths.get(peer)
                if known is None or self._clock.monotonic() - known.at >= UNCERTAIN_AFTER_S:
                    await self._ask(peer)
            await self._clock.sleep(LOOK_EVERY_S)

    async def _ask(self, peer: str) -> None:
        began = self._clock.monotonic()
        try:
            await self._transport.call(peer, LINK_PROBE, LinkProbe(), blobs=[self._probe], timeout=PROBE_TIMEOUT_S)
        except EcnodeError as error:  # the registry says who is away; a peer of another role does not answer this
            log.debug("link not probed", extra={"peer": peer, "reason": error.message})
        else:
            self.took(peer, PROBE_BYTES, self._clock.monotonic() - began)

    @staticmethod
    async def _answer(_call: Call, _probe: LinkProbe) -> Answer[Received]:
        return Answer(Received())
