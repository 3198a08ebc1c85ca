from __future__ import annotations

from pathlib import Path

import pytest

from node.roles.shared.runner import etc


def test_the_copy_is_made_once_and_holds_no_key(tmp_path: Path) -> None:
    first = etc.keep(tmp_path)
    assert (first / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    assert not list(first.rglob("private"))
    assert etc.keep(tmp_path) == first
    assert [each.name for each in tmp_path.iterdir()] == [first.name]


def test_what_has_changed_is_another_folder_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "hosts"
    monkeypatch.setattr(etc, "ETC", (str(source),))
    monkeypatch.setattr(etc, "WHERE", tmp_path)
    kept = []
    for number in range(etc.KEPT + 2):
        source.write_text(f"127.0.0.{number} one\n")
        kept.append(etc.keep(tmp_path / "copies"))
    assert len(set(kept)) == len(kept)
    assert kept[-1].is_dir()
    assert len(list((tmp_path / "copies").iterdir())) == etc.KEPT
