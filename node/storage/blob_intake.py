"""How does content whose id is not known yet become a blob?

It is written under a name of chance, hashed on the way, and gets its own name only when it is complete and durable.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from pathlib import Path

from node.errors import StorageFailed, TooLarge
from node.model.blob import CHUNK_BYTES, Manifest
from node.storage.blob_files import BlobFolder, told, write_all
from node.storage.blob_threads import Threads


class Intake:
    """One import. Whoever made it closes it."""

    def __init__(self, folder: BlobFolder, threads: Threads, most: int) -> None:
        self.size = 0
        self._folder = folder
        self._threads = threads
        self._most = most
        self._whole = hashlib.sha256()
        self._digests = bytearray()
        self._path = Path()
        self._file = -1

    async def blocks(self, content: AsyncIterable[bytes] | Path) -> AsyncGenerator[bytes]:
        """The content in blocks of about a chunk: a hop to a thread for less would cost more than its work.

        Raises:
            TooLarge: it is longer than it may be.
        """
        waiting, count = [], 0
        async for part in self._read(content) if isinstance(content, Path) else content:
            waiting.append(part)
            count += len(part)
            if self.size + count > self._most:
                raise TooLarge(f"a blob of more than {self._most} bytes", hint="http.max_upload bounds what is uploaded")
            if count >= CHUNK_BYTES:
                yield b"".join(waiting) if len(waiting) > 1 else part
                waiting, count = [], 0
        if count:
            yield b"".join(waiting)

    async def write(self, block: bytes) -> None:
        """Takes a block in, whose bytes the caller has reserved."""
        offset = self.size
        self.size += len(block)
        await self._threads.run(self._write, block, offset)

    async def end(self) -> Manifest:
        """How the content is made up."""
        return await self._threads.run(self._end)

    async def commit(self, manifest: Manifest) -> None:
        """Makes it a blob of the folder."""
        await self._threads.run(self._folder.commit, self._path, self._file, manifest)

    async def settle(self) -> None:
        """Returns once no thread works for it."""
        await self._threads.settle()

    async def close(self) -> None:
        """Removes what was not committed."""
        await self.settle()
        if self._file >= 0:
            await self._threads.run(self._close)

    async def _read(self, path: Path) -> AsyncIterator[bytes]:
        try:
            file = await self._threads.run(path.open, "rb")
            try:
                while block := await self._threads.run(file.read, CHUNK_BYTES):
                    yield block
            finally:
                await self._threads.settle()
                file.close()
        except OSError as error:
            raise StorageFailed(f"{path} cannot be read: {error.strerror}") from error

    def _write(self, block: bytes, offset: int) -> None:
        with told("a new blob"):
            self._begin()
            write_all(self._file, block, offset)
        rest = memoryview(block)
        while rest:
            room = CHUNK_BYTES - offset % CHUNK_BYTES
            self._whole.update(rest[:room])
            offset += len(rest[:room])
            rest = rest[room:]
            if offset % CHUNK_BYTES == 0:
                self._digests += self._whole.digest()

    def _end(self) -> Manifest:
        with told("a new blob"):
            self._begin()
        if self.size % CHUNK_BYTES:
            self._digests += self._whole.digest()
        return Manifest(self._whole.hexdigest(), self.size, bytes(self._digests))

    def _begin(self) -> None:
        if self._file < 0:
            self._path, self._file = self._folder.fresh()

    def _close(self) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)
