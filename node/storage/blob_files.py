"""Where do blobs lie on disk, and how does a file become one?

`ab/cd/abcd…` is a complete blob, named by the id that was checked first; beside it `abcd….sums` has the digests of its chunks.
`incoming/` holds what is not complete: `ID.part` with `ID.marks`, and `*.put`, which a start removes. Nothing here is named by
words of a stranger, no link is followed, files are 0600 and folders 0700. Everything blocks: it is called from threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from node.errors import Invalid, NotFound, StorageFailed
from node.model.blob import BLOB_MOST, CHUNK_BYTES, DIGEST_BYTES, Layout, Manifest, check_id
from node.storage.files import flush

INCOMING: Final = "incoming"
FREE_LEAST: Final = 64 * 2**20  # stays free of blobs, for the database
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_MAGIC: Final = b"ECMARKS1"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ID_LETTERS: Final = 64


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turns what the system refuses into the project's errors."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{what} is not in this store") from error
    except OSError as error:
        hint = "free some space, or delete blobs" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "check the disk"
        raise StorageFailed(f"{what}: {error.strerror}", hint=hint) from error


@dataclass(frozen=True, slots=True)
class Found:
    """A blob or a part on disk; `changed_at` is wall time."""

    id: str
    size: int
    changed_at: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an aborted fetch left: how the blob is said to be, and which pieces are said to be there."""

    manifest: Manifest
    marks: bytes
    changed_at: float


class BlobFolder:
    """The files of one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / INCOMING

    def blob(self, id: str) -> Path:
        """The file of a complete blob."""
        return self.root / check_id(id)[:2] / id[2:4] / id

    def part(self, id: str) -> Path:
        """The file of a blob that comes in."""
        return self._incoming / f"{check_id(id)}.part"

    def marks(self, id: str) -> Path:
        """What is known of that file."""
        return self._incoming / f"{check_id(id)}.marks"

    def fresh(self) -> tuple[Path, int]:
        """A new file for content whose id is not known yet, and its open descriptor."""
        path = self._incoming / f"{secrets.token_hex(16)}.put"
        return path, os.open(path, _MAKE, _FILE_MODE)

    # at start

    def prepare(self) -> tuple[list[Found], list[Leftover]]:
        """Makes the folder, removes what cannot be gone on with, and tells what is there."""
        with told(str(self.root)):
            self.root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._incoming.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            found = list(self._complete())
            return found, list(self._leftovers({blob.id for blob in found}))

    def _complete(self) -> Iterator[Found]:
        for first in _folders(self.root, 2):
            for second in _folders(first, 2):
                with os.scandir(second) as entries:
                    for entry in entries:
                        named_well = _is_id(entry.name) and entry.name.startswith(first.name + second.name)
                        if named_well and entry.is_file(follow_symlinks=False):
                            status = entry.stat(follow_symlinks=False)
                            yield Found(entry.name, status.st_size, status.st_mtime)

    def _leftovers(self, complete: set[str]) -> Iterator[Leftover]:
        with os.scandir(self._incoming) as entries:
            names = {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}
        for name in sorted(names):
            id, _, kind = name.partition(".")
            if kind == "part" and _is_id(id) and id not in complete and f"{id}.marks" in names:
                leftover = self.leftover(id)
                if leftover is not None:
                    names -= {name, f"{id}.marks"}
                    yield leftover
        for name in names:
            (self._incoming / name).unlink(missing_ok=True)

    def leftover(self, id: str) -> Leftover | None:
        """What an aborted fetch of that blob left, None where it left nothing that can be used."""
        try:
            with open(os.open(self.marks(id), _READ), "rb") as file:  # noqa: PTH123 - no link is followed
                head = file.read(len(_MAGIC) + 8)
                size = int.from_bytes(head[len(_MAGIC) :], "big")
                if len(head) != len(_MAGIC) + 8 or not head.startswith(_MAGIC) or size > BLOB_MOST:
                    return None
                layout = Layout(size)
                digests, marks = file.read(layout.chunks * DIGEST_BYTES), file.read(layout.pieces)
                changed_at = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        try:
            return Leftover(Manifest(id, size, digests), marks, changed_at) if len(marks) == layout.pieces else None
        except Invalid:
            return None

    # a blob that comes in

    def begin(self, manifest: Manifest, marks: bytes) -> tuple[int, int]:
        """The descriptors of the part and of its marks, whose list of digests is now that of `manifest`."""
        with told(f"blob {manifest.id[:12]}"):
            if shutil.disk_usage(self.root).free < manifest.size + FREE_LEAST:
                raise StorageFailed(f"the disk has no room for {manifest.size} bytes more", hint="free some space")
            path = self.marks(manifest.id)
            fresh = path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, _MAKE, _FILE_MODE)
            try:
                write_all(descriptor, _MAGIC + manifest.size.to_bytes(8, "big") + manifest.digests + marks)
                os.fsync(descriptor)
                fresh.rename(path)
                part = os.open(self.part(manifest.id), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
            except BaseException:
                os.close(descriptor)
                raise
            os.ftruncate(part, manifest.size)
            return part, descriptor

    def forget(self, id: str) -> None:
        """Removes what came in of a blob."""
        with told(f"blob {id[:12]}"):
            self.part(id).unlink(missing_ok=True)
            self.marks(id).unlink(missing_ok=True)

    # a complete blob

    def commit(self, path: Path, descriptor: int, manifest: Manifest) -> None:
        """Gives a file whose content is proven its name, durably."""
        target = self.blob(manifest.id)
        with told(f"blob {manifest.id[:12]}"):
            os.fsync(descriptor)
            for folder in (target.parent.parent, target.parent):
                with suppress(FileExistsError):
                    folder.mkdir(mode=_FOLDER_MODE)
                    flush(folder.parent)
            self._write_sums(manifest)
            path.rename(target)
            flush(target.parent)
            self.marks(manifest.id).unlink(missing_ok=True)

    def delete(self, id: str) -> None:
        """Removes a complete blob; whoever has it open reads on."""
        with told(f"blob {id[:12]}"):
            self.blob(id).unlink()
            self._sums(id).unlink(missing_ok=True)

    def open(self, id: str) -> BufferedReader:
        """A complete blob for reading."""
        with told(f"blob {id[:12]}"):
            return open(os.open(self.blob(id), _READ), "rb")  # noqa: PTH123 - no link is followed

    def read(self, id: str, offset: int, length: int) -> bytes:
        """A part of a complete blob; shorter only where the file is."""
        with told(f"blob {id[:12]}"):
            descriptor = os.open(self.blob(id), _READ)
            try:
                return os.pread(descriptor, length, offset)
            finally:
                os.close(descriptor)

    def digests(self, id: str, size: int) -> bytes:
        """The digests of the chunks of a blob: as they were written down, else made anew."""
        length = Layout(size).chunks * DIGEST_BYTES
        try:
            with open(os.open(self._sums(id), _READ), "rb") as file:  # noqa: PTH123 - no link is followed
                content = file.read(length + DIGEST_BYTES)
        except OSError:
            content = b""
        if len(content) == length + DIGEST_BYTES and hashlib.sha256(content[:length]).digest() == content[length:]:
            return content[:length]
        buffer = memoryview(bytearray(CHUNK_BYTES))
        whole, found = hashlib.sha256(), bytearray()
        with self.open(id) as file:
            while count := file.readinto(buffer):
                whole.update(buffer[:count])
                found += whole.digest()
        if whole.hexdigest() != id:
            raise StorageFailed(f"the file of blob {id[:12]} is damaged", hint="delete the blob and put it again")
        manifest = Manifest(id, size, bytes(found))
        with told(f"blob {id[:12]}"):
            self._write_sums(manifest)
        return manifest.digests

    def _sums(self, id: str) -> Path:
        return self.blob(id).with_suffix(".sums")

    def _write_sums(self, manifest: Manifest) -> None:
        # not flushed: sums that a power cut tore do not fit their own digest, and are made anew
        fresh = self._incoming / f"{secrets.token_hex(16)}.put"
        descriptor = os.open(fresh, _MAKE, _FILE_MODE)
        try:
            write_all(descriptor, manifest.digests + hashlib.sha256(manifest.digests).digest())
        finally:
            os.close(descriptor)
        fresh.rename(self._sums(manifest.id))


def marks_offset(manifest: Manifest) -> int:
    """Where in the file of marks the first mark lies."""
    return len(_MAGIC) + 8 + len(manifest.digests)


def write_all(descriptor: int, content: bytes | bytearray | memoryview, offset: int = 0) -> None:
    """Writes all of `content` at `offset`."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def read_into(descriptor: int, buffer: memoryview, offset: int) -> bool:
    """Fills `buffer` from `offset`; False where the file ends before."""
    while buffer and (count := os.preadv(descriptor, [buffer], offset)):
        buffer, offset = buffer[count:], offset + count
    return not buffer


def _is_id(name: str) -> bool:
    return len(name) == _ID_LETTERS and set(name) <= set("0123456789abcdef")


def _folders(path: Path, letters: int) -> Iterator[Path]:
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if len(entry.name) == letters and entry.is_dir(follow_symlinks=False)]
    yield from (path / name for name in names)
