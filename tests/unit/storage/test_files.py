"""Which databases are opened, which are refused, and what stays untouched."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.errors import ConfigInvalid, NotBuilt, StorageFailed
from node.storage import Store, open_store
from node.storage.files import location
from node.storage.migrations import MIGRATIONS

URL = "sqlite:///node.db"


async def opened(folder: Path) -> Store:
    return await open_store(URL, folder, SystemClock())


async def a_database(folder: Path) -> Path:
    store = await opened(folder)
    await store.cluster.next_boot()
    await store.close()
    return folder / "node.db"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    await a_database(tmp_path)
    store = await opened(tmp_path)
    assert await store.cluster.next_boot() == 2
    await store.close()


async def test_the_folder_and_all_files_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    store = await opened(folder)
    await store.cluster.next_boot()
    assert mode(folder) == 0o700
    assert files_in(folder) == ["node.db", "node.db-shm", "node.db-wal"]
    assert {mode(folder / name) for name in files_in(folder)} == {0o600}
    await store.close()
    (folder / "node.db").chmod(0o644)
    await (await opened(folder)).close()
    assert mode(folder / "node.db") == 0o600


def emptied(content: bytes) -> bytes:
    return b""


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2 + 100]


def scribbled_over(content: bytes) -> bytes:
    return content[:4096] + b"\xa5" * 8192 + content[4096 + 8192 :]


def headless(content: bytes) -> bytes:
    return b"\x00" * 100 + content[100:]


def prose(content: bytes) -> bytes:
    return b"Dear diary, " * 1000


@pytest.mark.parametrize("damage", [emptied, cut, scribbled_over, headless, prose])
async def test_a_damaged_database_is_refused_and_left_as_it_is(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = await a_database(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    before = digest(path)
    with pytest.raises(StorageFailed) as refused:
        await opened(tmp_path)
    assert str(path) in refused.value.message
    assert str(path) in refused.value.hint
    assert ".recover" in refused.value.hint
    assert digest(path) == before
    assert "node.db.new" not in files_in(tmp_path)


async def test_a_database_of_a_newer_release_is_refused_with_the_way_on(tmp_path: Path) -> None:
    path = await a_database(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (?, 'future', 0)", (len(MIGRATIONS) + 1,))
    connection.close()
    before = digest(path)
    with pytest.raises(StorageFailed, match=f"schema version {len(MIGRATIONS) + 1}") as refused:
        await opened(tmp_path)
    assert "newer release" in refused.value.hint
    assert digest(path) == before


async def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    with pytest.raises(StorageFailed, match="not a database of ecnode"):
        await opened(tmp_path)


async def test_a_log_without_its_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.db-wal").write_bytes(b"rows that were acknowledged")
    with pytest.raises(StorageFailed, match="missing while its log"):
        await opened(tmp_path)
    assert not (tmp_path / "node.db").exists()


async def test_a_first_start_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "node.db.new").write_bytes(b"half")
    await a_database(tmp_path)
    assert files_in(tmp_path) == ["node.db"]


async def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageFailed, match="cannot be used"):
        await opened(tmp_path / "data")


async def test_a_directory_in_the_databases_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.db").mkdir()
    with pytest.raises(StorageFailed, match="refused"):
        await opened(tmp_path)


def test_a_relative_url_is_a_file_in_the_data_directory(tmp_path: Path) -> None:
    assert location("sqlite:///node.db", tmp_path) == tmp_path / "node.db"
    assert location("sqlite:///sub/node.db", tmp_path) == tmp_path / "sub" / "node.db"
    assert location(f"sqlite:///{tmp_path / 'else.db'}", tmp_path / "data") == tmp_path / "else.db"
    assert location("sqlite:///:memory:", tmp_path) is None


@pytest.mark.parametrize(
    "url", ["sqlite:///../node.db", "sqlite:///", "node.db", "sqlite://node.db", "redis:///x", "sqlite:///a?b=1"]
)
def test_a_url_that_names_no_database_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        location(url, tmp_path)
    assert refused.value.problems[0].path == "storage.database"


@pytest.mark.parametrize("url", ["postgres://u@h/d", "postgresql+psycopg://u@h/d", "mysql://u:p@h/d"])
async def test_a_database_server_is_not_built_and_the_url_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(NotBuilt, match="not built into this release") as refused:
        await open_store(url, tmp_path, SystemClock())
    assert "u:p" not in str(refused.value)
