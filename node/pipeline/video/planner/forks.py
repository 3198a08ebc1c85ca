"""How long does a pipeline take that forks, and what does it use, at given places?

Branches run at once, as far as a node has workers for them; what a frame takes is the longest way through. A stage that takes
from one other at the same place, and is the only one to, is in one call with it. Else what it needs comes by the host, or where
that is quicker straight from the node before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TypeAlias

from node.pipeline.video.planner.lognormal import LEAST_S, Time
from node.pipeline.video.planner.offers import Option, Way

Takes: TypeAlias = Sequence[Sequence[int]]
"""For each stage the places, in the order of the stages, of those that it takes from."""
Chain: TypeAlias = tuple[Option, ...]


def every_fork(stages: Sequence[Sequence[Option]], takes: Takes) -> list[tuple[Time, Chain]]:
    """Every way to place the stages, with the time of each."""
    return [(time_of_fork(chain, takes), chain) for chain in product(*stages)]


def time_of_fork(chain: Chain, takes: Takes) -> Time:
    """The time of a frame."""
    ends: list[Time] = []
    lanes: dict[int, list[float]] = {}
    for stage, option in enumerate(chain):
        ready = _ready(chain, takes, stage, ends)
        free = lanes.setdefault(option.place, [0.0] * option.lanes)
        lane = max((one for one in range(len(free)) if free[one] <= ready.mean), key=free.__getitem__, default=-1)
        if lane < 0:  # no worker is free yet: the first that will be
            lane = min(range(len(free)), key=free.__getitem__)
            ready = Time(free[lane], ready.variance)
        ends.append(_sum(ready, option.stay))
        free[lane] = ends[-1].mean
    return max(ends, key=_mean)


def moves(chain: Sequence[Option], takes: Takes, stage: int) -> tuple[Sequence[int], bool, Way | None]:
    """What is moved before a stage can begin: from which stages to the host, whether from the host to it, or else straight."""
    before = takes[stage]
    if is_joined(chain, takes, stage):
        return (), False, None
    if len(before) == 1 and (way := chain[stage].straight.get(chain[before[0]].place)) is not None:
        return (), False, way
    return before, True, None  # what leaves the host or comes back to it from itself takes no time and has no bytes


def is_joined(chain: Sequence[Option], takes: Takes, stage: int) -> bool:
    """Whether a stage is in one call with the one that it takes from."""
    before = takes[stage]
    if len(before) != 1 or chain[before[0]].place != chain[stage].place:
        return False
    return sum(before[0] in others for others in takes) == 1


def _ready(chain: Chain, takes: Takes, stage: int, ends: Sequence[Time]) -> Time:
    """When all that a stage needs is there."""
    back, enters, way = moves(chain, takes, stage)
    came = [_sum(ends[one], chain[one].leave) if one in back else ends[one] for one in takes[stage]]
    latest = max(came, key=_mean, default=Time())
    if way is not None:
        return Time(max(latest.mean + way.time.mean, LEAST_S), latest.variance + way.time.variance)
    return _sum(latest, chain[stage].enter) if enters else latest


def _sum(one: Time, other: Time) -> Time:
    return Time(one.mean + other.mean, one.variance + other.variance)


def _mean(time: Time) -> float:
    return time.mean
