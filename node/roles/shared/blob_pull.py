"""How are all chunks of a blob brought here by one list of digests?

A source has `WINDOW` asks out. What one of them asks for grows from a quarter of a chunk to a whole one while this run lives
on: a process that is killed early and often loses little of what was under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from node.clock import Clock
from node.errors import EcnodeError, Invalid, Malformed, NotFound, Rejected, TooLarge, Unavailable
from node.model.blob import PIECE_BYTES
from node.model.wire.blob import BLOB_CHUNK, ChunkRequest
from node.roles.shared.blob_plan import Ask, Plan
from node.storage.blobs import Receiving
from node.transport.base import Blob, Transport

WINDOW: Final = 4  # asks to one source at a time: × 1 MiB
STEPS: Final = ((64 * 2**20, 1), (128 * 2**20, 2))  # pieces of one ask while this run has received less; then a chunk
STEP_MOST: Final = 4
ASK_S: Final = 60.0  # a window of 4 MiB at 70 kB/s; a dead link is noticed earlier by its heartbeats
RETRY_S: Final = 0.5  # until a source that could not answer is asked again
PATIENCE_S: Final = 2.0  # then others help out with what a slow source was asked for


@dataclass(slots=True)
class Source:
    """A peer that may have the blob. `aside`: at odds with the list of now; `gone`: of no use for this blob.

    `step_most` are the pieces that one answer of it may carry.
    """

    name: str
    aside: bool = False
    gone: bool = False
    lacks: bool = False
    excuse: str = ""
    step_most: int = STEP_MOST

    @property
    def useful(self) -> bool:
        """Whether it can be asked for chunks."""
        return not (self.aside or self.gone)

    def refuse(self, error: Rejected) -> None:
        """It will not help with this blob, and says why."""
        self.gone, self.lacks, self.excuse = True, isinstance(error, NotFound), error.message


@dataclass(slots=True)
class Figures:
    """What blobs have cost this node: bytes that came in and went out, chunks and lists that were wrong."""

    received: int = 0
    served: int = 0
    wrong_chunks: int = 0
    false_lists: int = 0


class Pull:
    """All chunks of a blob by the list of `part`; run once. `most_bytes` is what an answer may carry here."""

    def __init__(
        self,
        part: Receiving,
        transport: Transport,
        clock: Clock,
        figures: Figures,
        tell: Callable[[int, int], None],
        *,
        most_bytes: int,
    ) -> None:
        self._part = part
        self._transport = transport
        self._clock = clock
        self._figures = figures
        self._tell = tell
        self._manifest = part.manifest
        self._plan = Plan(part.marks)
        self._chunks = self._manifest.layout.chunks
        self._step_most = min(max(most_bytes // PIECE_BYTES, 1), STEP_MOST)
        self._proven = 0
        self._sources: list[Source] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._changed = asyncio.Event()
        self._received = 0

    async def run(self, sources: Sequence[Source]) -> bool:
        """True once every chunk fits; False when all who answer are at odds with the list.

        Raises:
            StorageFailed: the disk refused.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for source in sources:
                    self.employ(source)
                self._workers.add(group.create_task(self._check()))
                while self._proven < self._chunks and any(source.useful for source in self._sources):
                    await self._change()
                self._group = None
                for worker in self._workers:
                    worker.cancel()
        except* EcnodeError as refused:
            raise refused.exceptions[0] from None
        return self._proven == self._chunks

    def employ(self, source: Source) -> None:
        """Has a source help from now on."""
        self._sources.append(source)
        if self._group is not None and source.useful:
            self._workers.update(self._group.create_task(self._work(source)) for _ in range(WINDOW))

    # one of the asks that a source has out

    async def _work(self, source: Source) -> None:
        while source.useful:
            now = self._clock.monotonic()
            ask = self._plan.take(source.name, self._step(source), now)
            old = self._plan.oldest_of_others(source.name) if ask is None else None
            if old is not None and old.at + PATIENCE_S <= now:
                ask = self._plan.again(old, source.name, self._step(source), now)
            if ask is not None:
                await self._carry_out(source, ask)
            else:
                await self._change(None if old is None else old.at + PATIENCE_S - now)

    async def _carry_out(self, source: Source, ask: Ask) -> None:
        try:
            content = await self._ask(source.name, ask.pieces)
        except TooLarge as error:  # the source's own transport.max_message is below a chunk
            if len(ask.pieces) == 1:
                source.refuse(error)
            # never up again: the refusal of a larger ask may come after that of a smaller one
            source.step_most = min(source.step_most, max(len(ask.pieces) // 2, 1))
            self._lose(source, ask)
        except Rejected as error:
            if isinstance(error, Invalid):  # it believes that the blob is shorter
                source.aside, source.excuse = True, error.message
            else:
                source.refuse(error)
            self._lose(source, ask)
        except Unavailable as error:
            source.excuse = error.message
            self._lose(source, ask)
            await self._clock.sleep(RETRY_S)
        else:
            await self._keep(ask, content)

    async def _ask(self, source: str, pieces: range) -> Blob:
        offset, length = self._manifest.layout.span(pieces)
        wanted = ChunkRequest(blob=self._manifest.id, offset=offset, length=length)
        answer = await self._transport.call(source, BLOB_CHUNK, wanted, timeout=ASK_S)
        given = [memoryview(blob).nbytes for blob in answer.blobs]
        if given != [length]:
            raise Malformed(f"asked for {length} bytes, it gave {given[:3]}")
        return answer.blobs[0]

    async def _keep(self, ask: Ask, content: Blob) -> None:
        try:
            await self._part.write(ask.pieces, content)
        finally:
            self._plan.answered(ask)
        size = memoryview(content).nbytes
        self._received += size
        self._figures.received += size
        if self._plan.arrived(ask) is not None:
            self._stir()
        self._tell(self._part.marks.received, self._manifest.size)

    def _lose(self, source: Source, ask: Ask) -> None:
        self._plan.answered(ask)
        self._plan.leave(source.name)
        self._stir()

    def _step(self, source: Source) -> int:
        wanted = next((pieces for received, pieces in STEPS if self._received < received), STEP_MOST)
        return min(wanted, self._step_most, source.step_most)

    async def _check(self) -> None:
        while self._proven < self._chunks:
            if not self._part.marks.has(self._proven):
                await self._change()
            elif await self._part.check(self._proven):
                self._proven += 1
            else:
                self._blame(self._proven)
        self._stir()

    def _blame(self, chunk: int) -> None:
        self._figures.wrong_chunks += 1
        author = self._plan.wrong(chunk)
        for source in self._sources:
            if source.name == author:
                source.aside, source.excuse = True, f"chunk {chunk} does not fit the list of digests"
                self._plan.leave(source.name)
        self._stir()

    def _stir(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, most: float | None = None) -> None:
        with suppress(TimeoutError):
            async with self._clock.timeout(most):
                await self._changed.wait()
