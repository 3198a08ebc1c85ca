"""Which waiting plots start now, where, and why must the others wait?

Pure: a snapshot in, starts and reasons out. Room is given by reservation: what is free on a disk, less what the plots that run
there will still write. Plots are looked at in the order of their coming; one that cannot start does not hold up the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from node.pipeline.plot.space import gib

FIRST_PHASE: Final = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What the talent allows; 0 is no limit, `stagger_s` the least time between two starts on one temp directory."""

    max_parallel: int
    max_per_device: int = 0
    max_first_phase: int = 0
    stagger_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cache:
    """A temp directory. `free` bytes are those of its device, `reserve` are to be left alone."""

    path: str
    device: int
    free: int
    max_parallel: int = 0
    reserve: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where finished plots go; `problem` says why it cannot be written now."""

    path: str
    device: int
    free: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A plot that runs or is on its way to its destination; what it will still write to each of its three places."""

    id: str
    cache1: str
    cache2: str
    dest: str
    phase: int
    started_at: float
    will_write1: int
    will_write2: int
    will_write_dest: int
    plotting: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """A plot that wants to start. Empty `cache1` and `dest` leave the choice to the scheduler; `cache2` follows `cache1`."""

    id: str
    need1: int
    need2: int
    need_dest: int
    cache1: str = ""
    cache2: str = ""
    dest: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """A plot begins, with these directories."""

    id: str
    cache1: str
    cache2: str
    dest: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to start now, why the others wait, and in how many seconds a stagger is over; None where no time helps."""

    starts: tuple[Start, ...]
    reasons: dict[str, str]
    again_s: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How things stand at a moment: the directories and what runs."""

    now: float
    caches: Sequence[Cache]
    destinations: Sequence[Destination]
    running: Sequence[Running]


def decide(limits: Limits, snapshot: Snapshot, waiting: Sequence[Waiting]) -> Decision:
    """The starts of this moment. The same snapshot gives the same decision."""
    planner = _Planner(snapshot.now, limits, snapshot.caches, snapshot.destinations, list(snapshot.running))
    for plot in waiting:
        planner.consider(plot)
    return Decision(tuple(planner.starts), planner.reasons, min(planner.again) if planner.again else None)


@dataclass(slots=True)
class _Planner:
    now: float
    limits: Limits
    caches: Sequence[Cache]
    destinations: Sequence[Destination]
    running: list[Running]
    starts: list[Start] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    again: list[float] = field(default_factory=list)

    def consider(self, plot: Waiting) -> None:
        """Starts the plot or says why not."""
        plotting = sum(one.plotting for one in self.running)
        if plotting >= self.limits.max_parallel:
            self.reasons[plot.id] = f"{plotting} of {self.limits.max_parallel} plots run here (talent.max_parallel)"
            return
        whys: list[str] = []
        for dest in self._destinations(plot, whys):
            for first, second in self._caches(plot, whys):
                why = self._against(plot, first, second, dest)
                if not why:
                    self._start(plot, first, second, dest)
                    return
                whys.append(why)
        self.reasons[plot.id] = "; ".join(dict.fromkeys(whys))

    def _start(self, plot: Waiting, first: Cache, second: Cache, dest: Destination) -> None:
        self.starts.append(Start(plot.id, first.path, second.path, dest.path))
        self.running.append(
            Running(
                id=plot.id,
                cache1=first.path,
                cache2=second.path,
                dest=dest.path,
                phase=FIRST_PHASE,
                started_at=self.now,
                will_write1=plot.need1,
                will_write2=plot.need2,
                will_write_dest=_for_dest(plot, second, dest),
            )
        )

    def _destinations(self, plot: Waiting, whys: list[str]) -> list[Destination]:
        """Those that may take it, the one with the most room first."""
        wanted = [dest for dest in self.destinations if plot.dest in {"", dest.path}]
        if not wanted:
            whys.append(f"no destination {plot.dest or 'is configured'} (talent.destination)")
        whys += [f"destination {dest.path}: {dest.problem}" for dest in wanted if dest.problem]
        left = self._promised()
        return sorted((dest for dest in wanted if not dest.problem), key=lambda one: left.get(one.device, 0) - one.free)

    def _caches(self, plot: Waiting, whys: list[str]) -> list[tuple[Cache, Cache]]:
        """The pairs of temp directories that may take it, the one with the fewest plots first."""
        known = {cache.path: cache for cache in self.caches}
        missing = [path for path in (plot.cache1, plot.cache2) if path and path not in known]
        if missing or not known:
            whys.append(f"no temp directory {missing[0] if missing else 'is configured'} (talent.cache)")
            return []
        left = self._promised()
        firsts = (
            [known[plot.cache1]]
            if plot.cache1
            else sorted(self.caches, key=lambda one: (self._on(one.path), left.get(one.device, 0) - one.free))
        )
        return [(first, known[plot.cache2] if plot.cache2 else first) for first in firsts]

    def _against(self, plot: Waiting, first: Cache, second: Cache, dest: Destination) -> str:
        """Why the plot cannot start in these directories; empty where it can."""
        for cache in dict.fromkeys((first, second)):
            shared = self._on_device(cache.device)
            if cache.problem:
                return f"{cache.path}: {cache.problem}"
            if cache.max_parallel and self._on(cache.path) >= cache.max_parallel:
                return f"{cache.path}: {self._on(cache.path)} of {cache.max_parallel} plots run there"
            if self.limits.max_per_device and shared >= self.limits.max_per_device:
                return f"{cache.path}: {shared} of {self.limits.max_per_device} plots run on its disk (talent.max_per_device)"
        return self._without_room(plot, first, second, dest) or self._stagger(first)

    def _without_room(self, plot: Waiting, first: Cache, second: Cache, dest: Destination) -> str:
        needs = {first.device: plot.need1}
        needs[second.device] = needs.get(second.device, 0) + plot.need2
        needs[dest.device] = needs.get(dest.device, 0) + _for_dest(plot, second, dest)
        promised = self._promised()
        for place, reserve in ((first, first.reserve), (second, second.reserve), (dest, 0)):
            taken, need = promised.get(place.device, 0), needs[place.device]
            if place.free - taken - reserve < need:
                kept = f" and {gib(reserve)} are kept" if reserve else ""
                room = f"{gib(place.free)} are free, of which plots that run need {gib(taken)}{kept}"
                return f"{gib(need)} are needed in {place.path}; {room}"
        return ""

    def _stagger(self, cache: Cache) -> str:
        early = [one for one in self.running if one.plotting and one.cache1 == cache.path and one.phase <= FIRST_PHASE]
        if self.limits.max_first_phase and len(early) >= self.limits.max_first_phase:
            return f"{cache.path}: {len(early)} plots are in phase 1 (talent.max_first_phase)"
        if self.limits.stagger_s and early:
            left = max(one.started_at for one in early) + self.limits.stagger_s - self.now
            if left > 0:
                self.again.append(left)
                return f"{cache.path}: staggered, the next start is in {_span(left)} or once the plot before leaves phase 1"
        return ""

    def _on(self, path: str) -> int:
        return sum(one.plotting and path in (one.cache1, one.cache2) for one in self.running)

    def _on_device(self, device: int) -> int:
        paths = {cache.path for cache in self.caches if cache.device == device}
        return sum(one.plotting and bool(paths & {one.cache1, one.cache2}) for one in self.running)

    def _promised(self) -> dict[int, int]:
        return promises(Snapshot(self.now, self.caches, self.destinations, self.running))


def _for_dest(plot: Waiting, second: Cache, dest: Destination) -> int:
    """A file that stays on its disk is not copied."""
    return 0 if dest.device == second.device else plot.need_dest


def promises(snapshot: Snapshot) -> dict[int, int]:
    """By device, the bytes that plots under way will still write to it, to temp directories and destinations together."""
    found: dict[int, int] = {}
    caches = {cache.path: cache.device for cache in snapshot.caches}
    dests = {dest.path: dest.device for dest in snapshot.destinations}
    for one in snapshot.running:
        for device, size in (
            (caches.get(one.cache1), one.will_write1),
            (caches.get(one.cache2), one.will_write2),
            (dests.get(one.dest), one.will_write_dest),
        ):
            if device is not None:
                found[device] = found.get(device, 0) + size
    return found


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
