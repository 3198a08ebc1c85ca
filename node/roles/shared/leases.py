"""May this node still act for a cloud that it has not heard from?

A cloud answers each report with a lease: how many seconds from the asking its word holds. The member fences itself `MARGIN_S`
before the end, the cloud counts from the moment when it answered, which is later: so the member has always stopped when the
cloud gives its work away. The seconds are those of CLOCK_BOOTTIME, which goes on in suspend: who slept wakes up fenced.

Video queries do not ask: an edge runs on while its cloud is away, and its results wait. Work with effects elsewhere asks.
"""

from __future__ import annotations

import logging
from typing import Final

from node.clock import Clock

log = logging.getLogger(__name__)

MARGIN_S: Final = 2.0  # for two clocks that do not run alike, and for what is under way


class Leases:
    """The leases that this node holds, by the cloud's name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._fenced: set[str] = set()

    def renewed(self, cloud: str, asked_at: float, seconds: float) -> None:
        """`cloud` has answered what was asked at `asked_at` (boot time); 0 seconds are no lease."""
        if seconds > 0:
            self._ends[cloud] = max(self._ends.get(cloud, 0.0), asked_at + seconds - MARGIN_S)

    def hold(self, cloud: str) -> bool:
        """Whether this node may act for `cloud` now; for one that never gave a lease it may."""
        end = self._ends.get(cloud)
        held = end is None or self._clock.boottime() < end
        if held == (cloud in self._fenced):
            self._tell(cloud, held)
        return held

    def run_out(self) -> int:
        """How many clouds this node may not act for now."""
        return sum(not self.hold(cloud) for cloud in self._ends)

    def _tell(self, cloud: str, held: bool) -> None:
        if held:
            self._fenced.discard(cloud)
            log.info("lease renewed, work goes on", extra={"peer": cloud})
        else:
            self._fenced.add(cloud)
            log.warning("lease ran out, work for this cloud rests", extra={"peer": cloud})
