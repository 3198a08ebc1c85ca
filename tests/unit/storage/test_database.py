"""Group commit, its failures, and the life of the two threads."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import uvloop

from node import failpoints
from node.clock import ManualClock, SystemClock
from node.errors import Busy, Internal, StorageFailed
from node.storage import lane
from node.storage.connection import Reading, Writing
from node.storage.database import Database

INSERT = 'INSERT INTO "counters" ("name", "value") VALUES (:name, :value)'
NAMES = "SELECT name FROM counters WHERE name <> 'probe' ORDER BY value"


class Gate:
    """An operation that holds the writer thread until it is let go, so that a test decides what shares a burst."""

    def __init__(self, database: Database) -> None:
        self._reached = threading.Event()
        self._go = threading.Event()
        self._task = database.write(self._hold)

    def _hold(self, connection: Writing) -> None:
        self._reached.set()
        assert self._go.wait(10)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)

    async def open(self) -> None:
        self._go.set()
        await self._task


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    # Time stands still, so that a burst ends by its count alone.
    opened = await Database.open(tmp_path / "node.db", ManualClock())
    yield opened
    failpoints.arm("")
    await opened.close()


async def insert(database: Database, name: str, value: int = 0) -> int:
    return await database.write(lambda connection: connection.change(INSERT, name=name, value=value))


async def write(database: Database, operation: Callable[[Writing], None]) -> None:
    await database.write(operation)


async def names(database: Database) -> list[str]:
    return [str(row[0]) for row in await database.read(lambda connection: connection.rows(NAMES))]


async def begun() -> None:
    """Lets tasks that were just made run up to their first wait, in order, and what they posted be handed over."""
    for _ in range(2):
        await SystemClock().sleep(0)


def inserts(database: Database, count: int, start: int = 0) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(insert(database, f"n{n}", n)) for n in range(start, start + count)]


async def test_640_concurrent_writes_take_ten_commits(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    tasks = inserts(database, 63 + 640)  # 63 share the gate's own burst
    await begun()
    before = database.commits
    await gate.open()
    await asyncio.gather(*tasks)
    assert database.commits - before == 11
    assert len(await names(database)) == 703


class Unwritable(lane.Joint[Writing]):
    """Work whose values cannot be made into a statement."""

    def __call__(self, connection: Writing) -> object:
        raise ZeroDivisionError

    @classmethod
    def together(cls, connection: Writing, several: Sequence[Unwritable]) -> None:
        raise ZeroDivisionError

    def settled(self, value: object) -> None:
        raise AssertionError("it was never done")


@pytest.mark.parametrize("count", [1, 3])
async def test_work_that_cannot_be_written_fails_for_its_caller_alone(database: Database, count: int) -> None:
    outcomes = await asyncio.gather(*(database.write(Unwritable()) for _ in range(count)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * count
    await insert(database, "later")
    assert await names(database) == ["later"]


async def test_a_burst_ends_when_its_time_is_over(tmp_path: Path) -> None:
    clock = ManualClock()
    database = await Database.open(tmp_path / "node.db", clock)
    gate = Gate(database)
    await gate.reached()
    task = asyncio.create_task(insert(database, "late"))
    await begun()
    before = database.commits
    await clock.advance(lane.BURST_SECONDS)
    await gate.open()
    await task
    assert database.commits - before == 2
    await database.close()


async def test_a_failing_operation_harms_nobody_else_in_its_burst(database: Database) -> None:
    def half_done(connection: Writing) -> None:
        connection.change(INSERT, name="half", value=1)
        raise RuntimeError("changed my mind")

    gate = Gate(database)
    await gate.reached()
    tasks = [*inserts(database, 2), asyncio.create_task(write(database, half_done)), *inserts(database, 2, start=2)]
    await begun()
    before = database.commits
    await gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes.pop(2), RuntimeError)
    assert outcomes == [1, 1, 1, 1]
    assert database.commits - before == 1
    assert await names(database) == ["n0", "n1", "n2", "n3"]


async def test_a_statement_of_ours_that_is_wrong_is_an_internal_error(database: Database) -> None:
    with pytest.raises(Internal, match="no such table"):
        await database.write(lambda connection: connection.change("DELETE FROM nowhere"))
    await insert(database, "n0")
    with pytest.raises(Internal, match="UNIQUE"):
        await insert(database, "n0")
    assert database.healthy() is None


async def test_a_failed_commit_acknowledges_nobody(database: Database) -> None:
    failpoints.arm("before_commit=error")
    outcomes = await asyncio.gather(*inserts(database, 10), return_exceptions=True)
    assert all(isinstance(outcome, StorageFailed) for outcome in outcomes)
    assert "last commit failed" in (database.healthy() or "")
    failpoints.arm("")
    assert await names(database) == []
    await insert(database, "after")
    assert await names(database) == ["after"]
    assert database.healthy() is None


async def test_after_the_commit_the_row_is_there_though_its_caller_never_hears(database: Database) -> None:
    failpoints.arm("after_commit_before_ack=error")
    with pytest.raises(Internal, match="failpoint"):
        await insert(database, "kept")
    failpoints.arm("")
    assert await names(database) == ["kept"]


async def test_when_sqlite_undoes_a_burst_by_itself_nobody_in_it_is_acknowledged(database: Database) -> None:
    def undone(connection: Writing) -> None:  # as SQLite does after some I/O errors
        connection.change("ROLLBACK")
        raise StorageFailed("lost")

    gate = Gate(database)
    await gate.reached()
    tasks = [*inserts(database, 2), asyncio.create_task(write(database, undone))]
    await begun()
    outcomes = await asyncio.gather(gate.open(), *tasks, return_exceptions=True)
    assert all(isinstance(outcome, StorageFailed) for outcome in outcomes)
    assert await names(database) == []
    assert await insert(database, "after") == 1


async def recovered(database: Database) -> None:
    clock = SystemClock()
    async with clock.timeout(5):
        while database.healthy() is not None:
            await clock.sleep(0.001)


async def test_a_full_database_refuses_keeps_what_it_acknowledged_and_recovers_by_itself(database: Database) -> None:
    pages = await database.write(lambda connection: connection.number("PRAGMA page_count"))
    await database.write(lambda connection: connection.number(f"PRAGMA max_page_count = {pages + 4}"))
    big = [asyncio.create_task(insert(database, f"{n:03}" + "x" * 1000, n)) for n in range(40)]
    outcomes = await asyncio.gather(*big, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, StorageFailed)]
    assert refused
    assert all("SQLITE_FULL" in str(outcome) or "full" in str(outcome) for outcome in refused)
    assert refused[0].status == 507
    kept = await names(database)
    assert [int(name[:3]) for name in kept] == [n for n, outcome in enumerate(outcomes) if outcome == 1]
    assert "full" in (database.healthy() or "")
    await database.write(lambda connection: connection.number("PRAGMA max_page_count = 100000"))
    await recovered(database)


async def test_a_disk_that_takes_no_more_bytes_fails_the_commit_and_recovers_by_itself(
    database: Database, tmp_path: Path
) -> None:
    await insert(database, "before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "node.db-wal").stat().st_size + 100, hard))
    try:
        outcomes = await asyncio.gather(*inserts(database, 10), return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(isinstance(outcome, StorageFailed) for outcome in outcomes)
    assert await names(database) == ["before"]
    await recovered(database)
    assert await insert(database, "n0", 1) == 1
    assert await names(database) == ["before", "n0"]


async def test_a_full_queue_refuses_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "QUEUE_MOST", 3)
    gate = Gate(database)
    await gate.reached()
    tasks = inserts(database, 5)
    await begun()
    await gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[:3] == [1, 1, 1]
    assert all(isinstance(outcome, Busy) for outcome in outcomes[3:])


async def test_a_cancelled_caller_does_not_disturb_its_burst(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    tasks = inserts(database, 3)
    await begun()
    tasks[1].cancel()
    await gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (1, 1)
    assert isinstance(outcomes[1], asyncio.CancelledError)


async def test_closing_finishes_what_is_queued_and_joins_the_threads(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "node.db", SystemClock())
    tasks = inserts(database, 200)
    await begun()
    await asyncio.gather(database.close(), database.close())
    assert await asyncio.gather(*tasks) == [1] * 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("storage")]
    assert not (tmp_path / "node.db-wal").exists()
    with pytest.raises(StorageFailed, match="closed"):
        await insert(database, "late")


async def test_both_connections_have_the_settings_that_the_promises_need(database: Database) -> None:
    def settings(connection: Reading) -> dict[str, object]:
        asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        return {name: (connection.row(f"PRAGMA {name}") or ("",))[0] for name in asked}

    promised = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    assert await database.write(settings) == {**promised, "query_only": 0}
    assert await database.read(settings) == {**promised, "query_only": 1}


async def test_a_reader_that_fails_leaves_the_next_one_a_fresh_snapshot(database: Database) -> None:
    with pytest.raises(Internal, match="no such table"):
        await database.read(lambda connection: connection.rows("SELECT * FROM nowhere"))
    await insert(database, "n0")
    assert await names(database) == ["n0"]


def test_it_works_on_uvloop(tmp_path: Path) -> None:
    async def main() -> list[str]:
        database = await Database.open(tmp_path / "node.db", SystemClock())
        await asyncio.gather(*inserts(database, 100))
        found = await names(database)
        await database.close()
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert len(runner.run(main())) == 100


async def test_what_is_written_in_one_turn_of_the_loop_is_committed_together(database: Database) -> None:
    before = database.commits
    await asyncio.gather(*(insert(database, f"n{number}", number) for number in range(16)))
    assert database.commits - before == 1
    assert len(await names(database)) == 16


async def test_what_was_posted_before_the_store_is_closed_is_kept(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "node.db", ManualClock())
    writing = database._writing.post(lambda connection: connection.change(INSERT, name="last", value=0))
    await database.close()
    assert await writing == 1
