"""What can the nodes do for a query at one moment, and what has to be moved for it?

An option is one stage on one node at one resolution, with the ways there and back; a choice is made of options. Those of a
resolution are made when they are first asked for, because most are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Final, NamedTuple

from node.model.video import Resolution
from node.pipeline.video.planner.lognormal import Time


class Way(NamedTuple):
    """From one node straight to the next, past the host: the time, and the share of the link that one frame a second takes."""

    time: Time
    share: float


_NO_WAYS: Final[Mapping[int, Way]] = MappingProxyType({})
_NO_TIME: Final = Time()


class Option(NamedTuple):
    """One stage on one node at one resolution, as it is expected now.

    `enter` is the way there from anywhere else, `leave` the way back of what the next stage needs elsewhere; times per frame.
    `work` is the share of the node that one frame a second takes, `enter_share` and `leave_share` those of the link; `sure` is
    the chance that a frame is not lost there. `straight` are the places from which what the stage needs comes more quickly
    without the host; `lanes` is how many calls the node runs at once.
    """

    place: int
    stay: Time
    enter: Time
    leave: Time
    work: float
    enter_bytes: float
    leave_bytes: float
    enter_share: float
    leave_share: float
    sure: float = 1.0
    straight: Mapping[int, Way] = _NO_WAYS
    lanes: int = 1


class Pace(NamedTuple):
    """A stage on a node: seconds at each resolution, what they are multiplied with alone and in a crowd, relative variance,
    and the chance that a frame is not lost.
    """

    profile: Mapping[Resolution, float]
    alone: float
    crowd: float
    spread: float
    sure: float


class Hop(NamedTuple):
    """The way from one node to another: what it takes without a byte, for each byte, and its relative variance."""

    rest_s: float
    byte_s: float
    spread: float


class Spot(NamedTuple):
    """A node: its place, its workers, its stages, the way there from the host, and those from other places; `home` has none."""

    place: int
    workers: int
    stages: Sequence[Pace | None]
    home: bool
    way: Hop
    others: Mapping[int, Hop]


class Moved(NamedTuple):
    """What a stage at one resolution has moved, in bytes: to it, and back from it. `after` is the stage from which it can get
    all that it needs without the host, -1 where there is none.
    """

    enter: float
    leave: float
    after: int


class Offers:
    """The options of one query at one moment; those of a resolution are made when they are first asked for."""

    def __init__(self, spots: Sequence[Spot], moved: Mapping[Resolution, Sequence[Moved]]) -> None:
        self._spots = spots
        self._moved = moved
        self._made: dict[Resolution, list[list[Option]]] = {}

    @property
    def resolutions(self) -> Sequence[Resolution]:
        """Those that the camera gives, the smallest first."""
        return tuple(self._moved)

    def at(self, resolution: Resolution) -> list[list[Option]]:
        """For every stage the nodes that offer it, each by its place among the query's nodes."""
        found = self._made.get(resolution)
        if found is None:
            moved = self._moved[resolution]
            found = [self._stage(stage, resolution, sizes) for stage, sizes in enumerate(moved)]
            if any(spot.others for spot in self._spots):
                found = [self._shortened(options, found, sizes) for options, sizes in zip(found, moved, strict=True)]
            self._made[resolution] = found
        return found

    def only(self, place: int) -> Offers:
        """The same with one node alone."""
        return Offers([spot for spot in self._spots if spot.place == place], self._moved)

    def count(self) -> int:
        """How many ways there are to place the stages, at all resolutions."""
        stages = range(len(next(iter(self._moved.values()), ())))
        return len(self._moved) * prod(sum(spot.stages[stage] is not None for spot in self._spots) for stage in stages)

    def _stage(self, stage: int, resolution: Resolution, sizes: Moved) -> list[Option]:
        found = []
        enter_bytes, leave_bytes, _ = sizes
        for place, workers, stages, home, (rtt_s, byte_s, spread), _ in self._spots:
            pace = stages[stage]
            worker = 1 / workers
            if pace is None or resolution not in pace.profile:
                continue
            alone = pace.profile[resolution] * pace.alone
            mean = alone * pace.crowd
            stay = Time(mean, mean * mean * pace.spread)
            if home:
                work = alone * worker
                found.append(Option(place, stay, _NO_TIME, _NO_TIME, work, 0.0, 0.0, 0.0, 0.0, pace.sure, _NO_WAYS, workers))
                continue
            enter_s, leave_s = enter_bytes * byte_s, leave_bytes * byte_s
            enter = Time(enter_s + rtt_s, (enter_s + rtt_s) ** 2 * spread)
            leave = Time(leave_s, leave_s * leave_s * spread)
            found.append(
                Option(
                    place,
                    stay,
                    enter,
                    leave,
                    alone * worker,
                    enter_bytes,
                    leave_bytes,
                    enter_s,
                    leave_s,
                    pace.sure,
                    _NO_WAYS,
                    workers,
                )
            )
        return found

    def _shortened(self, options: list[Option], stages: Sequence[Sequence[Option]], sizes: Moved) -> list[Option]:
        """The options of a stage, with the ways that are quicker than the one over the host."""
        if sizes.after < 0:
            return options
        others = {spot.place: spot.others for spot in self._spots}
        found = []
        for option in options:
            ways: dict[int, Way] = {}
            for before in stages[sizes.after]:
                hop = others[option.place].get(before.place)
                if hop is None or before.place == option.place:
                    continue
                moved_s = sizes.enter * hop.byte_s
                mean = moved_s + hop.rest_s
                if mean < before.leave.mean + option.enter.mean:
                    ways[before.place] = Way(Time(mean, mean * mean * hop.spread), moved_s)
            found.append(option._replace(straight=ways) if ways else option)
        return found
