"""What does a benchmark print, and does it hold its bars?"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One subject in one case: the median of its rounds, and its median ratio to the comparator where there is one."""

    case: str
    subject: str
    value: float
    unit: str
    ratio: float | None
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that was promised: `bound` is `>= x` or `<= x`."""

    name: str
    value: float
    bound: str

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        sign, limit = self.bound.split()
        return self.value >= float(limit) if sign == ">=" else self.value <= float(limit)


def row(case: str, subject: str, values: Sequence[float], unit: str, ratio: float | None = None) -> Row:
    """A row of all the rounds' values."""
    rounded = None if ratio is None else round(ratio, 3)
    return Row(case, subject, round(median(values), 3), unit, rounded, round(min(values), 3), round(max(values), 3))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios: both were measured in turns."""
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def show(benchmark: str, rows: Sequence[Row], bars: Sequence[Bar], *, as_json: bool) -> None:
    """Prints the table, or the object that the docs asks for."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if as_json:
        found = {
            "benchmark": benchmark,
            "machine": machine,
            "results": [asdict(each) for each in rows],
            "bars": [{"name": bar.name, "value": round(bar.value, 3), "bound": bar.bound, "holds": bar.holds} for bar in bars],
        }
        print(json.dumps(found, indent=2))
        return
    print(f"{benchmark} · {machine}")
    for each in rows:
        compared = "" if each.ratio is None else f"  × {each.ratio}"
        print(f"{each.case:<16} {each.subject:<24} {each.value:>12} {each.unit:<9} ({each.min} – {each.max}){compared}")
    for bar in bars:
        print(f"{'✓' if bar.holds else '✗'} {bar.name} {bar.value:.3f} {bar.bound}")
