"""How does a finished plot get to its destination without ever being lost?

The source stays until the caller has proven the destination and takes it away itself (`discard`). On the way a copy has the
name `….part`; it is synced, read again and compared before it gets its real name, and never replaces a file. An interrupted
copy goes on where it was last synced. Blocks: for a process of its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import Conflict, CopyDiffers, DestinationFull

CHUNK: Final = 4 * 2**20
SYNC_EVERY: Final = 256 * 2**20  # bytes between two places that an interrupted copy goes on from
FILE_MODE: Final = 0o644
PART: Final = ".part"
PLACE: Final = ".part.at"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Copied:
    """A file at its destination: its size, how many bytes were really written this time, and the SHA-256 in hex.

    On the disk where it was made a file is not copied but gets a second name, and no digest.
    """

    size: int
    sha256: str | None
    written: int


def copy(
    source: Path,
    folder: Path,
    progress: Callable[[float], None] = lambda _: None,
    *,
    linked: bool = True,
    sync_every: int = SYNC_EVERY,
    tamper: Callable[[Path], None] = lambda _: None,
) -> Copied:
    """Brings `source` into `folder` under its own name. Harmless when repeated, also after it was interrupted anywhere.

    With `linked` a file stays on its disk where the destination is that disk too. `progress` hears shares of the whole way;
    `tamper` is called with the written part before it is read again, for tests.

    Raises:
        DestinationFull: no room.
        CopyDiffers: the destination gives back something else; trying again is worth it once or twice.
        Conflict: another file has that name there.
        OSError: source or destination cannot be used.
    """
    target, part, place = folder / source.name, folder / (source.name + PART), folder / (source.name + PLACE)
    size = source.stat().st_size
    if target.exists():
        return _present(source, target, size)
    source.chmod(FILE_MODE)  # a plotter may have been started where others may read nothing, but harvesters read plots
    if linked and source.stat().st_dev == folder.stat().st_dev and _link(source, target):
        return Copied(size, None, 0)
    try:
        digest, written = _write(source, part, place, sync_every, lambda done: progress(done * 0.6))
        tamper(part)
        if _digest(part, lambda done: progress(0.6 + done * 0.4)) != digest:
            part.unlink()
            place.unlink(missing_ok=True)
            raise CopyDiffers(f"{part} is not what was written to it", hint="check the disk or the share of the destination")
        _give_name(part, target)
        place.unlink(missing_ok=True)
        _sync_folder(folder)
    except OSError as error:
        if error.errno in _FULL:
            raise DestinationFull(f"{folder} has no room for {size} bytes", hint="free some, or add a destination") from error
        raise
    return Copied(size, digest, written)


def discard(source: Path) -> None:
    """Takes the source away, once its copy is proven; missing is fine."""
    source.unlink(missing_ok=True)
    _sync_folder(source.parent)


def _present(source: Path, target: Path, size: int) -> Copied:
    """A file that is there already is ours if it is the same to the last byte."""
    if target.samefile(source):
        return Copied(size, None, 0)
    if target.stat().st_size == size and (digest := _digest(target)) == _digest(source):
        return Copied(size, digest, 0)
    raise Conflict(f"{target} is there already and is another file", hint="move it away, then the plot goes on")


def _link(source: Path, target: Path) -> bool:
    """Whether the file has its second name; False where this file system has no such thing."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _FULL:
            raise
        return False
    _sync_folder(target.parent)
    return True


def _write(source: Path, part: Path, place: Path, sync_every: int, progress: Callable[[float], None]) -> tuple[str, int]:
    digest = hashlib.sha256()
    begin = _place(part, place)
    part.touch()
    part.chmod(FILE_MODE)
    with source.open("rb") as reading, part.open("r+b", buffering=0) as writing:
        size = os.fstat(reading.fileno()).st_size
        if size:
            os.posix_fallocate(writing.fileno(), 0, size)  # all of the room now, or a clear error before hours of copying
        done = synced = 0
        buffer = memoryview(bytearray(CHUNK))
        writing.seek(begin)
        while count := reading.readinto(buffer):
            chunk = buffer[:count]
            digest.update(chunk)
            if done + count > begin:
                _write_all(writing.fileno(), chunk[max(0, begin - done) :])
            done += count
            if done - synced >= sync_every and done > begin:
                os.fsync(writing.fileno())
                _note(place, done)
                synced = done
            progress(done / size)
        os.ftruncate(writing.fileno(), done)
        os.fsync(writing.fileno())
    return digest.hexdigest(), max(0, done - begin)


def _write_all(descriptor: int, chunk: memoryview) -> None:
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


def _place(part: Path, place: Path) -> int:
    """How far an interrupted copy was synced; what it wrote is compared as a whole in the end."""
    try:
        at = int(place.read_text())
        return at if 0 <= at <= part.stat().st_size else 0
    except (FileNotFoundError, ValueError):
        return 0


def _note(place: Path, done: int) -> None:
    fresh = place.with_name(place.name + "~")
    fresh.write_text(str(done))
    fresh.replace(place)


def _digest(path: Path, progress: Callable[[float], None] = lambda _: None) -> str:
    """The SHA-256 of what the disk has: the pages that were written just now are dropped first."""
    digest = hashlib.sha256()
    size, done = max(1, path.stat().st_size), 0
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        buffer = memoryview(bytearray(CHUNK))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            progress(done / size)
    return digest.hexdigest()


def _give_name(part: Path, target: Path) -> None:
    """Renames without ever replacing; file systems without hard links are asked whether the name is free."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise Conflict(f"{target} came to be while the plot was copied", hint="move it away, then the plot goes on") from None
    except OSError:
        if target.exists():
            raise Conflict(f"{target} came to be while the plot was copied") from None
        part.rename(target)
    else:
        part.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
