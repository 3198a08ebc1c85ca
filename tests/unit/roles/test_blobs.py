"""Do blobs arrive whole from honest, slow, dead and lying peers, and only once?"""

from __future__ import annotations

import asyncio

import pytest
from blobs import CLOCK, BlobNode, Hub, Liar, content, digests_of, id_of, lying_digests

from node.errors import Busy, DeadlineExceeded, Invalid, NotFound, StorageFailed, Unavailable
from node.model.blob import BLOB_MOST, CHUNK_BYTES, PIECE_BYTES, Manifest
from node.model.wire.blob import BLOB_CHUNK, ChunkRequest
from node.roles.shared import blob_pull, blobs
from node.transport import limits

DATA = content(12 * CHUNK_BYTES + 4321)
ID = id_of(DATA)
END = bytes.fromhex(ID)


async def arrived(node: BlobNode, id: str = ID, data: bytes = DATA) -> bool:
    return await node.store.read(id, 0, len(data)) == data


@pytest.fixture
async def here(hub: Hub) -> BlobNode:
    return await hub.node("here")


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
async def test_a_blob_arrives_whole_whatever_its_size(hub: Hub, here: BlobNode, size: int) -> None:
    there, data = await hub.node("there"), content(size)
    id = await there.give(data)
    seen: list[tuple[int, int]] = []
    info = await here.fetch(id, "there", progress=lambda *now: seen.append(now))
    assert (info.id, info.size) == (id, size)
    assert await arrived(here, id, data)
    assert there.blobs.figures.served == here.blobs.figures.received == size
    assert seen == sorted(seen)
    assert seen[-1:] == [(size, size)] * bool(size)


@pytest.mark.parametrize("narrow", ["here", "there"])
@pytest.mark.parametrize("most", [limits.MESSAGE_BYTES_LEAST, 600_000])
async def test_a_blob_is_asked_for_in_parts_that_the_smaller_of_two_limits_carries(
    hub: Hub, narrow: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_pull, "STEPS", ())  # whole chunks from the start where they fit
    one, other = [
        await hub.node(name, max_message=most if name == narrow else limits.MESSAGE_BYTES) for name in ("here", "there")
    ]
    await other.give(DATA)
    await one.fetch(ID, "there")
    assert await arrived(one)
    assert one.blobs.figures.received == len(DATA)
    assert other.blobs.figures.served <= len(DATA) + 6 * CHUNK_BYTES  # four asks for a whole one, four for a half


async def test_what_is_here_is_not_asked_for(hub: Hub, here: BlobNode) -> None:
    await here.give(DATA)
    assert (await here.fetch(ID, "nobody")).complete


async def test_several_sources_share_the_work(hub: Hub, here: BlobNode) -> None:
    there = [await hub.node(name) for name in ("one", "two", "three")]
    for node in there:
        await node.give(DATA)
    await here.fetch(ID, "one", "two", "three")
    assert await arrived(here)
    served = [node.blobs.figures.served for node in there]
    assert all(served)
    assert sum(served) == len(DATA)


async def test_one_fetch_runs_however_many_ask(hub: Hub, here: BlobNode) -> None:
    there = await hub.node("there")
    await there.give(DATA)
    infos = await asyncio.gather(*(here.fetch(ID, "there") for _ in range(20)))
    assert {info.id for info in infos} == {ID}
    assert there.blobs.figures.served == len(DATA)


async def test_one_who_stops_waiting_does_not_stop_the_others(hub: Hub, here: BlobNode) -> None:
    liar = await hub.liar("slow", Liar(DATA))
    go = asyncio.Event()

    async def late(_: int, given: bytes) -> tuple[bytes, ...]:
        await go.wait()
        return (given,)

    liar.change = late
    patient = asyncio.create_task(here.fetch(ID, "slow"))
    with pytest.raises(DeadlineExceeded):
        await here.fetch(ID, "slow", seconds=0.05)
    go.set()
    assert (await patient).complete


async def test_what_came_in_stays_and_only_the_rest_is_asked_for(hub: Hub, here: BlobNode) -> None:
    liar = await hub.liar("there", Liar(DATA))
    served = 0

    async def half(_: int, given: bytes) -> tuple[bytes, ...]:
        nonlocal served
        served += 1
        if served > 20:
            await asyncio.Event().wait()
        return (given,)

    liar.change = half
    with pytest.raises(DeadlineExceeded):
        await here.fetch(ID, "there", seconds=1.0)
    before, liar.change = len(liar.asked), None
    (info,) = await here.store.list()
    assert info.received == 20 * PIECE_BYTES
    await here.fetch(ID, "there")
    assert await arrived(here)
    again = sum(length for _, length in liar.asked[before:])
    assert again == len(DATA) - info.received


async def test_a_source_that_comes_late_helps_a_fetch_that_runs(hub: Hub, here: BlobNode) -> None:
    waiting = asyncio.create_task(here.fetch(ID, "absent"))
    there = await hub.node("there")
    await there.give(DATA)
    assert (await here.fetch(ID, "there")).complete
    assert (await waiting).complete


async def test_a_blob_that_nobody_has_is_not_found(hub: Hub, here: BlobNode) -> None:
    await hub.node("there")
    with pytest.raises(NotFound, match=ID[:12]):
        await here.fetch(ID, "there")


async def test_a_source_that_is_not_there_is_waited_for_until_the_deadline(hub: Hub, here: BlobNode) -> None:
    with pytest.raises(DeadlineExceeded) as refused:
        await here.fetch(ID, "absent", seconds=0.2)
    assert "no live link to 'absent'" in refused.value.hint


@pytest.mark.parametrize("sources", [[], [f"n{number}" for number in range(9)]])
async def test_the_number_of_sources_is_bounded(here: BlobNode, sources: list[str]) -> None:
    with pytest.raises(Invalid):
        await here.fetch(ID, *sources)


async def test_the_number_of_fetches_is_bounded(here: BlobNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "FETCHES_MOST", 2)
    running = [asyncio.create_task(here.fetch(str(number) * 64, "absent", seconds=0.3)) for number in range(2)]
    await CLOCK.sleep(0)
    with pytest.raises(Busy):
        await here.fetch(ID, "absent")
    assert all(isinstance(each, DeadlineExceeded) for each in await asyncio.gather(*running, return_exceptions=True))


async def test_a_stop_ends_a_fetch_and_keeps_what_came_in(hub: Hub, here: BlobNode) -> None:
    waiting = asyncio.create_task(here.fetch(ID, "absent"))
    await CLOCK.sleep(0)
    await here.blobs.stop()
    with pytest.raises(Unavailable, match="stops"):
        await waiting
    with pytest.raises(Unavailable):
        await here.fetch(ID, "absent")


# hostile sources


async def flipped(offset: int, given: bytes) -> tuple[bytes, ...]:
    return (bytes([given[0] ^ 1]) + given[1:],)


async def longer(_: int, given: bytes) -> tuple[bytes, ...]:
    return (given + b"!",)


async def shorter(_: int, given: bytes) -> tuple[bytes, ...]:
    return (given[:-1],)


async def nothing(_: int, given: bytes) -> tuple[bytes, ...]:
    return ()


async def twice(_: int, given: bytes) -> tuple[bytes, ...]:
    return (given, given)


async def endless(_: int, given: bytes) -> tuple[bytes, ...]:
    return (bytes(4 * CHUNK_BYTES),)


def whole_lie() -> Liar:
    lie = content(len(DATA), seed=7)
    return Liar(lie, digests=lying_digests(lie, DATA))


LIES = [flipped, longer, shorter, nothing, twice, endless]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("first", [True, False])
async def test_a_source_that_sends_other_bytes_is_left_and_the_blob_is_right(
    hub: Hub, here: BlobNode, lie: object, first: bool
) -> None:
    there = await hub.node("there")
    await there.give(DATA)
    liar = await hub.liar("liar", Liar(DATA))
    liar.change = lie  # type: ignore[assignment]
    await here.fetch(ID, *(("liar", "there") if first else ("there", "liar")))
    assert await arrived(here)
    assert there.blobs.figures.served <= len(DATA) + blob_pull.WINDOW * CHUNK_BYTES
    assert here.blobs.figures.false_lists == 0


@pytest.mark.parametrize("lie", LIES)
async def test_a_lone_liar_is_told_from_a_blob(hub: Hub, here: BlobNode, lie: object) -> None:
    liar = await hub.liar("liar", Liar(DATA))
    liar.change = lie  # type: ignore[assignment]
    with pytest.raises(Unavailable) as refused:
        await here.fetch(ID, "liar")
    assert "liar: " in refused.value.hint
    assert not any(info.complete for info in await here.store.list())


async def test_a_whole_lie_that_fits_its_own_list_is_found_out_and_replaced(hub: Hub, here: BlobNode) -> None:
    there = await hub.node("there")
    await there.give(DATA)
    await hub.liar("liar", whole_lie())
    await here.fetch(ID, "liar", "there")
    assert await arrived(here)
    assert here.blobs.figures.false_lists == 1


async def test_another_blob_under_the_id_is_refused_by_its_list(hub: Hub, here: BlobNode) -> None:
    liar = await hub.liar("liar", Liar(content(len(DATA), seed=7)))
    with pytest.raises(Unavailable, match="nobody"):
        await here.fetch(ID, "liar")
    assert liar.asked == []


async def test_a_lone_whole_lie_is_refused(hub: Hub, here: BlobNode) -> None:
    await hub.liar("liar", whole_lie())
    with pytest.raises(Unavailable, match="nobody"):
        await here.fetch(ID, "liar")
    assert not any(info.complete for info in await here.store.list())


async def test_liars_who_agree_are_found_out_as_one(hub: Hub, here: BlobNode) -> None:
    there = await hub.node("there")
    await there.give(DATA)
    for name in ("liar-1", "liar-2", "liar-3"):
        await hub.liar(name, whole_lie())
    await here.fetch(ID, "liar-1", "liar-2", "liar-3", "there")
    assert await arrived(here)
    assert here.blobs.figures.false_lists == 1


async def test_a_list_that_lies_about_one_chunk_costs_little_more(hub: Hub, here: BlobNode) -> None:
    there = await hub.node("there")
    await there.give(DATA)
    digests = bytearray(digests_of(DATA))
    digests[0] ^= 1
    await hub.liar("liar", Liar(DATA, digests=bytes(digests)))
    await here.fetch(ID, "liar", "there")
    assert await arrived(here)
    assert here.blobs.figures.received <= 1.5 * len(DATA)


@pytest.mark.parametrize("size", [len(DATA) + CHUNK_BYTES, len(DATA) - CHUNK_BYTES, CHUNK_BYTES, BLOB_MOST])
async def test_a_list_that_lies_about_the_size_does_not_win(hub: Hub, here: BlobNode, size: int) -> None:
    there = await hub.node("there")
    await there.give(DATA)
    chunks = -(-size // CHUNK_BYTES)
    await hub.liar("liar", Liar(DATA, size=size, digests=(digests_of(DATA) + bytes(32 * chunks))[: 32 * chunks - 32] + END))
    await here.fetch(ID, "liar", "there")
    assert await arrived(here)
    assert here.store.held == len(DATA)


@pytest.mark.parametrize("digests", [b"", bytes(31), bytes(32 * 11) + END, bytes(32 * 13) + END, bytes(2**20)])
async def test_more_or_fewer_digests_than_the_size_has_chunks_are_refused(hub: Hub, here: BlobNode, digests: bytes) -> None:
    await hub.liar("liar", Liar(DATA, digests=digests))
    with pytest.raises(Unavailable, match="nobody"):
        await here.fetch(ID, "liar")
    assert await here.store.list() == ()


async def test_a_quota_bomb_is_refused_before_a_byte_of_it(hub: Hub) -> None:
    here = await hub.node("small", quota=4 * CHUNK_BYTES)
    liar = await hub.liar("liar", Liar(DATA))
    with pytest.raises(StorageFailed, match="quota"):
        await here.fetch(ID, "liar")
    assert liar.asked == []
    assert here.store.held == 0


async def test_fetches_at_once_cannot_overbook_the_quota(hub: Hub) -> None:
    here = await hub.node("small", quota=4 * CHUNK_BYTES)
    there = await hub.node("there")
    ids = [await there.give(content(2 * CHUNK_BYTES, seed)) for seed in range(5)]
    found = await asyncio.gather(*(here.fetch(id, "there") for id in ids), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in found) <= 2
    assert sum(info.size for info in await here.store.list()) <= 4 * CHUNK_BYTES
    assert here.store.held <= 4 * CHUNK_BYTES


async def test_a_chunk_of_an_earlier_run_that_is_wrong_is_held_against_nobody(hub: Hub, here: BlobNode) -> None:
    there = await hub.node("there")
    await there.give(DATA)
    part = await here.store.receive(Manifest(ID, len(DATA), digests_of(DATA)))
    await part.write(range(2), bytes(2 * PIECE_BYTES))
    await part.write(range(4, 8), DATA[CHUNK_BYTES : 2 * CHUNK_BYTES])
    await part.close()
    await here.fetch(ID, "there")
    assert await arrived(here)
    assert here.blobs.figures.false_lists == 0
    assert there.blobs.figures.served == len(DATA) - CHUNK_BYTES + 2 * PIECE_BYTES


async def test_others_help_out_where_a_source_hangs(hub: Hub, here: BlobNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_pull, "PATIENCE_S", 0.1)
    there = await hub.node("there")
    await there.give(DATA)
    liar = await hub.liar("hangs", Liar(DATA))

    async def hang(_: int, given: bytes) -> tuple[bytes, ...]:
        await asyncio.Event().wait()
        return (given,)

    liar.change = hang
    await here.fetch(ID, "hangs", "there")
    assert await arrived(here)


async def test_a_peer_reads_no_more_than_a_blob_has(hub: Hub, here: BlobNode) -> None:
    await here.give(DATA)
    there = await hub.node("there")
    await there.linked("here")
    for offset, length in [(len(DATA), 1), (0, CHUNK_BYTES), (len(DATA) - 1, 2), (BLOB_MOST, 1)]:
        wanted = ChunkRequest(blob=ID, offset=offset, length=length)
        call = there.transport.call("here", BLOB_CHUNK, wanted, timeout=5.0)
        if offset + length <= len(DATA):
            assert len((await call).blobs[0]) == length
        else:
            with pytest.raises(Invalid):
                await call


async def test_a_peer_that_guesses_learns_nothing(hub: Hub, here: BlobNode) -> None:
    await here.give(DATA)
    there = await hub.node("there")
    await there.linked("here")
    with pytest.raises(NotFound):
        await there.transport.call("here", BLOB_CHUNK, ChunkRequest(blob="0" * 64, offset=0, length=1), timeout=5.0)
    with pytest.raises(ValueError, match="pattern"):
        ChunkRequest(blob="../" + "0" * 61, offset=0, length=1)
