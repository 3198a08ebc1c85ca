"""Nodes with a store of blobs, linked in one process, and sources that keep to no rule."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.errors import NotFound
from node.model.blob import CHUNK_BYTES, BlobInfo
from node.model.cluster import Received, Role
from node.model.wire.blob import BLOB_CHUNK, BLOB_MANIFEST, BlobReply, BlobRequest, ChunkRequest
from node.roles.shared.blobs import BlobService
from node.storage.blobs import FolderBlobs
from node.transport.base import Answer, Call
from node.transport.limits import MESSAGE_BYTES
from node.transport.loopback import LoopbackHub, LoopbackTransport
from node.transport.options import LinkOptions

CLOCK = SystemClock()
ROOMY = 2**30


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def id_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests_of(data: bytes) -> bytes:
    whole, found = hashlib.sha256(), b""
    for start in range(0, len(data), CHUNK_BYTES):
        whole.update(data[start : start + CHUNK_BYTES])
        found += whole.digest()
    return found


def lying_digests(lie: bytes, data: bytes) -> bytes:
    """A list that fits the lie up to its last chunk, and has to end with the id of the truth."""
    return digests_of(lie)[:-32] + hashlib.sha256(data).digest()


async def parts(data: bytes, step: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


class BlobNode:
    """A node of which nothing but the blobs works."""

    def __init__(self, transport: LoopbackTransport, store: FolderBlobs, max_message: int = MESSAGE_BYTES) -> None:
        self.transport = transport
        self.store = store
        self.blobs = BlobService(store, CLOCK, max_message)
        self.blobs.register(transport)
        self._ups: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        transport.watch(lambda peer, up: self._ups[peer.name].set() if up else None)

    async def linked(self, peer: str) -> None:
        async with CLOCK.timeout(5):
            await self._ups[peer].wait()

    async def give(self, data: bytes) -> str:
        return (await self.store.put(parts(data))).id

    async def fetch(self, id: str, *sources: str, seconds: float = 20.0, **more) -> BlobInfo:
        return await self.blobs.fetch(id, sources, deadline=CLOCK.monotonic() + seconds, **more)


class Liar:
    """A source that answers as the test says, and counts what it was asked for."""

    def __init__(self, data: bytes, *, size: int | None = None, digests: bytes | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.digests = digests_of(data) if digests is None else digests
        self.asked: list[tuple[int, int]] = []
        self.change: Callable[[int, bytes], Awaitable[tuple[bytes, ...]]] | None = None

    def register(self, transport: LoopbackTransport) -> None:
        transport.answer(BLOB_MANIFEST, self._manifest)
        transport.answer(BLOB_CHUNK, self._chunk)

    async def _manifest(self, call: Call, body: BlobRequest) -> Answer[BlobReply]:
        return Answer(BlobReply(size=self.size), (self.digests,))

    async def _chunk(self, call: Call, body: ChunkRequest) -> Answer[Received]:
        self.asked.append((body.offset, body.length))
        given = self.data[body.offset : body.offset + body.length]
        if self.change is not None:
            return Answer(Received(), await self.change(body.offset, given))
        if len(given) != body.length:
            raise NotFound("there is no such part")
        return Answer(Received(), (given,))


class Hub:
    """Nodes that all know each other."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._hub = LoopbackHub()

    async def node(self, name: str, quota: int = ROOMY, max_message: int = MESSAGE_BYTES) -> BlobNode:
        store = FolderBlobs(self._folder / name, CLOCK, quota)
        await store.start()
        self._stack.push_async_callback(store.close)
        transport = self._hub.transport(name, {Role.EDGE}, CLOCK, LinkOptions(name, max_message=max_message))
        node = BlobNode(transport, store, max_message)
        self._stack.push_async_callback(transport.stop)
        self._stack.push_async_callback(node.blobs.stop)
        await transport.start()
        return node

    async def liar(self, name: str, liar: Liar) -> Liar:
        transport = self._hub.transport(name, {Role.EDGE}, CLOCK)
        liar.register(transport)
        self._stack.push_async_callback(transport.stop)
        await transport.start()
        return liar


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with AsyncExitStack() as stack:
        yield Hub(tmp_path, stack)
