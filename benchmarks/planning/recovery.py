"""How long does a query suffer after something became worse?

A step counts where the utility of the second after it lies below `FELT` of the oracle's. It is over once a whole second
reaches `WELL` of the oracle's again. Steps that another one follows within `CLEAR_S` say nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from planning.run import Trace, Track

GRID_S: Final = 0.25
SECOND: Final = round(1 / GRID_S)
CLEAR_S: Final = 8.0
FELT, WELL = 0.7, 0.85
SETTLED_S: Final = 10.0  # the beginning of a run is no step


def recoveries(trace: Trace, best: Trace, steps: Sequence[float], track: Track, seconds: float) -> list[float]:
    """Seconds of each step that was felt."""
    ours, theirs = series(trace, track, seconds), series(best, track, seconds)
    found = []
    for step, following in pairwise([*steps, seconds]):
        if following - step < CLEAR_S or step < SETTLED_S or step + CLEAR_S > seconds:
            continue
        first = round(step / GRID_S)
        last = round(min(following, seconds) / GRID_S) - SECOND
        if _second(ours, first) >= FELT * _second(theirs, first) and _second(ours, first + 2) >= FELT * _second(
            theirs, first + 2
        ):
            continue
        over = next((place for place in range(first, last) if _second(ours, place) >= WELL * _second(theirs, place)), last)
        found.append((over - first) * GRID_S)
    return found


def series(trace: Trace, track: Track, seconds: float) -> list[float]:
    """The utility at every point of the grid."""
    asked = track.constraint.accuracy or 1.0
    out = [0.0] * (round(seconds / GRID_S) + 1)
    for frame in trace.frames:
        worth = min(frame.accuracy, asked) / asked if frame.figure <= track.limit else 0.0
        for place in range(-int(-frame.at // GRID_S), min(int((frame.at + frame.covers) / GRID_S) + 1, len(out))):
            out[place] = worth
    return out


def _second(values: Sequence[float], place: int) -> float:
    part = values[place : place + SECOND]
    return sum(part) / len(part) if part else 0.0
