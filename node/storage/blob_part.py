"""How does a blob come in piece by piece, in any order, across kills, and become one only if it is the right one?

A mark is a claim, a digest is the proof. A piece is marked as soon as its bytes are written, without a flush: a killed
process loses neither, the kernel has both. What a power cut may have torn is found because every byte is hashed before it
counts; those of an earlier run are read back for it. Now and then what came in is flushed behind the writers' backs, so that a
power cut costs `SYNC_BYTES` or little more and the last flush is short.

One thread at a time works on a part: it takes all that waits, writes it, and hashes it from memory where it comes in order,
which is the rule. What the hash has passed must not change any more: a piece that is marked or being written is not written
again, and where one of the chunk in work is, after that was refused, the hash goes back to the chunk's beginning.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from node.errors import Conflict, Invalid, StorageFailed
from node.model.blob import BlobInfo, Manifest, Marks
from node.storage.blob_files import BlobFolder, marks_offset, read_into, told, write_all
from node.storage.blob_threads import Threads

SYNC_BYTES: Final = 32 * 2**20
_CLOSED: Final = -1


class Owner(Protocol):
    """Who keeps the books of a part."""

    async def commit(self, part: Part) -> BlobInfo:
        """Makes a part whose content is proven a complete blob."""

    def closed(self, part: Part) -> None:
        """The part's files are closed."""


@dataclass(slots=True, eq=False)
class _Job:
    """Pieces to write; without content, a chunk to hash to its end, or with `again` to take back."""

    pieces: range
    content: memoryview | None
    again: bool
    done: asyncio.Future[None]


class Part:
    """One blob on its way in; the `Receiving` of a folder of blobs. Used from one event loop."""

    def __init__(self, owner: Owner, threads: Threads, manifest: Manifest, marks: Marks) -> None:
        self.manifest = manifest
        self.marks = marks
        self.file = _CLOSED
        self._marks_file = _CLOSED
        self._layout = manifest.layout
        self._owner = owner
        self._threads = threads
        self._jobs: list[_Job] = []
        self._working = False
        self._writing: set[int] = set()
        self._proven = 0
        self._refuted: set[int] = set()
        self._next = 0  # the first piece that is not hashed
        self._whole = hashlib.sha256()
        self._before = hashlib.sha256()  # as it was at the beginning of the chunk
        self._unflushed = 0
        self._flushing = False
        self._refused: StorageFailed | None = None
        self._ended = False

    async def open(self, folder: BlobFolder) -> None:
        """Makes the files, or opens those of an earlier run. Closes the part where that fails."""
        try:
            await self._threads.run(self._begin, folder)
        except BaseException:
            await self.close()
            raise

    async def write(self, pieces: range, content: bytes | bytearray | memoryview) -> None:
        """Writes pieces that follow each other, and marks them; what is there already stays as it is.

        Raises:
            Invalid: as many bytes as they have were not given.
            StorageFailed: the disk refused.
        """
        start, length = self._layout.span(pieces)
        view = memoryview(content)
        if view.nbytes != length:
            raise Invalid(f"{view.nbytes} bytes for pieces of {length}")
        for run in self._runs(pieces):
            offset, count = self._layout.span(run)
            await self._do(run, view[offset - start : offset - start + count])

    def _runs(self, pieces: range) -> list[range]:
        """What of these pieces has yet to be written; none of it reaches over the end of a chunk."""
        wanted = [piece for piece in pieces if piece not in self.marks and piece not in self._writing]
        if len(wanted) == len(pieces) and self._layout.chunk_of(pieces.start) == self._layout.chunk_of(pieces.stop - 1):
            return [pieces]
        return [range(piece, piece + 1) for piece in wanted]

    async def check(self, chunk: int) -> bool:
        """Whether the first chunk that is not proven yet has its digest; where not, nothing of it is there any more.

        Raises:
            Conflict: it is another chunk's turn, or this one is not there whole.
        """
        if chunk < self._proven:
            return True
        if chunk > self._proven or not self.marks.has(chunk):
            raise Conflict(f"chunk {chunk} is not the next that can be proven")
        pieces = self._layout.pieces_of(chunk)
        if chunk not in self._refuted:
            await self._do(pieces)
        if chunk < self._proven:
            return True
        await self._do(pieces, again=True)
        self.marks.drop(chunk)
        return False

    async def finish(self) -> BlobInfo:
        """The complete blob, durable and under its name; the part is closed then.

        Raises:
            Conflict: not every chunk is proven.
            StorageFailed: the disk refused.
        """
        if self._proven != self._layout.chunks:
            raise Conflict(f"{self._proven} of {self._layout.chunks} chunks of blob {self.manifest.id[:12]} are proven")
        await self._threads.settle()
        try:
            if self._refused is not None:
                raise self._refused
            return await self._owner.commit(self)
        finally:
            await self.close()

    async def close(self) -> None:
        """Waits for what is under way and closes the files; a later run goes on from there. Harmless when repeated."""
        if self._ended:
            return
        self._ended = True
        await self._threads.settle()
        for descriptor in (self.file, self._marks_file):
            if descriptor != _CLOSED:
                os.close(descriptor)
        if self._refused is not None:
            self.marks = Marks(self._layout)  # the system may show what the disk does not have
        self._owner.closed(self)

    # one thread at a time

    async def _do(self, pieces: range, content: memoryview | None = None, *, again: bool = False) -> None:
        if self._refused is not None:
            raise self._refused
        job = _Job(pieces, content, again, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if content is not None:
            self._writing.update(pieces)
        self._start()
        await job.done

    def _start(self) -> None:
        if self._jobs and not self._working and not self._ended:
            jobs, self._jobs, self._working = self._jobs, [], True
            self._threads.start(self._work, jobs).add_done_callback(lambda worked: self._worked(jobs, worked))

    def _worked(self, jobs: Sequence[_Job], worked: asyncio.Future[None]) -> None:
        self._working = False
        error = worked.exception()
        for job in jobs:
            if job.content is not None:
                self._writing.difference_update(job.pieces)
                if error is None:
                    self.marks.add(job.pieces)
                    self._unflushed += job.content.nbytes
                job.content = None
            if error is not None and not job.done.done():
                job.done.set_exception(error)
            elif not job.done.done():
                job.done.set_result(None)
        if self._unflushed >= SYNC_BYTES and not self._flushing and not self._ended:
            self._unflushed, self._flushing = 0, True
            self._threads.start(self._flush)
        self._start()

    # in a thread

    def _begin(self, folder: BlobFolder) -> None:
        self.file, self._marks_file = folder.begin(self.manifest, bytes(self.marks))

    def _work(self, jobs: Sequence[_Job]) -> None:
        with told(f"blob {self.manifest.id[:12]}"):
            for job in jobs:
                if job.content is not None:
                    write_all(self.file, job.content, self._layout.span(job.pieces)[0])
                    self._write_marks(job.pieces, b"\1")
                    self._pass(job.pieces, job.content)
                elif job.again:
                    self._write_marks(job.pieces, b"\0")
                    self._refuted.discard(self._layout.chunk_of(job.pieces.start))
                else:
                    self._read_on(job.pieces)

    def _write_marks(self, pieces: range, mark: bytes) -> None:
        write_all(self._marks_file, mark * len(pieces), marks_offset(self.manifest) + pieces.start)

    def _pass(self, pieces: range, content: memoryview) -> None:
        """Takes what was just written into the hash, where it is its turn."""
        if pieces.start < self._next:
            self._go_back()
        if pieces.start == self._next and self._layout.chunk_of(pieces.start) not in self._refuted:
            self._hash(content, pieces.stop)

    def _read_on(self, pieces: range) -> None:
        """Takes the rest of a chunk that is there into the hash."""
        if self._next not in pieces:
            return
        offset, length = self._layout.span(range(self._next, pieces.stop))
        buffer = memoryview(bytearray(length))
        if read_into(self.file, buffer, offset):
            self._hash(buffer, pieces.stop)
        else:
            self._refuted.add(self._layout.chunk_of(pieces.start))
            self._go_back()

    def _hash(self, content: memoryview, next: int) -> None:
        chunk = self._layout.chunk_of(self._next)
        self._whole.update(content)
        self._next = next
        if next < self._layout.pieces_of(chunk).stop:
            return
        if self._whole.digest() == self.manifest.digest(chunk):
            self._before = self._whole.copy()
            self._proven = chunk + 1
        else:
            self._refuted.add(chunk)
            self._go_back()

    def _go_back(self) -> None:
        self._whole = self._before.copy()
        self._next = self._layout.pieces_of(self._proven).start

    def _flush(self) -> None:
        try:
            with told(f"blob {self.manifest.id[:12]}"):
                os.fdatasync(self.file)
                os.fdatasync(self._marks_file)
        except StorageFailed as error:
            self._refused = error  # the system tells this once, and a later flush would look well
        finally:
            self._flushing = False
