"""What does a node keep of the blobs that it was given, and what may the rest of the program ask of them?

`BlobStore` is the seam: `FolderBlobs` keeps it with files, another back end may keep it with objects of a server, and one suite
of tests runs over each. Disk work is done by a few threads of the store's own. Bytes are reserved before they are
written, for a blob that comes in all of them before its first: however many come in at once, the quota holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from node.clock import Clock
from node.errors import Conflict, Invalid, NotFound, StorageFailed
from node.model.blob import BLOB_MOST, BlobInfo, Manifest, Marks, check_id
from node.storage.blob_files import BlobFolder, Leftover
from node.storage.blob_intake import Intake
from node.storage.blob_part import Part
from node.storage.blob_threads import Threads

QUOTA: Final = 16 * 2**30
THREADS: Final = 4  # as many disk operations at once; a fifth waits


class Receiving(Protocol):
    """A blob on its way in. Whoever began it closes it."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def marks(self) -> Marks: ...

    async def write(self, pieces: range, content: bytes | bytearray | memoryview) -> None:
        """Keeps pieces that follow each other; they survive a kill from then on."""

    async def check(self, chunk: int) -> bool:
        """Whether the first chunk that is not proven yet has its digest; where not, it has to come again."""

    async def finish(self) -> BlobInfo:
        """The durable blob, once every chunk is proven.

        Raises:
            Conflict: one is not.
        """

    async def close(self) -> None:
        """Keeps what is there for a later run. Harmless when repeated."""


class BlobStore(Protocol):
    """Blobs by id. What is complete never changes.

    Raises:
        Invalid: an id that is none.
        NotFound: no complete blob has the id.
        StorageFailed: the quota or the disk has no room, or the disk refused.
    """

    async def put(self, content: AsyncIterable[bytes] | Path, *, expected: str = "", most: int = BLOB_MOST) -> BlobInfo:
        """Takes content in; the same again changes nothing.

        Raises:
            Conflict: its id is not the expected one.
            TooLarge: it is longer than `most`.
        """

    async def stat(self, id: str) -> BlobInfo: ...

    async def list(self) -> tuple[BlobInfo, ...]:
        """All blobs by id, those that come in too."""

    async def read(self, id: str, offset: int, length: int) -> bytes:
        """Those bytes of a complete blob."""

    async def open(self, id: str) -> BinaryIO:
        """A complete blob as a file for reading, for work in a thread; the caller closes it."""

    async def manifest(self, id: str) -> Manifest:
        """How a complete blob is made up."""

    async def delete(self, id: str) -> BlobInfo:
        """Removes a blob, or what came in of it; what is gone.

        Raises:
            Conflict: it is coming in just now.
        """

    async def begun(self, id: str) -> Manifest | None:
        """How a blob is said to be that an earlier run began to take in."""

    async def receive(self, manifest: Manifest) -> Receiving:
        """Reserves room and goes on with what an earlier run left; marks whose digests have changed are dropped.

        Raises:
            Conflict: it is complete, or coming in already.
        """


class FolderBlobs:
    """Blobs as files below one folder that only this process uses."""

    def __init__(self, root: Path, clock: Clock, quota: int = QUOTA) -> None:
        self._folder = BlobFolder(root)
        self._clock = clock
        self.quota = quota
        self.held = 0
        self._executor = ThreadPoolExecutor(THREADS, "blobs")
        self._threads = Threads(self._executor)
        self._intakes: set[Intake] = set()
        self._complete: dict[str, BlobInfo] = {}
        self._parts: dict[str, Leftover | Part] = {}
        self._changing = asyncio.Lock()  # held where bytes are reserved, and while a part begins or goes

    async def start(self) -> None:
        """Finds what is there; before anything else.

        Raises:
            StorageFailed: the folder cannot be used.
        """
        found, leftovers = await self._threads.run(self._folder.prepare)
        for blob in found:
            self._complete[blob.id] = BlobInfo(
                id=blob.id, size=blob.size, received=blob.size, complete=True, changed_at=max(blob.changed_at, 0.0)
            )
        for left in sorted(leftovers, key=lambda left: left.changed_at):
            self._parts[left.manifest.id] = left
        self.held = sum(info.size for info in self._infos())

    async def close(self) -> None:
        """Ends what comes in, keeping it for the next start, and the threads. Harmless when repeated."""
        for part in list(self._parts.values()):
            if isinstance(part, Part):
                await part.close()
        await self._threads.settle()
        for intake in list(self._intakes):
            await intake.settle()
        self._executor.shutdown()  # its threads have nothing to do any more

    @property
    def used(self) -> int:
        """Bytes that complete blobs take."""
        return sum(info.size for info in self._complete.values())

    async def stat(self, id: str) -> BlobInfo:
        """As `BlobStore.stat`."""
        info = self._complete.get(check_id(id))
        if info is None:
            raise NotFound(f"blob {id[:12]} is not in this store")
        return info

    async def list(self) -> tuple[BlobInfo, ...]:
        """As `BlobStore.list`."""
        return tuple(sorted(self._infos(), key=lambda info: info.id))

    async def read(self, id: str, offset: int, length: int) -> bytes:
        """As `BlobStore.read`."""
        info = await self.stat(id)
        if offset < 0 or length < 0 or offset + length > info.size:
            raise Invalid(f"bytes {offset} to {offset + length} of a blob of {info.size}")
        content = await self._threads.run(self._folder.read, id, offset, length)
        if len(content) != length:
            raise StorageFailed(f"the file of blob {id[:12]} is shorter than it was", hint="delete the blob and put it again")
        return content

    async def open(self, id: str) -> BinaryIO:
        """As `BlobStore.open`."""
        await self.stat(id)
        return await self._threads.run(self._folder.open, id)

    async def manifest(self, id: str) -> Manifest:
        """As `BlobStore.manifest`."""
        info = await self.stat(id)
        return Manifest(id, info.size, await self._threads.run(self._folder.digests, id, info.size))

    async def delete(self, id: str) -> BlobInfo:
        """As `BlobStore.delete`."""
        async with self._changing:
            gone = next((info for info in self._infos() if info.id == check_id(id)), None) or await self.stat(id)
            part = self._parts.get(id)
            if isinstance(part, Part):
                raise Conflict(f"blob {id[:12]} is coming in just now", hint="delete it when that has ended")
            if part is not None:
                await self._forget(part)
                return gone
            del self._complete[id]
            self.held -= gone.size
            await self._threads.run(self._folder.delete, id)
            return gone

    async def put(self, content: AsyncIterable[bytes] | Path, *, expected: str = "", most: int = BLOB_MOST) -> BlobInfo:
        """As `BlobStore.put`."""
        if expected:
            check_id(expected)
        intake = Intake(self._folder, Threads(self._executor), most)
        self._intakes.add(intake)
        try:
            async with aclosing(intake.blocks(content)) as blocks:
                async for block in blocks:
                    async with self._changing:
                        await self._reserve(len(block))
                    await intake.write(block)
            manifest = await intake.end()
            if expected and manifest.id != expected:
                raise Conflict(f"the content has the id {manifest.id}", hint=f"expected was {expected}")
            if manifest.id not in self._complete:
                await intake.commit(manifest)
            info = self._completed(manifest)
            async with self._changing:
                if isinstance(left := self._parts.get(manifest.id), Leftover):
                    await self._forget(left)
            return info
        finally:
            self.held -= intake.size  # the books have what was committed under its id
            self._intakes.discard(intake)
            await intake.close()

    async def begun(self, id: str) -> Manifest | None:
        """As `BlobStore.begun`."""
        part = self._parts.get(check_id(id))
        return part.manifest if part is not None else None

    async def receive(self, manifest: Manifest) -> Part:
        """As `BlobStore.receive`."""
        id = manifest.id
        async with self._changing:
            left = self._parts.get(id)
            if id in self._complete or isinstance(left, Part):
                raise Conflict(f"blob {id[:12]} is here, or coming in already")
            await self._reserve(manifest.size - (left.manifest.size if left else 0), spare=id)
            part = self._parts[id] = Part(self, Threads(self._executor), manifest, _still_good(left, manifest))
            await part.open(self._folder)
        return part

    # what a part tells (blob_part: Owner)

    async def commit(self, part: Part) -> BlobInfo:
        """As `Owner.commit`."""
        path = self._folder.part(part.manifest.id)
        await self._threads.run(self._folder.commit, path, part.file, part.manifest)
        return self._completed(part.manifest)

    def closed(self, part: Part) -> None:
        """As `Owner.closed`."""
        manifest = part.manifest
        if self._parts.get(manifest.id) is not part:
            return
        if manifest.id in self._complete:
            del self._parts[manifest.id]
            self.held -= manifest.size
        else:
            self._parts[manifest.id] = Leftover(manifest, bytes(part.marks), self._clock.wall())

    # the books

    def _completed(self, manifest: Manifest) -> BlobInfo:
        known = self._complete.get(manifest.id)
        if known is not None:
            return known
        size = manifest.size
        info = BlobInfo(id=manifest.id, size=size, received=size, complete=True, changed_at=self._clock.wall())
        self._complete[manifest.id] = info
        self.held += size
        return info

    async def _reserve(self, count: int, spare: str = "") -> None:
        """Takes `count` bytes of the quota; what aborted fetches left gives way, the oldest first."""
        while self.held + count > self.quota:
            idle = (part for id, part in self._parts.items() if isinstance(part, Leftover) and id != spare)
            oldest = min(idle, key=lambda left: left.changed_at, default=None)
            if oldest is None:
                raise StorageFailed(
                    f"{count} bytes more than the quota has: {self.held} of {self.quota} are taken",
                    hint="delete blobs, or raise storage.blob_quota",
                )
            await self._forget(oldest)
        self.held += count

    async def _forget(self, left: Leftover) -> None:
        del self._parts[left.manifest.id]
        self.held -= left.manifest.size
        await self._threads.run(self._folder.forget, left.manifest.id)

    def _infos(self) -> Iterator[BlobInfo]:
        yield from self._complete.values()
        for id, part in self._parts.items():
            if id not in self._complete:
                changed_at = part.changed_at if isinstance(part, Leftover) else self._clock.wall()
                marks = Marks(part.manifest.layout, part.marks) if isinstance(part, Leftover) else part.marks
                size, received = part.manifest.size, marks.received
                yield BlobInfo(id=id, size=size, received=received, complete=False, changed_at=max(changed_at, 0.0))


def _still_good(left: Leftover | None, manifest: Manifest) -> Marks:
    """The marks of what is left, but for chunks that are said to be others now."""
    if left is None or left.manifest.size != manifest.size:
        return Marks(manifest.layout)
    marks = Marks(manifest.layout, left.marks)
    if left.manifest.digests != manifest.digests:
        for chunk in range(manifest.layout.chunks):
            if left.manifest.digest(chunk) != manifest.digest(chunk):
                marks.drop(chunk)
    return marks
