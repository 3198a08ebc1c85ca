"""What do `outbox show` and `outbox renew` do with the data directory of a stopped node?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node import datadir
from node.cli import run
from node.clock import SystemClock
from node.storage import open_store
from node.storage.outbox import Outgoing

Said = pytest.CaptureFixture[str]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECNODE_CONFIG", raising=False)
    asyncio.run(fill(tmp_path / "data"))
    return ["--set", f"node.data_dir={tmp_path / 'data'}", "--set", "node.name=edge-1", "--set", 'node.roles=["edge"]']


async def fill(folder: Path) -> None:
    store = await open_store("sqlite:///node.db", folder, SystemClock())
    for _ in range(3):
        await store.outbox.post(Outgoing("cloud-1", "job.progress", b"x"), 1, lambda _: None)
    await store.close()


def memory(folder: Path) -> str:
    async def read() -> str:
        store = await open_store("sqlite:///node.db", folder, SystemClock())
        try:
            return await store.cluster.memory()
        finally:
            await store.close()

    return asyncio.run(read())


def test_what_waits_is_shown_and_kept_by_a_renewal_that_is_told_to(words: list[str], tmp_path: Path, capsys: Said) -> None:
    before = memory(tmp_path / "data")
    assert run(["outbox", "renew", "--keep", *words]) == 0
    assert "0 messages were dropped" in capsys.readouterr().out
    assert run(["outbox", "show", *words]) == 0
    assert capsys.readouterr().out.split() == ["cloud-1", "3", "waiting"]
    assert memory(tmp_path / "data") != before


def test_a_renewal_drops_what_waits(words: list[str], capsys: Said) -> None:
    assert run(["outbox", "renew", *words]) == 0
    assert "3 messages were dropped" in capsys.readouterr().out
    assert run(["outbox", "show", *words]) == 0
    assert capsys.readouterr().out.split() == ["cloud-1", "0", "waiting"]


def test_a_running_node_keeps_its_outbox_to_itself(words: list[str], tmp_path: Path, capsys: Said) -> None:
    with datadir.own(tmp_path / "data"):
        assert run(["outbox", "renew", *words]) != 0
    assert "another node runs on" in capsys.readouterr().err
