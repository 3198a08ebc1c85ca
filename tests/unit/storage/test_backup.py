"""Is a copy whole while the node writes, and what is left of a database when one is put back?"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.errors import Conflict, NotFound, StorageFailed
from node.storage import Store, backup, open_store
from node.storage.connection import connect
from node.storage.migrations import MIGRATIONS, migrate

URL = "sqlite:///node.db"


async def opened(folder: Path) -> Store:
    return await open_store(URL, folder, SystemClock())


async def boots(folder: Path, count: int) -> Path:
    """A database that has counted so many boots."""
    store = await opened(folder)
    for _ in range(count):
        await store.cluster.next_boot()
    await store.close()
    return folder / "node.db"


def write_and_die(path: Path) -> None:
    """What a node that was killed leaves behind: a log."""
    child = os.fork()
    if child == 0:
        sqlite3.connect(path, isolation_level=None).execute("UPDATE counters SET value = 1000")
        os._exit(0)
    os.waitpid(child, 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def next_boot(path: Path) -> int:
    store = await open_store(f"sqlite:///{path}", path.parent, SystemClock())
    try:
        return await store.cluster.next_boot()
    finally:
        await store.close()


async def test_a_copy_made_under_writes_is_one_moment_of_the_database(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    stop = asyncio.Event()

    async def write() -> int:
        number = 0
        while not stop.is_set():
            number = await store.cluster.next_boot()
        return number

    writing = asyncio.create_task(write())
    before = await store.cluster.next_boot()
    copies = [await asyncio.to_thread(backup.copy, tmp_path / "node.db", tmp_path / f"copy-{n}") for n in range(3)]
    stop.set()
    last = await writing
    await store.close()
    found = [await next_boot(copy.path) - 1 for copy in copies]
    assert before <= found[0] <= found[1] <= found[2] <= last
    assert {copy.version for copy in copies} == {len(MIGRATIONS)}
    assert {copy.path.stat().st_mode & 0o777 for copy in copies} == {0o600}


async def test_a_copy_never_replaces_a_file(tmp_path: Path) -> None:
    path = await boots(tmp_path, 1)
    target = tmp_path / "precious"
    target.write_text("mine")
    with pytest.raises(Conflict, match="there already"):
        backup.copy(path, target)
    assert target.read_text() == "mine"


async def test_a_damaged_database_is_not_copied_and_its_fault_is_told(tmp_path: Path) -> None:
    path = await boots(tmp_path, 1)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(StorageFailed):
        backup.copy(path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert "ecnode db restore" in backup.look(path).fault


def test_what_is_not_there_is_neither_looked_at_nor_copied_nor_restored(tmp_path: Path) -> None:
    for act in (
        lambda: backup.look(tmp_path / "node.db"),
        lambda: backup.copy(tmp_path / "node.db", tmp_path / "copy"),
        lambda: backup.restore(tmp_path / "copy", tmp_path / "node.db", "now"),
    ):
        with pytest.raises(NotFound):
            act()


async def test_a_restored_copy_is_what_it_was_and_the_replaced_database_stays(tmp_path: Path) -> None:
    path = await boots(tmp_path, 3)
    copy = backup.copy(path, tmp_path / "copy").path
    await boots(tmp_path, 4)
    kept = backup.restore(copy, path, "now")
    assert kept is not None
    assert await next_boot(kept) == 8
    assert await next_boot(path) == 4


async def test_the_log_of_the_replaced_database_does_not_reach_the_new_one(tmp_path: Path) -> None:
    path = await boots(tmp_path, 2)
    copy = backup.copy(path, tmp_path / "copy").path
    write_and_die(path)
    assert path.with_name("node.db-wal").stat().st_size
    kept = backup.restore(copy, path, "now")
    assert kept is not None
    assert await next_boot(path) == 3
    assert await next_boot(kept) == 1001


async def test_a_copy_that_is_no_database_changes_nothing(tmp_path: Path) -> None:
    path = await boots(tmp_path, 2)
    (tmp_path / "copy").write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(StorageFailed):
        backup.restore(tmp_path / "copy", path, "now")
    assert await next_boot(path) == 3


async def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await boots(tmp_path, 1)
    monkeypatch.setattr(backup, "SPARE_BYTES", 2**60)
    with pytest.raises(StorageFailed, match="MiB free"):
        backup.copy(path, tmp_path / "copy")
    assert names(tmp_path) == ["node.db"]


async def test_a_database_of_an_older_release_is_kept_before_it_is_upgraded(tmp_path: Path) -> None:
    older = connect(str(tmp_path / "node.db"))
    migrate(older, 0.0, MIGRATIONS[:-1])
    older.close()
    await (await opened(tmp_path)).close()
    assert backup.look(tmp_path / "node.db").version == len(MIGRATIONS)
    assert backup.look(tmp_path / f"node.db.version-{len(MIGRATIONS) - 1}").version == len(MIGRATIONS) - 1
    await (await opened(tmp_path)).close()
    assert len(names(tmp_path)) == 2
