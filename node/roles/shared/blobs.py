"""How do blobs move between nodes?

Every node answers for what its store holds, and pulls what it is told to. To know the 256 bits of an id is to be allowed to
read the blob: an admitted peer cannot list what is here and cannot guess an id, and who was told one was meant to have it
(decision 0010). What a peer may cost is bounded by the dispatcher's calls in flight, each at most a chunk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from node.clock import Clock
from node.errors import Busy, DeadlineExceeded, Invalid, NotFound, Unavailable
from node.model.blob import BlobInfo, check_id
from node.model.cluster import Received
from node.model.wire.blob import BLOB_CHUNK, BLOB_MANIFEST, BlobReply, BlobRequest, ChunkRequest
from node.roles.shared.blob_fetch import Fetch
from node.roles.shared.blob_pull import Figures
from node.roles.shared.tasks import end
from node.storage.blobs import BlobStore
from node.transport import limits
from node.transport.base import Answer, Call, Transport

log = logging.getLogger(__name__)

SOURCES_MOST: Final = 8  # of one fetch: × a window of 4 MiB = 32 MiB
RECORD_BYTES: Final = 2 * limits.KIB  # of a message with a part of a blob, besides that part
FETCHES_MOST: Final = 16  # at once: × 32 MiB = 512 MiB at the very worst, 64 MiB with one source each


@dataclass(slots=True)
class _Running:
    fetch: Fetch
    task: asyncio.Task[BlobInfo]
    askers: int = 0


class BlobService:
    """The blobs of one node, as its peers and its roles use them. `max_message` is what its transport takes at the most."""

    def __init__(self, store: BlobStore, clock: Clock, max_message: int = limits.MESSAGE_BYTES) -> None:
        self.store = store
        self._most_bytes = max_message - RECORD_BYTES
        self.figures = Figures()
        self._clock = clock
        self._transport: Transport | None = None
        self._running: dict[str, _Running] = {}
        self._stopped = False

    def register(self, transport: Transport) -> None:
        """Answers peers, and asks them, over `transport`."""
        self._transport = transport
        transport.answer(BLOB_MANIFEST, self._manifest)
        transport.answer(BLOB_CHUNK, self._chunk)

    async def fetch(
        self,
        id: str,
        sources: Sequence[str],
        *,
        deadline: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> BlobInfo:
        """The blob, complete in the store, at once where it is there already.

        However many ask, one fetch runs for an id; their sources are put together. What came in when all have given up stays,
        and the next fetch goes on from there.

        Args:
            id: what to fetch.
            sources: names of peers that may have it, the likeliest first.
            deadline: time of the clock after which this caller does not wait any more.
            progress: told (received, size) as it comes in.

        Raises:
            NotFound: no source has it.
            Unavailable: none has it as its id says, or too many fetches run.
            StorageFailed: no room for it.
            DeadlineExceeded: not in time.
        """
        if not 0 < len(set(sources)) <= SOURCES_MOST:
            raise Invalid(f"{len(set(sources))} sources for a blob", hint=f"1 to {SOURCES_MOST} names of peers")
        try:
            return await self.store.stat(check_id(id))
        except NotFound:
            running = self._join(id, sources, progress)
        try:
            async with self._clock.timeout(deadline - self._clock.monotonic()):
                await asyncio.wait({running.task})
            if running.task.cancelled():
                raise Unavailable(f"the fetch of blob {id[:12]} was ended: this node stops")
            return running.task.result()
        except TimeoutError as error:
            raise DeadlineExceeded(f"blob {id[:12]} did not come in time", hint=running.fetch.excuse) from error
        finally:
            running.askers -= 1
            if progress is not None and progress in running.fetch.watchers:
                running.fetch.watchers.remove(progress)
            if not running.askers:
                await end(running.task)

    async def stop(self) -> None:
        """Ends every fetch, keeping what came in. Harmless when repeated."""
        self._stopped = True
        await end(*(running.task for running in list(self._running.values())))

    def _join(self, id: str, sources: Sequence[str], progress: Callable[[int, int], None] | None) -> _Running:
        running = self._running.get(id)
        if running is None or running.task.done():
            running = self._begin(id)
        running.fetch.add(sources, progress, SOURCES_MOST)
        running.askers += 1
        return running

    def _begin(self, id: str) -> _Running:
        if self._transport is None or self._stopped:
            raise Unavailable("this node fetches nothing now: it stops, or has not started yet")
        if len(self._running) >= FETCHES_MOST:
            raise Busy(f"{FETCHES_MOST} blobs are being fetched already")
        fetch = Fetch(id, self.store, self._transport, self._clock, self.figures, self._most_bytes)
        task = asyncio.get_running_loop().create_task(fetch.run(), name=f"blob {id[:12]}")
        running = self._running[id] = _Running(fetch, task)
        task.add_done_callback(lambda _: self._ended(running))
        return running

    def _ended(self, running: _Running) -> None:
        if self._running.get(running.fetch.id) is running:
            del self._running[running.fetch.id]

    async def _manifest(self, call: Call, body: BlobRequest) -> Answer[BlobReply]:
        manifest = await self.store.manifest(body.blob)
        return Answer(BlobReply(size=manifest.size), (manifest.digests,))

    async def _chunk(self, call: Call, body: ChunkRequest) -> Answer[Received]:
        content = await self.store.read(body.blob, body.offset, body.length)
        self.figures.served += len(content)
        return Answer(Received(), (content,))
