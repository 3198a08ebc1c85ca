"""Do the file store and the memory store keep the same promises about durable messages?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.errors import Busy, Conflict, Internal, Stale
from node.model.delivery import Batch, Verdict
from node.storage import Store, open_store, outbox
from node.storage.connection import Writing
from node.storage.inbox import STREAMS_MOST, Arrival, Intaken
from node.storage.outbox import OutboxStream, Outgoing, Span

HERE = "f" * 32


@pytest.fixture(params=["sqlite:///node.db", "sqlite:///:memory:"], ids=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(request.param, tmp_path, ManualClock())
    yield opened
    await opened.close()


async def post(store: Store, body: bytes = b"body", peer: str = "cloud-1") -> int:
    return (await store.outbox.post(Outgoing(peer, "test.note", body), 1, lambda _: None)).sequence


def everything(after: int = 0, *, most_bytes: int = 10_000, most: int = 64) -> Span:
    return Span(after, 10_000, most_bytes, most)


async def test_sequences_count_from_one_for_each_peer(store: Store) -> None:
    assert [await post(store) for _ in range(3)] == [1, 2, 3]
    assert await post(store, peer="cloud-2") == 1
    assert await store.outbox.streams() == (OutboxStream("cloud-1", "", 0, 3), OutboxStream("cloud-2", "", 0, 1))


async def test_what_waits_is_read_in_order_by_number_and_by_size(store: Store) -> None:
    for size in (10, 20, 30, 40):
        await post(store, b"x" * size)

    async def sizes(span: Span) -> list[int]:
        return [len(message.body) for message in await store.outbox.waiting("cloud-1", span)]

    assert await sizes(everything()) == [10, 20, 30, 40]
    assert await sizes(everything(most=2)) == [10, 20]
    assert await sizes(everything(1, most_bytes=50)) == [20, 30]
    assert await sizes(everything(3, most_bytes=1)) == [40]  # one at least
    assert await sizes(Span(1, 2, 10_000)) == [20]
    assert await sizes(everything(4)) == []


async def test_what_is_acknowledged_is_forgotten_and_its_room_is_free_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BYTES_MOST", 100)
    for _ in range(4):
        await post(store, b"x" * 25)
    with pytest.raises(Busy, match="4 messages of 100 bytes"):
        await post(store, b"x")
    await store.outbox.settle("cloud-1", 2, HERE)
    await store.outbox.settle("cloud-1", 1, HERE)  # late: nothing goes back
    assert await post(store, b"x" * 50) == 5
    with pytest.raises(Busy):
        await post(store, b"x")
    assert await store.outbox.streams() == (OutboxStream("cloud-1", HERE, 2, 5),)
    assert [message.sequence for message in await store.outbox.waiting("cloud-1", everything())] == [3, 4, 5]


async def test_a_change_that_fails_takes_its_message_with_it(store: Store) -> None:
    def breaks(_connection: Writing) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        await store.outbox.post(Outgoing("cloud-1", "test.note", b""), 1, breaks)
    assert await post(store) == 1


async def test_what_waits_for_a_peer_that_was_put_out_is_dropped_and_its_numbers_are_not_used_again(store: Store) -> None:
    for _ in range(3):
        await post(store)
    await store.outbox.settle("cloud-1", 1, HERE)
    assert await store.outbox.drop("cloud-1") == OutboxStream("cloud-1", "", 3, 3)
    assert await store.outbox.drop("nobody") == OutboxStream("nobody")
    assert await store.outbox.waiting("cloud-1", everything()) == ()
    assert await post(store) == 4


async def test_attempts_are_counted(store: Store) -> None:
    await post(store)
    for _ in range(2):
        await store.outbox.tried("cloud-1", await store.outbox.waiting("cloud-1", everything()))
    (message,) = await store.outbox.waiting("cloud-1", everything())
    assert message.attempts == 2


@pytest.mark.parametrize(("keep", "left"), [(True, [1, 2]), (False, [])])
async def test_renewed_streams_begin_at_one_under_another_memory(store: Store, keep: bool, left: list[int]) -> None:
    for _ in range(5):
        await post(store)
    await store.outbox.settle("cloud-1", 3, HERE)
    assert await store.outbox.renew("1" * 32, keep=keep) == 2 - len(left)
    assert await store.cluster.memory() == "1" * 32
    assert [message.sequence for message in await store.outbox.waiting("cloud-1", everything())] == left
    assert await store.outbox.streams() == (OutboxStream("cloud-1", "", 0, len(left)),)
    assert await post(store) == len(left) + 1


async def test_the_memory_has_an_id_of_its_own(store: Store, tmp_path: Path) -> None:
    other = await open_store("sqlite:///:memory:", tmp_path, ManualClock())
    assert await store.cluster.memory() != await other.cluster.memory()
    assert len(await store.cluster.memory()) == 32
    await other.close()


# The inbox


def a_batch(first: int, count: int, turn: int, **changes: object) -> Batch:
    batch = Batch(
        stream="5" * 32, boot=1, life="a" * 32, turn=turn, low=0, last=2000, first=first, methods=("test.note",) * count
    )
    return batch.replace(**changes)


def counting(connection: Writing) -> tuple[object, bytes]:
    connection.change("INSERT INTO counters (name, value) VALUES ('n', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1")
    value = connection.number("SELECT value FROM counters WHERE name = 'n'")
    return value, str(value).encode()


def refusing(connection: Writing) -> tuple[object, bytes]:
    counting(connection)
    raise Conflict("no")


def busy(connection: Writing) -> tuple[object, bytes]:
    counting(connection)
    raise Busy("not now")


async def take(store: Store, batch: Batch, *effects, contents: bytes = b"") -> Intaken:
    digests = contents or bytes(range(batch.first, batch.first + len(effects)))
    arrivals = [Arrival(digests[place : place + 1], effect) for place, effect in enumerate(effects)]
    return await store.inbox.take(HERE, "edge-1", batch, arrivals, lambda error: error.message.encode())


async def counted(store: Store) -> int:
    return await store.queries._database.read(lambda it: it.number("SELECT value FROM counters WHERE name = 'n'"))


async def test_a_message_that_comes_again_is_answered_from_its_row(store: Store) -> None:
    first = await take(store, a_batch(1, 2, 1), counting, counting)
    again = await take(store, a_batch(1, 3, 2), counting, counting, counting)
    assert [fate.reply for fate in first.fates] == [b"1", b"2"]
    assert [fate.reply for fate in again.fates] == [b"1", b"2", b"3"]
    assert (again.taken, [place for place, _ in again.values]) == (3, [2])
    assert await counted(store) == 3


async def test_rows_below_the_low_water_mark_are_forgotten(store: Store) -> None:
    await take(store, a_batch(1, 4, 1), *[counting] * 4)
    await take(store, a_batch(5, 1, 2, low=3), counting)
    assert await store.inbox.rows() == 2


async def test_a_refusal_is_a_fate_and_undoes_its_own_effect_only(store: Store) -> None:
    done = await take(store, a_batch(1, 3, 1), counting, refusing, counting)
    assert [(fate.code, fate.reply) for fate in done.fates] == [("", b"1"), ("EC-CONFLICT", b"no"), ("", b"2")]
    again = await take(store, a_batch(1, 3, 2), counting, counting, counting)
    assert again.fates == done.fates
    assert await counted(store) == 2


async def test_a_message_that_cannot_be_taken_now_holds_up_those_behind_it(store: Store) -> None:
    done = await take(store, a_batch(1, 3, 1), counting, busy, counting)
    assert (done.taken, len(done.fates), str(done.halted)) == (1, 1, "not now")
    assert await counted(store) == 1
    assert (await take(store, a_batch(2, 2, 2), counting, counting)).taken == 3


async def test_a_fault_takes_nothing_of_its_batch(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        await take(store, a_batch(1, 2, 1), counting, lambda _: 1 // 0)  # type: ignore[arg-type, return-value]
    assert await counted(store) == 0
    assert (await take(store, a_batch(1, 1, 2), counting)).taken == 1


async def test_a_gap_is_not_filled_and_a_late_batch_changes_nothing(store: Store) -> None:
    await take(store, a_batch(1, 1, 5), counting)
    gap = await take(store, a_batch(4, 1, 6), counting)
    assert (gap.taken, gap.fates) == (1, ())
    late = await take(store, a_batch(2, 1, 4), counting)
    assert (late.verdict, late.taken) == (Verdict.LATE, 1)
    assert await counted(store) == 1


async def test_another_content_under_a_taken_sequence_is_refused(store: Store) -> None:
    await take(store, a_batch(1, 2, 1), counting, counting)
    with pytest.raises(Stale, match="message 2 was taken before with another content"):
        await take(store, a_batch(2, 1, 2), counting, contents=b"x")
    assert await counted(store) == 2


async def test_a_sender_that_never_stores_its_acknowledgements_is_told_to_wait(store: Store) -> None:
    done, turn = None, 0
    while done is None or done.halted is None:
        turn += 1
        batch = a_batch(done.taken + 1 if done else 1, 64, turn)
        done = await take(store, batch, *[counting] * 64, contents=b"c" * 64)
    assert isinstance(done.halted, Busy)
    assert await store.inbox.rows() == done.taken == 1024


async def test_the_streams_of_one_sender_are_bounded_and_the_oldest_goes(store: Store) -> None:
    for number in range(STREAMS_MOST + 3):
        await take(store, a_batch(1, 1, 1, stream=f"{number:032x}"), counting)
    assert await store.inbox.rows() == STREAMS_MOST
    assert (await take(store, a_batch(1, 1, 2, stream=f"{STREAMS_MOST + 2:032x}"), counting)).values == ()


async def test_an_error_that_is_no_verdict_is_raised(store: Store) -> None:
    def odd(_connection: Writing) -> tuple[object, bytes]:
        raise Internal("neither family")

    with pytest.raises(Internal):
        await take(store, a_batch(1, 1, 1), odd)
