"""Which promises does every store of blobs keep? A back end that is added is one more name in `OPENERS`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from blobs import CLOCK, content, digests_of, id_of, lying_digests, parts

from node.errors import Conflict, EcnodeError, Invalid, NotFound, StorageFailed, TooLarge
from node.model.blob import CHUNK_BYTES, PIECE_BYTES, Manifest
from node.storage.blobs import BlobStore, FolderBlobs, Receiving

QUOTA = 8 * CHUNK_BYTES
DATA = content(2 * CHUNK_BYTES + 70_000)
ID = id_of(DATA)
SIZES = [0, 1, PIECE_BYTES, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5]


async def in_a_folder(path: Path) -> FolderBlobs:
    store = FolderBlobs(path / "blobs", CLOCK, QUOTA)
    await store.start()
    return store


OPENERS: Mapping[str, Callable[[Path], Awaitable[FolderBlobs]]] = {"folder": in_a_folder}


class Place:
    """Where a store keeps its things; it can be closed and opened again."""

    def __init__(self, kind: str, path: Path) -> None:
        self._open = OPENERS[kind]
        self._path = path
        self._opened: list[FolderBlobs] = []

    async def open(self) -> BlobStore:
        self._opened.append(await self._open(self._path))
        return self._opened[-1]

    async def close(self) -> None:
        for store in self._opened:
            await store.close()
        self._opened.clear()


@pytest.fixture(params=list(OPENERS))
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    found = Place(request.param, tmp_path)
    yield found
    await found.close()


@pytest.fixture
async def store(place: Place) -> BlobStore:
    return await place.open()


def manifest_of(data: bytes, **changes: object) -> Manifest:
    return Manifest(**{"id": id_of(data), "size": len(data), "digests": digests_of(data), **changes})  # type: ignore[arg-type]


async def write(part: Receiving, data: bytes, pieces: range | None = None) -> None:
    """Those pieces of the content, or all that are missing."""
    layout = part.manifest.layout
    for piece in pieces if pieces is not None else range(layout.pieces):
        offset, length = layout.span(range(piece, piece + 1))
        await part.write(range(piece, piece + 1), data[offset : offset + length])


async def complete(part: Receiving, data: bytes) -> bool:
    """Whether all of it came in, and fits."""
    await write(part, data)
    for chunk in range(part.manifest.layout.chunks):
        if not await part.check(chunk):
            return False
    return True


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_put_is_read_again_under_its_digest(store: BlobStore, size: int) -> None:
    data = content(size)
    info = await store.put(parts(data))
    assert (info.id, info.size, info.complete) == (hashlib.sha256(data).hexdigest(), size, True)
    assert await store.stat(info.id) == info
    assert await store.read(info.id, 0, size) == data
    manifest = await store.manifest(info.id)
    assert (manifest.size, manifest.digests) == (size, digests_of(data))
    with await store.open(info.id) as file:
        assert file.read() == data


async def test_a_file_is_put_as_well(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(DATA)
    assert (await store.put(tmp_path / "given")).id == ID
    with pytest.raises(StorageFailed):
        await store.put(tmp_path / "not there")


async def test_putting_the_same_twice_takes_room_once(store: BlobStore) -> None:
    data = content(QUOTA // 2 - CHUNK_BYTES)
    for _ in range(3):
        await store.put(parts(data))
    first, second = await asyncio.gather(store.put(parts(b"same")), store.put(parts(b"same")))
    assert first.id == second.id
    await store.put(parts(content(QUOTA // 2, seed=2)))
    assert len(await store.list()) == 3


async def test_a_part_of_a_blob_is_read_and_nothing_beyond_it(store: BlobStore) -> None:
    await store.put(parts(DATA))
    assert await store.read(ID, CHUNK_BYTES - 5, 10) == DATA[CHUNK_BYTES - 5 : CHUNK_BYTES + 5]
    for offset, length in [(-1, 5), (0, len(DATA) + 1), (len(DATA), 1), (5, -1)]:
        with pytest.raises(Invalid):
            await store.read(ID, offset, length)


async def test_content_with_another_id_than_expected_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises(Conflict, match=ID):
        await store.put(parts(DATA), expected="0" * 64)
    assert await store.list() == ()
    assert (await store.put(parts(DATA), expected=ID)).id == ID


async def test_content_longer_than_it_may_be_is_refused_on_the_way(store: BlobStore) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(100_000)

    with pytest.raises(TooLarge):
        await store.put(endless(), most=CHUNK_BYTES)
    assert taken <= 12
    with pytest.raises(StorageFailed):
        await store.put(endless())
    assert await store.list() == ()
    await store.put(parts(content(QUOTA)))


async def test_a_source_that_breaks_off_leaves_nothing(store: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(CHUNK_BYTES)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put(broken())
    await store.put(parts(content(QUOTA)))


@pytest.mark.parametrize("id", ["", "../../etc/passwd", "/" * 64, "." * 64, "A" * 64, "0" * 63])
async def test_no_id_that_is_none_reaches_the_disk(store: BlobStore, id: str) -> None:
    for ask in (store.stat(id), store.read(id, 0, 1), store.open(id), store.manifest(id), store.delete(id), store.begun(id)):
        with pytest.raises(Invalid):
            await ask
    with pytest.raises(Invalid):
        await store.put(parts(b""), expected=id or "x")


async def test_an_unknown_blob_is_named(store: BlobStore) -> None:
    for ask in (store.stat(ID), store.read(ID, 0, 1), store.open(ID), store.manifest(ID), store.delete(ID)):
        with pytest.raises(NotFound, match=ID[:12]):
            await ask
    assert await store.begun(ID) is None


async def test_a_deleted_blob_is_gone_and_its_room_free(store: BlobStore) -> None:
    data = content(QUOTA)
    info = await store.put(parts(data))
    with await store.open(info.id) as file:
        await store.delete(info.id)
        assert file.read() == data, "whoever has it open reads on"
    with pytest.raises(NotFound):
        await store.stat(info.id)
    await store.put(parts(data))


async def test_blobs_outlive_the_store_that_took_them(place: Place) -> None:
    info = await (await place.open()).put(parts(DATA))
    await place.close()
    again = await place.open()
    assert [found.id for found in await again.list()] == [ID]
    assert await again.read(info.id, 0, info.size) == DATA
    with pytest.raises(StorageFailed):
        await again.put(parts(content(QUOTA - 2 * CHUNK_BYTES)))


async def test_pieces_come_in_in_any_order(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    pieces = range(part.manifest.layout.pieces)
    for piece in reversed(pieces):
        await write(part, DATA, range(piece, piece + 1))
    assert [await part.check(chunk) for chunk in (0, 1, 2)] == [True, True, True]
    info = await part.finish()
    assert await store.stat(ID) == info
    assert await store.read(ID, 0, len(DATA)) == DATA
    assert (await store.manifest(ID)).digests == digests_of(DATA)


async def test_a_blob_is_not_read_before_it_is_complete(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    await write(part, DATA, range(5))
    with pytest.raises(NotFound):
        await store.read(ID, 0, 1)
    (info,) = await store.list()
    assert (info.id, info.size, info.received, info.complete) == (ID, len(DATA), 5 * PIECE_BYTES, False)
    with pytest.raises(Conflict):
        await part.finish()
    await part.close()


async def test_a_wrong_chunk_has_to_come_again(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    wrong = bytearray(DATA)
    wrong[CHUNK_BYTES + 3] ^= 1
    assert not await complete(part, bytes(wrong))
    assert [part.marks.has(chunk) for chunk in range(3)] == [True, False, True]
    for chunk in (1, 2):
        with pytest.raises(Conflict):
            await part.check(chunk)
    assert await complete(part, DATA)
    await part.finish()


async def test_what_is_there_is_never_written_again(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    await write(part, DATA)
    await asyncio.gather(*(write(part, bytes(len(DATA))) for _ in range(3)))
    assert await complete(part, bytes(len(DATA)))
    await part.finish()
    assert await store.read(ID, 0, len(DATA)) == DATA


async def test_of_two_writers_of_a_piece_one_writes(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    pieces = part.manifest.layout.pieces_of(0)
    chunk = DATA[:CHUNK_BYTES]
    await asyncio.gather(part.write(pieces, chunk), part.write(pieces, bytes(CHUNK_BYTES)), write(part, bytes(2**22), pieces))
    assert await part.check(0)
    await part.close()


async def test_pieces_of_another_length_are_refused(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    for given in (b"", bytes(PIECE_BYTES - 1), bytes(PIECE_BYTES + 1)):
        with pytest.raises(Invalid):
            await part.write(range(1), given)
    await part.close()


async def test_false_digests_cannot_be_fitted_to_the_end(store: BlobStore) -> None:
    lie = content(len(DATA), seed=9)
    part = await store.receive(manifest_of(DATA, digests=lying_digests(lie, DATA)))
    await write(part, lie)
    assert [await part.check(chunk) for chunk in range(3)] == [True, True, False]
    with pytest.raises(Conflict):
        await part.finish()
    await part.close()
    with pytest.raises(NotFound):
        await store.stat(ID)
    again = await store.receive(manifest_of(DATA))
    assert again.marks.received == 0
    assert await complete(again, DATA)
    await again.finish()


async def test_an_aborted_fetch_is_gone_on_with_after_a_restart(place: Place) -> None:
    part = await (await place.open()).receive(manifest_of(DATA))
    await write(part, DATA, range(6))
    await part.close()
    await place.close()
    store = await place.open()
    found = await store.begun(ID)
    assert found == manifest_of(DATA)
    again = await store.receive(found)
    assert again.marks.received == 6 * PIECE_BYTES
    assert await complete(again, DATA)
    await again.finish()
    assert await store.read(ID, 0, len(DATA)) == DATA
    assert await store.begun(ID) is None


async def test_chunks_that_a_new_list_agrees_with_stay(store: BlobStore) -> None:
    digests = bytearray(digests_of(DATA))
    digests[0] ^= 1
    part = await store.receive(manifest_of(DATA, digests=bytes(digests)))
    await write(part, DATA)
    await part.close()
    again = await store.receive(manifest_of(DATA))
    assert [again.marks.has(chunk) for chunk in range(3)] == [False, True, True]
    assert await complete(again, DATA)
    await again.finish()


async def test_a_list_of_another_size_begins_anew(store: BlobStore) -> None:
    longer = DATA + bytes(4 * CHUNK_BYTES)
    part = await store.receive(manifest_of(longer, id=ID, digests=lying_digests(longer, DATA)))
    await write(part, longer)
    await part.close()
    again = await store.receive(manifest_of(DATA))
    assert again.marks.received == 0
    assert await complete(again, DATA)
    await again.finish()
    assert await store.read(ID, 0, len(DATA)) == DATA


async def test_room_is_reserved_before_the_first_byte(store: BlobStore) -> None:
    async def take(seed: int) -> Receiving | EcnodeError:
        data = content(3 * CHUNK_BYTES, seed)
        try:
            return await store.receive(manifest_of(data))
        except StorageFailed as error:
            return error

    found = await asyncio.gather(*(take(seed) for seed in range(6)))
    refused = [each for each in found if isinstance(each, StorageFailed)]
    assert len(refused) == 4, "two of three chunks fit into eight"
    with pytest.raises(StorageFailed):
        await store.put(parts(content(3 * CHUNK_BYTES, 9)))
    for each in found:
        if not isinstance(each, EcnodeError):
            await each.close()


async def test_an_abandoned_part_gives_way_and_a_running_one_does_not(store: BlobStore) -> None:
    running = await store.receive(manifest_of(content(3 * CHUNK_BYTES, 1)))
    idle = await store.receive(manifest_of(content(3 * CHUNK_BYTES, 2)))
    await idle.close()
    await store.put(parts(content(4 * CHUNK_BYTES, 3)))
    assert await store.begun(idle.manifest.id) is None
    with pytest.raises(StorageFailed):
        await store.put(parts(content(3 * CHUNK_BYTES, 4)))
    assert await complete(running, content(3 * CHUNK_BYTES, 1))
    await running.finish()


async def test_one_blob_comes_in_once_at_a_time(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    with pytest.raises(Conflict):
        await store.receive(manifest_of(DATA))
    with pytest.raises(Conflict):
        await store.delete(ID)
    await part.close()
    await store.delete(ID)
    assert await store.list() == ()
    await store.put(parts(DATA))
    with pytest.raises(Conflict):
        await store.receive(manifest_of(DATA))


async def test_a_blob_that_is_put_while_it_comes_in_is_there_once(store: BlobStore) -> None:
    part = await store.receive(manifest_of(DATA))
    await write(part, DATA, range(3))
    await store.put(parts(DATA))
    assert await complete(part, DATA)
    await part.finish()
    assert len(await store.list()) == 1
    await store.delete(ID)
    await store.put(parts(content(QUOTA)))


async def test_a_blob_of_nothing_comes_in_too(store: BlobStore) -> None:
    part = await store.receive(manifest_of(b""))
    info = await part.finish()
    assert info.complete
    assert await store.read(info.id, 0, 0) == b""
