"""Which keys were refused at the door, so that somebody may approve one of them?

Written by the ZAP thread, read by the loop. A stranger who tries many keys pushes out the oldest of them, never grows the list:
a node that waits for its approval knocks again every few seconds and is back at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from node.transport import limits


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused key (Z85), from where it came last, and how often it did."""

    key: str
    address: str
    times: int


class Knocks:
    """The newest refused keys, at most `limits.REFUSED_KEYS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: OrderedDict[str, Refusal] = OrderedDict()

    def note(self, key: str, address: str) -> None:
        """One more refusal."""
        with self._lock:
            known = self._newest.pop(key, None)
            self._newest[key] = Refusal(key, address[: limits.ADDRESS_CHARS], known.times + 1 if known else 1)
            while len(self._newest) > limits.REFUSED_KEYS:
                self._newest.popitem(last=False)

    def forget(self, key: str) -> None:
        """That key is known now. Harmless for one that never knocked."""
        with self._lock:
            self._newest.pop(key, None)

    def newest(self) -> tuple[Refusal, ...]:
        """Those that came last, first."""
        with self._lock:
            return tuple(reversed(self._newest.values()))
