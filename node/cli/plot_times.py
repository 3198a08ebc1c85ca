"""How long do the phases of plots take, and where?"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from node.cli.output import Column, seconds_text
from node.model.plot import PlotStatus

PARTS: Final = ("p1_total", "p2_total", "p3_total", "p4_total", "total", "copy")


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """The finished plots of one talent, temp directory and size; seconds by part, those that were told."""

    talent: str
    cache: str
    ksize: int
    plots: int
    seconds: dict[str, tuple[float, ...]]

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return f"{self.talent}:{self.cache}:k{self.ksize}"

    def median(self, part: str) -> float | None:
        """The median seconds of a part, None where no log told any."""
        return statistics.median(self.seconds[part]) if self.seconds[part] else None

    def most(self, part: str) -> float | None:
        """The slowest."""
        return max(self.seconds[part], default=None)

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "talent": self.talent,
            "cache": self.cache,
            "ksize": self.ksize,
            "plots": self.plots,
            **{part: {"median_s": self.median(part), "max_s": self.most(part)} for part in PARTS},
        }


def compare(plots: Iterable[PlotStatus]) -> list[PhaseTimes]:
    """One row for each talent, temp directory and size, in that order."""
    groups: dict[tuple[str, str, int], list[PlotStatus]] = {}
    for plot in plots:
        groups.setdefault((plot.node or "–", plot.cache1 or "–", plot.ksize or 0), []).append(plot)
    return [
        PhaseTimes(talent, cache, ksize, len(found), {part: _seconds(found, part) for part in PARTS})
        for (talent, cache, ksize), found in sorted(groups.items())
    ]


def _seconds(plots: Sequence[PlotStatus], part: str) -> tuple[float, ...]:
    return tuple(value for plot in plots if (value := plot.times.get(f"{part}_time")) is not None)


def _column(title: str, part: str) -> Column[PhaseTimes]:
    def text(row: PhaseTimes) -> str:
        median, most = row.median(part), row.most(part)
        return "–" if median is None or most is None else f"{seconds_text(median)} / {seconds_text(most)}"

    return Column(title, text)


COLUMNS: Final[Sequence[Column[PhaseTimes]]] = (
    Column("TALENT", lambda row: row.talent),
    Column("CACHE", lambda row: row.cache),
    Column("K", lambda row: str(row.ksize)),
    Column("PLOTS", lambda row: str(row.plots)),
    *(_column(title, part) for title, part in zip(("P1", "P2", "P3", "P4", "TOTAL", "COPY"), PARTS, strict=True)),
)
