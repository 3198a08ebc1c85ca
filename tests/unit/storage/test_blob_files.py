"""What does the folder of blobs make of files that a crash, a bad disk or a stranger left there?"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blobs import CLOCK, content, digests_of, id_of, parts

from node.errors import StorageFailed
from node.model.blob import CHUNK_BYTES, PIECE_BYTES, Manifest
from node.storage.blobs import FolderBlobs

DATA = content(2 * CHUNK_BYTES + 5)
ID = id_of(DATA)
MANIFEST = Manifest(ID, len(DATA), digests_of(DATA))
ROOT = Path(__file__).parents[3]


class Places:
    """Stores on one folder, one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: FolderBlobs | None = None

    async def open(self) -> FolderBlobs:
        await self.close()
        self._open = FolderBlobs(self.root, CLOCK, 2**30)
        await self._open.start()
        return self._open

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[Places]:
    found = Places(tmp_path / "blobs")
    yield found
    await found.close()


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


async def begun(places: Places, pieces: int) -> None:
    """An aborted fetch of which that many pieces came in."""
    part = await (await places.open()).receive(MANIFEST)
    await part.write(range(pieces), DATA[: pieces * PIECE_BYTES])
    await places.close()


async def test_a_blob_is_a_plain_file_under_its_id_that_only_its_owner_reads(places: Places) -> None:
    await (await places.open()).put(parts(DATA))
    place = places.root / ID[:2] / ID[2:4] / ID
    assert place.read_bytes() == DATA
    assert files(places.root) == {str(path.relative_to(places.root)) for path in (place, place.with_suffix(".sums"))}
    for path in places.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


async def test_a_start_removes_what_an_import_left_and_what_nobody_can_go_on_with(places: Places) -> None:
    await places.open()
    incoming = places.root / "incoming"
    for name in ("0123.put", f"{ID}.part", f"{'0' * 64}.marks", f"{'1' * 64}.new", "readme", f"{'2' * 64}.part"):
        (incoming / name).write_bytes(b"torn")
    (incoming / f"{'2' * 64}.marks").write_bytes(b"ECMARKS1" + (2**50).to_bytes(8, "big"))
    store = await places.open()
    assert await store.list() == ()
    assert store.held == 0
    assert files(places.root) == set()


async def test_a_blob_that_was_completed_leaves_no_part_behind(places: Places) -> None:
    await begun(places, 3)
    store = await places.open()
    await store.put(parts(DATA))
    assert store.held == len(DATA)
    assert (await (await places.open()).stat(ID)).complete
    assert {Path(name).suffix for name in files(places.root)} == {"", ".sums"}


@pytest.mark.parametrize("damage", ["a bit", "shorter", "gone", "a link"])
async def test_marks_are_claims_that_the_bytes_have_to_prove(places: Places, damage: str, tmp_path: Path) -> None:
    await begun(places, 8)
    part = places.root / "incoming" / f"{ID}.part"
    if damage == "a bit":
        with part.open("r+b") as file:
            file.seek(CHUNK_BYTES + 7)
            file.write(b"\xff\xff\xff")
    elif damage == "shorter":
        os.truncate(part, CHUNK_BYTES + 7)
    else:
        part.unlink()
    if damage == "a link":
        (tmp_path / "elsewhere").write_bytes(DATA)
        part.symlink_to(tmp_path / "elsewhere")
    store = await places.open()
    if damage == "a link":
        with pytest.raises(StorageFailed):
            await store.receive(MANIFEST)
        assert (tmp_path / "elsewhere").read_bytes() == DATA
        return
    again = await store.receive(MANIFEST)
    found = [await again.check(chunk) for chunk in range(2) if again.marks.has(chunk)]
    assert found == ([] if damage == "gone" else [True, False])
    await again.write(range(9), DATA)
    assert all([await again.check(chunk) for chunk in range(3)])
    await again.finish()


async def test_a_link_in_the_folder_is_neither_listed_nor_followed(places: Places, tmp_path: Path) -> None:
    await places.open()
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    place = places.root / ID[:2] / ID[2:4] / ID
    place.parent.mkdir(parents=True)
    place.symlink_to(secret)
    assert await (await places.open()).list() == ()


@pytest.mark.parametrize("damage", [b"", b"torn", bytes(4 * 32)])
async def test_digests_that_a_power_cut_tore_are_made_anew(places: Places, damage: bytes) -> None:
    await (await places.open()).put(parts(DATA))
    sums = places.root / ID[:2] / ID[2:4] / f"{ID}.sums"
    sums.write_bytes(damage)
    store = await places.open()
    assert (await store.manifest(ID)).digests == digests_of(DATA)
    assert sums.read_bytes()[:-32] == digests_of(DATA)


async def test_a_blob_whose_file_was_cut_is_not_served_as_whole(places: Places) -> None:
    store = await places.open()
    await store.put(parts(DATA))
    os.truncate(places.root / ID[:2] / ID[2:4] / ID, CHUNK_BYTES)
    with pytest.raises(StorageFailed, match="shorter"):
        await store.read(ID, CHUNK_BYTES, 10)


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file")
    store = FolderBlobs(tmp_path / "blobs", CLOCK)
    with pytest.raises(StorageFailed, match="blobs"):
        await store.start()
    await store.close()


CHILD = """
import asyncio, sys
from pathlib import Path
from blobs import CLOCK, content, digests_of, id_of
from node.model.blob import PIECE_BYTES, Manifest
from node.storage.blobs import FolderBlobs

async def main():
    data = content(64 * 2**20)
    store = FolderBlobs(Path(sys.argv[1]), CLOCK)
    await store.start()
    part = await store.receive(Manifest(id_of(data), len(data), digests_of(data)))
    for piece in range(part.manifest.layout.pieces):
        await part.write(range(piece, piece + 1), data[piece * PIECE_BYTES : (piece + 1) * PIECE_BYTES])
        print(piece, flush=True)

asyncio.run(main())
"""


def written_until_killed(root: Path) -> list[int]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    command = [sys.executable, "-c", CHILD, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as child:
        assert child.stdout is not None
        written = []
        for line in child.stdout:
            if line.endswith("\n"):
                written.append(int(line))
            if len(written) == 50:
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    return written


async def test_every_piece_that_was_written_survives_a_kill(places: Places) -> None:
    written = written_until_killed(places.root)
    store = await places.open()
    (info,) = await store.list()
    manifest = await store.begun(info.id)
    assert manifest is not None
    part = await store.receive(manifest)
    assert all(piece in part.marks for piece in written)
    assert all([await part.check(chunk) for chunk in range(16) if part.marks.has(chunk)])
    await part.close()
