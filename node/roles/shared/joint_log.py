"""How do the logs of many parts become the one log of their joint task?

Each line is led by the name of its edge. What is about to be added is written down first, with its place in the part's log and
in the merged one: cut off in between, exactly the same bytes are added again, because logs only grow.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from node.clock import Clock
from node.errors import EcnodeError, StorageFailed
from node.model.task import Task
from node.roles.shared.joint_rules import is_over
from node.roles.shared.task_logs import LogPart

log = logging.getLogger(__name__)

PLACES: Final = "places"
LINE_MOST: Final = 16 * 1024  # a line that is longer becomes several
MERGED_MOST: Final = 256 * 2**20  # of a joint task; what comes then is found with the parts
AWAY_S: Final = 1.0
PATIENCE_S: Final = 15.0  # with an edge that is away, once its part is over


class Parts(Protocol):
    """Where parts and their logs are found."""

    async def part(self, id: str) -> Task:
        """The part as it stands."""

    async def changed(self, known: Task) -> Task:
        """The part once it stands otherwise, or after a while."""

    async def said(self, part: Task, attempt: int, offset: int) -> LogPart:
        """What an attempt said behind an offset; waits a while where that is nothing yet."""


@dataclass(slots=True)
class _Place:
    """How much of a part's log is merged."""

    attempt: int = 1
    offset: int = 0


@dataclass(slots=True)
class JointLog:
    """The merged log of one joint task, at `path`. `open` before anything is followed."""

    path: Path
    parts: Parts
    clock: Clock
    _places: dict[str, _Place] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _size: int = 0

    async def open(self) -> None:
        """Finds where an earlier life was, and finishes what it was about to add; StorageFailed if the disk refuses."""
        try:
            await asyncio.to_thread(self._recall)
        except OSError as error:
            raise _refused(error) from error

    async def follow(self, id: str, label: str) -> None:
        """Adds what a part says until it is over and all of it is there, or it stays out of reach after its end."""
        place, known = self._places.setdefault(id, _Place()), await self.parts.part(id)
        away, seen = 0.0, 0  # `seen` is behind a line that is not whole yet
        while self._size < MERGED_MOST:
            try:
                if not (known.attempt or is_over(known)):
                    known = await self.parts.changed(known)
                    continue
                part = await self._next(known, place, seen)
            except EcnodeError as error:
                away += AWAY_S if is_over(known) else 0.0
                if away >= PATIENCE_S:
                    log.warning("the rest of a part's log stays there", extra={"task": id, "reason": error.message})
                    return
                await self.clock.sleep(AWAY_S)
                known = await self.parts.part(id)
                continue
            last = is_over(known) or known.attempt > place.attempt
            cut = _whole_lines(part.content, last=last and place.offset + len(part.content) >= part.size)
            seen = 0 if cut else place.offset + len(part.content)
            if cut:
                await self._add(id, label, _Place(place.attempt, place.offset + cut), part.content[:cut])
                place = self._places[id]
            elif not last:
                known = await self.parts.part(id)
            elif known.attempt > place.attempt:
                place.attempt, place.offset, seen = place.attempt + 1, 0, 0
            else:
                return

    async def _next(self, known: Task, place: _Place, seen: int) -> LogPart:
        if not known.attempt or (is_over(known) and known.started_at is None):
            return LogPart(0, b"", 0)
        if seen > place.offset and not is_over(known):
            await self.parts.said(known, place.attempt, seen)  # the line goes on, or there is no more of it
        return await self.parts.said(known, place.attempt, place.offset)

    async def _add(self, id: str, label: str, place: _Place, content: bytes) -> None:
        merged = b"".join(label.encode() + b" | " + line for line in _lines(content))
        async with self._lock:
            try:
                await asyncio.to_thread(self._write, {**self._places, id: place}, merged)
            except OSError as error:
                raise _refused(error) from error

    def _write(self, places: dict[str, _Place], merged: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = {"at": self._size, "places": {part: (place.attempt, place.offset) for part, place in places.items()}}
        new = self.path.parent / f"{PLACES}.new"
        new.write_bytes(json.dumps(told).encode() + b"\n" + merged)
        new.rename(self.path.parent / PLACES)
        self._put(self._size, merged)
        self._places = places

    def _recall(self) -> None:
        with suppress(FileNotFoundError):
            head, _, merged = (self.path.parent / PLACES).read_bytes().partition(b"\n")
            told = json.loads(head)
            self._put(told["at"], merged)
            self._places = {part: _Place(*place) for part, place in told["places"].items()}

    def _put(self, at: int, merged: bytes) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            written = 0
            while written < len(merged):
                written += os.pwrite(file, merged[written:], at + written)
        finally:
            os.close(file)
        self._size = at + len(merged)


def _refused(error: OSError) -> StorageFailed:
    return StorageFailed(f"a joint task's log cannot be written: {error.strerror}")


def _whole_lines(content: bytes, *, last: bool) -> int:
    """How many bytes of what is there are whole lines; all of it where nothing follows."""
    end = content.rfind(b"\n") + 1
    return len(content) if last or (not end and len(content) >= LINE_MOST) else end


def _lines(content: bytes) -> list[bytes]:
    return [
        line[start : start + LINE_MOST] + b"\n"
        for line in content.removesuffix(b"\n").split(b"\n")
        for start in range(0, max(len(line), 1), LINE_MOST)
    ]
