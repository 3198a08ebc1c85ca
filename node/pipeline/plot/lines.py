"""What can a line of a plotter's log tell, and how is the reader of a line registered?

A dialect is a registry: each handler stands under a sample of the line that it reads, and a test runs every handler on its
sample. The first word of a line finds its handlers, so that the many lines that say nothing cost next to nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from node.model.plot import TimeKind

NUMBER: Final = r"([-+]?[\w.+-]+)"  # 0.074, 2, 1e+06, nan, inf: what C++ streams print
TEXT_MOST: Final = 500  # characters of a line that are passed on


@dataclass(frozen=True, slots=True)
class Found:
    """A value of the plot's own: a column and what it is."""

    column: str
    value: str | int


@dataclass(frozen=True, slots=True)
class Took:
    """A time, as `PlotTime` has it; `seconds` is finite and not negative, `cpu` in percent of a core."""

    phase: int
    table: int
    kind: TimeKind
    seconds: float
    cpu: float | None


@dataclass(frozen=True, slots=True)
class At:
    """The plotter works on this table of this phase, of which `part` is done."""

    phase: int
    table: int
    part: float = 0.0


@dataclass(frozen=True, slots=True)
class Stalled:
    """The plotter cannot go on and waits; a full disk does not end it."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The plotter has given its file the final name."""

    file_name: str


LogEvent: TypeAlias = Found | Took | At | Stalled | Closed


@dataclass(slots=True)
class Cursor:
    """Where a reader stands in a log, and what it has found since it was asked last."""

    phase: int = 0
    table: int = 0
    part: float = 0.0
    buckets: int = 0
    events: list[LogEvent] = field(default_factory=list)

    def at(self, phase: int, table: int, part: float = 0.0) -> None:
        """Goes to a step; one that lies behind is not gone back to."""
        if (phase, _order(phase, table), part) < (self.phase, _order(self.phase, self.table), self.part):
            return
        self.phase, self.table, self.part = phase, table, part
        self.events.append(At(phase, table, part))

    def took(self, phase: int, table: int, kind: TimeKind, seconds: str, cpu: str | None = None) -> None:
        """Notes a time; one that is no number, or negative because the machine's clock was set, is none."""
        spent = number(seconds)
        if spent is not None:
            self.events.append(Took(phase, table, kind, spent, None if cpu is None else number(cpu)))

    def found(self, column: str, value: str | int) -> None:
        """Notes a value."""
        self.events.append(Found(column, value))

    def counted(self, column: str, text: str) -> None:
        """Notes a whole number, however the plotter has written it."""
        value = number(text)
        if value is not None:
            self.found(column, int(value))


def _order(phase: int, table: int) -> int:
    """Phase 2 goes through the tables backwards."""
    return 7 - table if phase == 2 and table else table


def number(text: str) -> float | None:
    """A finite number that is not negative, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


LineHandler: TypeAlias = Callable[[Cursor, re.Match[str]], None]


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of line: its pattern, what it means, and a real one."""

    pattern: re.Pattern[str]
    act: LineHandler
    sample: str


class Dialect:
    """The lines of one plotter. `silent` are first words of lines that are known and say nothing of interest."""

    def __init__(self, name: str, silent: str) -> None:
        self.name = name
        self.silent = frozenset(silent.split())
        self.lines: dict[str, list[Line]] = {}

    def line(self, pattern: str, sample: str) -> Callable[[LineHandler], LineHandler]:
        """Registers the handler of the lines that `pattern` matches from their first letter on."""
        expression = re.compile(pattern)
        assert expression.match(sample), f"{self.name}: the sample does not match {pattern}"

        def register(act: LineHandler) -> LineHandler:
            self.lines.setdefault(first_word(sample), []).append(Line(expression, act, sample))
            return act

        return register

    def read(self, cursor: Cursor, line: str) -> bool:
        """Reads one line without its end; False where it is unknown."""
        word = first_word(line)
        for known in self.lines.get(word, ()):
            found = known.pattern.match(line)
            if found is not None:
                known.act(cursor, found)
                return True
        return word in self.silent


def first_word(line: str) -> str:
    """The first word of a line that does not begin with a blank."""
    return line.split(None, 1)[0] if line else ""
