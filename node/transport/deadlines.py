"""When has the time of something run out, at a tenth of what a timer for each costs?

One timer for all, set to the earliest deadline. What is done in time is taken out of a table; no timer is touched for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from node.clock import Clock, Timer

K = TypeVar("K")

NEVER: Final = float("inf")
EARLY_S: Final = 0.001  # timers are no more exact than this: what is due so soon is due


class Deadlines(Generic[K]):
    """Calls `late(key)` for every key whose deadline has passed. Used by one loop; the owner calls `close`."""

    def __init__(self, clock: Clock, late: Callable[[K], None]) -> None:
        self._clock = clock
        self._late = late
        self._due: dict[K, float] = {}
        self._armed = NEVER
        self._timer: Timer | None = None

    def add(self, key: K, deadline: float) -> None:
        """Watches `key` until it is removed or late."""
        self._due[key] = deadline
        if deadline < self._armed:
            self._arm(deadline)

    def remove(self, key: K) -> None:
        """Watches `key` no more. Harmless for one that is not known."""
        self._due.pop(key, None)

    def close(self) -> None:
        """Forgets everything."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._armed = None, NEVER

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._clock.after(deadline - self._clock.monotonic(), self._fire)

    def _fire(self) -> None:
        self._timer, self._armed = None, NEVER
        now = self._clock.monotonic() + EARLY_S
        for key in [key for key, deadline in self._due.items() if deadline <= now]:
            del self._due[key]
            self._late(key)
        if self._due:
            self._arm(min(self._due.values()))
