"""Which pieces of a blob are asked for next, from whom, and who is to blame for a chunk that is wrong?

No I/O here: the fetch asks, and tells what became of it. A chunk is one source's as long as that one delivers, so that a wrong
one has an author; only at the end, when nothing else is left to ask for, does a source help out with chunks of others. A chunk
of several authors that turns out wrong comes again whole from one of them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

from node.model.blob import Marks

EARLIER = ""  # author of what an earlier run received


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """Pieces of one chunk that a source was asked for, at a time of the clock."""

    source: str
    pieces: range
    at: float


class Plan:
    """The pieces that are missing of one blob."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._layout = marks.layout
        chunks = range(self._layout.chunks)
        self._free = [chunk for chunk in chunks if not marks.has(chunk)]
        self._whole = {chunk for chunk in chunks if marks.has(chunk)}
        self._owners: dict[int, str] = {}
        self._asks: list[Ask] = []
        self._alone: set[int] = set()
        self._authors: dict[int, set[str]] = {
            chunk: {EARLIER} for chunk in chunks if any(piece in marks for piece in self._layout.pieces_of(chunk))
        }

    def take(self, source: str, most: int, now: float) -> Ask | None:
        """The next pieces that `source` is to be asked for, at most that many; None where all are asked for."""
        for chunk in [chunk for chunk, owner in self._owners.items() if owner == source]:
            pieces = self._unasked(chunk)
            if pieces is not None:
                return self._ask(source, pieces[:most], now)
        while self._free:
            chunk = heapq.heappop(self._free)
            if chunk in self._whole:
                continue
            self._owners[chunk] = source
            if chunk in self._alone:
                self._marks.drop(chunk)
                self._authors.pop(chunk, None)
            pieces = self._unasked(chunk)
            if pieces is not None:
                return self._ask(source, pieces[:most], now)
        others = (self._unasked(chunk) for chunk in self._owners if chunk not in self._alone)
        pieces = next((pieces for pieces in others if pieces is not None), None)
        return self._ask(source, pieces[:most], now) if pieces is not None else None

    def oldest_of_others(self, source: str) -> Ask | None:
        """What another source was asked for the longest ago, and nobody besides."""
        pieces = Counter(piece for ask in self._asks for piece in ask.pieces)
        for ask in self._asks:
            chunk = self._layout.chunk_of(ask.pieces.start)
            if ask.source != source and chunk not in self._alone and all(pieces[piece] == 1 for piece in ask.pieces):
                return ask
        return None

    def again(self, ask: Ask, source: str, most: int, now: float) -> Ask:
        """The same pieces, or the first of them, asked of another source as well."""
        return self._ask(source, ask.pieces[:most], now)

    def answered(self, ask: Ask) -> None:
        """An ask has ended, well or not."""
        self._asks.remove(ask)

    def arrived(self, ask: Ask) -> int | None:
        """What was asked for is written and marked; the chunk, where that made it whole."""
        chunk = self._layout.chunk_of(ask.pieces.start)
        self._authors.setdefault(chunk, set()).add(ask.source)
        if chunk in self._whole or not self._marks.has(chunk):
            return None
        self._whole.add(chunk)
        self._owners.pop(chunk, None)
        return chunk

    def leave(self, source: str) -> None:
        """A source delivers no more for now: its chunks may be others'."""
        for chunk in [chunk for chunk, owner in self._owners.items() if owner == source]:
            del self._owners[chunk]
            heapq.heappush(self._free, chunk)

    def wrong(self, chunk: int) -> str | None:
        """A chunk does not have its digest and comes again; its author, where there is one that can be named."""
        authors = self._authors.pop(chunk, set())
        self._whole.discard(chunk)
        heapq.heappush(self._free, chunk)
        if len(authors) == 1 and EARLIER not in authors:
            return authors.pop()
        self._alone.add(chunk)
        return None

    def _ask(self, source: str, pieces: range, now: float) -> Ask:
        ask = Ask(source, pieces, now)
        self._asks.append(ask)
        return ask

    def _unasked(self, chunk: int) -> range | None:
        """The first run of pieces of a chunk that is neither there nor asked for."""
        out = {piece for ask in self._asks for piece in ask.pieces}
        for run in self._marks.missing(chunk):
            for start in run:
                if start not in out:
                    stop = next((piece for piece in range(start, run.stop) if piece in out), run.stop)
                    return range(start, stop)
        return None
