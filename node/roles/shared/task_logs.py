"""How is the log of a task read while it grows?

A log is a file that only grows; a place in it is an offset in bytes. Whoever follows it looks at its size: 2 µs each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.clock import Clock

LOOK_EVERY: Final = 0.01  # 50 followers cost a hundredth of a core by it
PART_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogPart:
    """Bytes of a log from `offset` on, and how many it has by now."""

    offset: int
    content: bytes
    size: int


def size(path: Path) -> int:
    """How many bytes a log has; 0 before it exists."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read(path: Path, offset: int, most: int = PART_BYTES) -> LogPart:
    """At most `most` bytes behind `offset`; whoever has the disk's beginning taken away reads on where there is content."""
    try:
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size
            return LogPart(min(offset, whole), os.pread(file.fileno(), most, offset), whole)
    except FileNotFoundError:
        return LogPart(0, b"", 0)


def tail(path: Path, lines: int, most: int = PART_BYTES) -> int:
    """The offset at which the last `lines` lines begin, no further from the end than `most` bytes."""
    whole = size(path)
    if lines <= 0 or not whole:
        return whole
    start = max(0, whole - most)
    content = read(path, start, most).content
    place = len(content) - (1 if content.endswith(b"\n") else 0)
    for _ in range(lines):
        place = content.rfind(b"\n", 0, place)
        if place < 0:
            return start
    return start + place + 1


async def grown(clock: Clock, path: Path, offset: int, ended: asyncio.Event, enough: Callable[[], bool]) -> None:
    """Returns once the log is longer than `offset`, or nothing will come any more."""
    while size(path) <= offset and not ended.is_set() and not enough():
        with suppress(TimeoutError):
            async with clock.timeout(LOOK_EVERY):
                await ended.wait()
