"""How does a blob come in piece by piece, in any order, across kills, and become one only if it is the right one?

A mark is a claim, a digest is the proof. A piece is marked as soon as its bytes are written, without a flush: a killed process
loses neither, the kernel has both. What a power cut may have torn is found because every chunk is read back and hashed before
it counts, those of an earlier run too. Now and then what came in is flushed behind the writers' backs, so that a power cut
costs `SYNC_BYTES` or little more and the last flush is short. The whole is hashed along the way, in order, from the same
buffer; what was hashed must not change any more, so a piece that is marked or being written is never written again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Final, Protocol

from node.errors import Conflict, Invalid, StorageFailed
from node.model.blob import CHUNK_BYTES, BlobInfo, Manifest, Marks
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


class Part:
    """One blob on its way in; the `Receiving` of a folder of blobs. Used from one event loop."""

    def __init__(self, owner: Owner, threads: Threads, manifest: Manifest, marks: Marks) -> None:
        self.manifest = manifest
        self.marks = marks
        self.file = _CLOSED
        self._marks_file = _CLOSED
        self._owner = owner
        self._threads = threads
        self._whole = hashlib.sha256()
        self._proven: set[int] = set()
        self._hashed = 0
        self._checking = asyncio.Lock()
        self._unflushed = 0
        self._flushing = False
        self._writing: set[int] = set()
        self._refused: StorageFailed | None = None
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
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
        layout = self.manifest.layout
        start, length = layout.span(pieces)
        if self._refused is not None:
            raise self._refused
        if len(content) != length:
            raise Invalid(f"{len(content)} bytes for pieces of {length}")
        view = memoryview(content)
        for run in self._runs(pieces):
            offset, count = layout.span(run)
            self._writing.update(run)
            try:
                await self._threads.run(self._write, offset, view[offset - start : offset - start + count], run)
            finally:
                self._writing.difference_update(run)
            self.marks.add(run)
            self._flush_sometimes(count)

    def _runs(self, pieces: range) -> list[range]:
        """What of these pieces has yet to be written."""
        wanted = [piece for piece in pieces if piece not in self.marks and piece not in self._writing]
        if len(wanted) == len(pieces):
            return [pieces]
        return [range(piece, piece + 1) for piece in wanted]

    async def check(self, chunk: int) -> bool:
        """Whether what was written of a chunk has its digest; where not, nothing of it is there any more."""
        async with self._checking:
            good = chunk in self._proven or await self._threads.run(self._check, chunk)
        if not good:
            self.marks.drop(chunk)
        return good

    async def finish(self) -> BlobInfo | None:
        """The complete blob, durable and under its name; None where its chunks fit the digests and the whole not the id.

        The digests are proven false then. Either way the part is closed.
        """
        async with self._checking:
            if self._hashed != self.manifest.layout.chunks:
                raise Conflict(f"blob {self.manifest.id[:12]} is not there whole yet")
            right = self._whole.hexdigest() == self.manifest.id
        if not right:
            await self.close()
            return None
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
            self.marks = Marks(self.manifest.layout)  # the system may show what the disk does not have
        self._owner.closed(self)

    def _flush_sometimes(self, length: int) -> None:
        self._unflushed += length
        if self._unflushed >= SYNC_BYTES and not self._flushing:
            self._unflushed, self._flushing = 0, True
            self._threads.start(self._flush)

    # in threads

    def _begin(self, folder: BlobFolder) -> None:
        self.file, self._marks_file = folder.begin(self.manifest, bytes(self.marks))

    def _write(self, offset: int, content: bytes | bytearray | memoryview, pieces: range) -> None:
        with told(f"blob {self.manifest.id[:12]}"):
            write_all(self.file, content, offset)
            write_all(self._marks_file, b"\1" * len(pieces), marks_offset(self.manifest) + pieces.start)

    def _flush(self) -> None:
        try:
            with told(f"blob {self.manifest.id[:12]}"):
                os.fdatasync(self.file)
                os.fdatasync(self._marks_file)
        except StorageFailed as error:
            self._refused = error  # the system tells this once, and a later flush would look well
        finally:
            self._flushing = False

    def _check(self, chunk: int) -> bool:
        buffer = self._read(chunk)
        if not self.manifest.fits(chunk, buffer):
            pieces = self.manifest.layout.pieces_of(chunk)
            with told(f"blob {self.manifest.id[:12]}"):
                write_all(self._marks_file, bytes(len(pieces)), marks_offset(self.manifest) + pieces.start)
            return False
        self._proven.add(chunk)
        while self._hashed in self._proven:
            self._whole.update(buffer if self._hashed == chunk else self._read(self._hashed))
            self._hashed += 1
        return True

    def _read(self, chunk: int) -> memoryview:
        offset, length = self.manifest.layout.chunk(chunk)
        buffer = self._buffer[:length]
        with told(f"blob {self.manifest.id[:12]}"):
            return buffer if read_into(self.file, buffer, offset) else memoryview(b"")
