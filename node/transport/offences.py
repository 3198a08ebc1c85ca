"""Which members were cut for what they sent, so that the audit can say so?

A member that is cut comes back at once and may be cut again, a hundred times a second. So it has a line for a minute, with the
number, and those who offended last push out the oldest: it fills neither the memory nor an audit that keeps its newest lines.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from node.transport import limits
from node.transport.base import Peer

LINE_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Offence:
    """A member that was cut, why the last time, and how often since its last line in the audit."""

    peer: Peer
    reason: str
    times: int


class Offences:
    """The newest offenders by name, at most `limits.OFFENDERS`. Used by one loop."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, Offence] = OrderedDict()
        self._told: OrderedDict[str, float] = OrderedDict()

    def note(self, peer: Peer, reason: str) -> None:
        """Once more."""
        known = self._newest.pop(peer.name, None)
        self._newest[peer.name] = Offence(peer, reason, known.times + 1 if known else 1)
        while len(self._newest) > limits.OFFENDERS:
            self._newest.popitem(last=False)

    def due(self, now: float) -> tuple[Offence, ...]:
        """Those that have had no line for `LINE_EVERY_S` seconds."""
        last = self._told
        return tuple(one for name, one in self._newest.items() if now >= last.get(name, -LINE_EVERY_S) + LINE_EVERY_S)

    def told(self, offence: Offence, now: float) -> None:
        """That one has its line; what has come since waits for the next."""
        name = offence.peer.name
        newest = self._newest.pop(name, None)
        if newest is not None and newest.times > offence.times:
            self._newest[name] = replace(newest, times=newest.times - offence.times)
        self._told.pop(name, None)
        self._told[name] = now
        while len(self._told) > limits.OFFENDERS:
            self._told.popitem(last=False)
