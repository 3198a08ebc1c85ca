"""A copy is never lost, never replaces anything and is what was copied."""

import errno
import os
from pathlib import Path

import pytest

from node.errors import Conflict, CopyDiffers, DestinationFull
from node.pipeline.plot import copying
from node.pipeline.plot.copying import copy, discard

MIB = 2**20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "plot-k18-x.plot"
    path.parent.mkdir()
    (tmp_path / "b").mkdir()
    path.write_bytes(os.urandom(9 * MIB + 5))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_is_the_same_and_the_source_stays_until_it_is_discarded(source: Path) -> None:
    target = source.parents[1] / "b"
    heard: list[float] = []
    copied = copy(source, target, heard.append, linked=False)
    assert copied.sha256
    assert copied.written == copied.size == 9 * MIB + 5
    assert (target / source.name).read_bytes() == source.read_bytes()
    assert names(target) == [source.name]
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert copy(source, target).written == 0, "again is harmless"
    discard(source)
    discard(source)
    assert names(source.parent) == []


def test_on_one_disk_a_file_is_not_copied(source: Path) -> None:
    target = source.parents[1] / "b"
    assert copy(source, target).sha256 is None
    assert (target / source.name).samefile(source)
    discard(source)
    assert (target / source.name).stat().st_size == 9 * MIB + 5


def test_a_flipped_byte_in_the_copy_is_found_and_the_source_is_untouched(source: Path) -> None:
    target, before = source.parents[1] / "b", source.read_bytes()

    def flip(part: Path) -> None:
        with part.open("r+b") as file:
            file.seek(5 * MIB)
            byte = file.read(1)
            file.seek(5 * MIB)
            file.write(bytes([byte[0] ^ 1]))

    with pytest.raises(CopyDiffers):
        copy(source, target, linked=False, tamper=flip)
    assert names(target) == []
    assert source.read_bytes() == before
    assert copy(source, target, linked=False).size == len(before)


def test_another_file_of_that_name_is_never_replaced(source: Path) -> None:
    target = source.parents[1] / "b"
    (target / source.name).write_bytes(b"somebody's plot")
    with pytest.raises(Conflict):
        copy(source, target)
    assert (target / source.name).read_bytes() == b"somebody's plot"

    (target / source.name).unlink()
    with pytest.raises(Conflict):
        copy(source, target, linked=False, tamper=lambda _: (target / source.name).touch())
    assert (target / source.name).read_bytes() == b""
    assert source.exists()


def test_an_interrupted_copy_goes_on_where_it_was_synced(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = source.parents[1] / "b"
    monkeypatch.setattr(copying, "CHUNK", MIB)

    def interrupt(done: float) -> None:
        if done > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(source, target, interrupt, linked=False, sync_every=2 * MIB)
    assert names(target) == [f"{source.name}.part", f"{source.name}.part.at"]
    again = copy(source, target, linked=False, sync_every=2 * MIB)
    assert again.written <= 4 * MIB
    assert (target / source.name).read_bytes() == source.read_bytes()
    assert names(target) == [source.name]


def test_a_full_destination_is_said_and_keeps_the_source(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DestinationFull, match="no room"):
        copy(source, source.parents[1] / "b", linked=False)
    assert source.exists()
