"""What do the commands of `ecnode db` say and do?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node import datadir
from node.cli import run
from node.clock import SystemClock
from node.storage import open_store
from node.storage.migrations import MIGRATIONS
from node.storage.outbox import Outgoing

Said = pytest.CaptureFixture[str]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECNODE_CONFIG", raising=False)
    return ["--set", f"node.data_dir={tmp_path / 'data'}", "--set", "node.name=edge-1", "--set", 'node.roles=["edge"]']


def fill(folder: Path) -> tuple[int, str]:
    """One more boot and one more message that waits; the boot and the memory's name."""

    async def work() -> tuple[int, str]:
        store = await open_store("sqlite:///node.db", folder, SystemClock())
        try:
            await store.outbox.post(Outgoing("cloud-1", "job.progress", b"x"), 1, lambda _: None)
            return await store.cluster.next_boot(), await store.cluster.memory()
        finally:
            await store.close()

    return asyncio.run(work())


def test_a_copy_is_restored_with_streams_that_begin_anew(words: list[str], tmp_path: Path, capsys: Said) -> None:
    _, memory = fill(tmp_path / "data")
    assert run(["db", "backup", *words, "copy.db"]) == 0
    assert f"schema version {len(MIGRATIONS)}" in capsys.readouterr().out
    assert fill(tmp_path / "data") == (2, memory)
    assert run(["db", "restore", *words, "copy.db"]) == 0
    said = capsys.readouterr().out
    assert "1 messages were dropped" in said
    assert ".before-restore-" in said
    boot, renewed = fill(tmp_path / "data")
    assert boot == 2
    assert renewed != memory


def test_a_running_node_can_be_copied_but_not_restored(words: list[str], tmp_path: Path, capsys: Said) -> None:
    fill(tmp_path / "data")
    with datadir.own(tmp_path / "data"):
        assert run(["db", "backup", *words, "copy.db"]) == 0
        assert run(["db", "restore", *words, "copy.db"]) == 7
        assert run(["db", "upgrade", *words]) == 7
    assert "another node runs" in capsys.readouterr().err


def test_the_state_of_a_database_is_told(words: list[str], tmp_path: Path, capsys: Said) -> None:
    assert run(["db", "status", *words]) == 6
    fill(tmp_path / "data")
    assert run(["db", "status", *words]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["file", "size", "schema", "sound"]
    (tmp_path / "data" / "node.db").write_bytes(b"no database, but long enough to be looked at" * 100)
    assert run(["db", "status", *words]) == 1
    assert "ecnode db restore" in capsys.readouterr().err
    assert run(["db", "upgrade", *words]) == 1
    assert run(["db", "status", *words[2:], "--set", "storage.database=sqlite:///:memory:"]) == 6


def test_an_upgrade_says_where_it_has_come_from(words: list[str], tmp_path: Path, capsys: Said) -> None:
    fill(tmp_path / "data")
    assert run(["db", "upgrade", *words]) == 0
    assert capsys.readouterr().out == f"schema version {len(MIGRATIONS)}\n"
