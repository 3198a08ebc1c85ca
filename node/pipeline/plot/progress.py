"""How far is a plot, and when will it be done?

Progress is a share of time, not of tables. Which phase takes which share depends on size, plotter and machine: a worker learns
it from its own finished plots, and begins with what was measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Phases: TypeAlias = tuple[float, float, float, float]

LARGE: Final = 25  # from this size on the disk sets the pace, and phases share the time as at k32
PLOTTER_SHARE: Final = 0.99  # the rest is the way to the destination and the proof
HISTORY: Final = 10  # plots that are learned from: a machine changes
CERTAIN: Final = 0.02  # progress below which its own pace says nothing

_SMALL_K: Final[Phases] = (0.70, 0.05, 0.235, 0.015)  # measured at k18 to k20
_K32: Final[Phases] = (0.44, 0.173, 0.363, 0.024)  # measured at k32 by many: 2021's plots of chia's own plotter


@dataclass(frozen=True, slots=True)
class Pace:
    """The shares of the four phases, and the seconds that the whole usually takes; None where nothing was learned."""

    shares: Phases
    total_s: float | None = None


def pace(ksize: int, history: Sequence[Phases] = ()) -> Pace:
    """What is to be expected of a plot, from the phases' seconds of plots like it on this worker, newest first."""
    usable = [phases for phases in history if sum(phases) > 0][:HISTORY]
    if not usable:
        return Pace(_K32 if ksize >= LARGE else _SMALL_K)
    total = sum(sum(phases) for phases in usable)
    first, second, third, fourth = (sum(phases[place] for phases in usable) / total for place in range(4))
    ordered = sorted(sum(phases) for phases in usable)
    return Pace((first, second, third, fourth), ordered[len(ordered) // 2])


# The share of each table in its phase, in the order of work, as measured at k18 to k20; at k32 they differ by less than 5 %.
_TABLES: Final = (
    (0.02, 0.17, 0.18, 0.18, 0.17, 0.15, 0.13),  # phase 1, tables 1 to 7
    (0.06, 0.19, 0.19, 0.19, 0.19, 0.18),  # phase 2, tables 7 to 2
    (0.16, 0.16, 0.17, 0.17, 0.17, 0.17),  # phase 3, tables 1-2 to 6-7
    (1.0,),
)


def fraction(phase: int, table: int, part: float, shares: Phases) -> float:
    """The share of the plot's time that lies behind a place in its log, 0 to `PLOTTER_SHARE`; 1 is for the proven file only."""
    if phase <= 0:
        return 0.0
    if phase > 4:
        return PLOTTER_SHARE
    weights = _TABLES[phase - 1]
    behind = min((7 - table if phase == 2 else table - 1) if table else 0, len(weights) - 1)
    within = sum(weights[:behind]) + weights[behind] * part
    return PLOTTER_SHARE * min(sum(shares[: phase - 1]) + shares[phase - 1] * min(within, 1.0), 1.0)


def remaining(done: float, elapsed: float, total_s: float | None) -> float | None:
    """Seconds to the end: at first what is usual here, later more and more the plot's own pace; None where neither is known."""
    usual = None if total_s is None else max(total_s * (1 - done), 0.0)
    if done < CERTAIN:
        return usual
    own = elapsed * (1 - done) / done
    return own if usual is None else done * own + (1 - done) * usual
