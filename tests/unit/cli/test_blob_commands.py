"""Do files go to a node and come back by the command, and is what is there never sent twice?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blobs import content
from doors import TOKEN

from node.cli import run

DATA = content(2 * 2**20 + 99)
ID = hashlib.sha256(DATA).hexdigest()
Said = pytest.CaptureFixture[str]


@pytest.fixture
def ecnode(door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("token").write_text(TOKEN + "\n")
    Path("file").write_bytes(DATA)
    return lambda *words: run(["--url", door.url, "--token-file", "token", *words])


def test_a_file_is_put_listed_fetched_and_deleted(ecnode: Callable[..., int], capsys: Said) -> None:
    assert ecnode("blobs", "list") == 0
    assert "blobs put" in capsys.readouterr().err
    assert ecnode("blobs", "put", "file") == 0
    assert capsys.readouterr().out == f"{ID}\n"
    assert ecnode("blobs", "list", "-o", "json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["id"], shown["size"], shown["complete"]) == (ID, len(DATA), True)
    assert ecnode("blobs", "list") == 0
    assert "complete" in capsys.readouterr().out
    assert ecnode("blobs", "get", ID[:8], "back") == 0
    assert Path("back").read_bytes() == DATA
    assert not Path("back.part").exists()
    assert ecnode("blobs", "rm", ID[:8]) == 0
    assert ecnode("blobs", "rm", ID[:8]) == 6


def test_what_the_node_has_is_not_sent_again(ecnode: Callable[..., int], capsys: Said) -> None:
    assert ecnode("blobs", "put", "file") == 0
    assert ecnode("blobs", "put", "file") == 0
    said = capsys.readouterr()
    assert said.out == f"{ID}\n{ID}\n"
    assert "has it already" in said.err


def test_a_download_goes_on_where_it_was_broken_off(ecnode: Callable[..., int], capsys: Said) -> None:
    assert ecnode("blobs", "put", "file") == 0
    Path("back.part").write_bytes(DATA[:1_000_000])
    assert ecnode("blobs", "get", ID, "back") == 0
    assert Path("back").read_bytes() == DATA


@pytest.mark.parametrize("left", [b"other bytes", bytes(len(DATA) + 5)])
def test_a_download_that_was_begun_with_other_bytes_is_found_out(ecnode: Callable[..., int], capsys: Said, left: bytes) -> None:
    assert ecnode("blobs", "put", "file") == 0
    Path("back.part").write_bytes(left)
    assert ecnode("blobs", "get", ID, "back") == 2
    assert not Path("back").exists()
    assert ecnode("blobs", "get", ID, "back") == 0


def test_a_blob_goes_to_standard_output(ecnode: Callable[..., int], capfdbinary: Any) -> None:
    Path("small").write_bytes(b"some bytes\0")
    assert ecnode("blobs", "put", "small") == 0
    id = capfdbinary.readouterr().out.decode().strip()
    assert ecnode("blobs", "get", id, "-") == 0
    assert capfdbinary.readouterr().out == b"some bytes\0"


def test_more_than_the_node_takes_is_told(ecnode: Callable[..., int], capsys: Said) -> None:
    Path("large").write_bytes(bytes(4 * 2**20 + 1))
    assert ecnode("blobs", "put", "large") in {2, 4}
    assert capsys.readouterr().err


def test_a_pull_is_repeated_until_its_time_is_over(ecnode: Callable[..., int], capsys: Said) -> None:
    assert ecnode("blobs", "pull", ID, "--from", "edge-1", "--wait", "0.1") == 1
    assert "fetches nothing" in capsys.readouterr().err
    assert ecnode("blobs", "put", "file") == 0
    assert ecnode("blobs", "pull", ID, "--from", "edge-1") == 0
