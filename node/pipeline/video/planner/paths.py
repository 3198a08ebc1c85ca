"""Which placements of many stages on many nodes are worth a look?

A placement's time is a sum over its stages and the ways between them, so that the quickest one is a shortest path through
(stage, node), found by dynamic programming. What a choice weighs is more than time; the path is therefore searched for several
weights of uncertainty and of price, and each path that one of them finds is then judged like any other.

Source: A. J. Viterbi, "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm", IEEE
Transactions on Information Theory 13 (1967), page 260.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

from node.pipeline.video.planner.offers import Option

QUICKEST: Final = 8  # nodes for each stage: 8 stages × 8² ways × 6 weights are 3000 steps
WEIGHTS: Final = tuple((sure, price) for sure in (0.0, 1.0) for price in (0.0, 0.3, 3.0))
"""Of a standard deviation, and of a price, in seconds."""

Chain = tuple[Option, ...]


def likely_paths(stages: Sequence[Sequence[Option]], price: Sequence[float]) -> list[Chain]:
    """The shortest path for each of the weights, and everything at one place where that is possible."""
    if not all(stages):
        return []
    few = [sorted(options, key=_quickness)[:QUICKEST] for options in stages]
    found: dict[tuple[int, ...], Chain] = {}
    for sure, dear in WEIGHTS:
        chain = _shortest(few, price, sure, dear)
        found[tuple(option.place for option in chain)] = chain
    for chain in _at_one_place(stages):
        found.setdefault(tuple(option.place for option in chain), chain)
    return list(found.values())


def _shortest(stages: Sequence[Sequence[Option]], price: Sequence[float], sure: float, dear: float) -> Chain:
    costs = [[_cost(option, sure) + dear * price[option.place] * option.work for option in options] for options in stages]
    best: list[tuple[float, Chain]] = [
        (cost + _way(option.enter.mean, option.enter.variance, sure), (option,))
        for option, cost in zip(stages[0], costs[0], strict=True)
    ]
    for options, own in zip(stages[1:], costs[1:], strict=True):
        best = [
            min(((so_far + cost + _between(chain[-1], option, sure), (*chain, option)) for so_far, chain in best), key=_first)
            for option, cost in zip(options, own, strict=True)
        ]
    return min(best, key=_first)[1]


def _at_one_place(stages: Sequence[Sequence[Option]]) -> list[Chain]:
    offered = [{option.place: option for option in options} for options in stages]
    return [tuple(each[place] for each in offered) for place in offered[0] if all(place in each for each in offered)]


def _between(before: Option, after: Option, sure: float) -> float:
    if before.place == after.place:
        return 0.0
    if after.straight and (way := after.straight.get(before.place)) is not None:
        return _way(way.time.mean, way.time.variance, sure)
    return _way(before.leave.mean + after.enter.mean, before.leave.variance + after.enter.variance, sure)


def _cost(option: Option, sure: float) -> float:
    return option.stay.mean + sure * sqrt(option.stay.variance)


def _way(mean: float, variance: float, sure: float) -> float:
    return mean + sure * sqrt(variance)


def _quickness(option: Option) -> float:
    return option.stay.mean + option.enter.mean


def _first(pair: tuple[float, Chain]) -> float:
    return pair[0]
