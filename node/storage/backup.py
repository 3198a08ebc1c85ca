"""How is a database copied while a node writes it, and how is a copy put back?

A copy is one read transaction, which in WAL mode keeps no writer waiting; it takes its name only when it is whole, sound and on
the disk. What a restored copy replaces is kept beside it.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import Conflict, NotFound, StorageFailed
from node.storage import files
from node.storage.connection import FAULTS, connect, translated
from node.storage.migrations import MIGRATIONS

RELEASE: Final = len(MIGRATIONS)  # the schema version of this release
SPARE_BYTES: Final = 16 * 2**20  # that a disk keeps free beside a copy


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of a database file: bytes of it and of its log, the schema version it is at, and what is wrong with it."""

    path: Path
    size: int
    log_size: int
    version: int
    fault: str = ""


def look(path: Path) -> Condition:
    """The condition of the database at `path`; reads all of it. Blocks.

    Raises:
        NotFound: there is none.
    """
    _check_there(path)
    try:
        version, fault = files.inspect(path), ""
    except StorageFailed as error:
        version, fault = 0, f"{error.message}: {error.hint}" if error.hint else error.message
    return Condition(path, path.stat().st_size, _log_size(path), version, fault)


def copy(path: Path, target: Path) -> Condition:
    """Copies the database at `path`, which may be in use, to the new file `target`. Blocks.

    Raises:
        NotFound: there is no database.
        Conflict: there is something at `target` already.
        StorageFailed: the database is damaged, or a disk refuses; then there is no `target`.
    """
    _check_there(path)
    if target.exists():
        raise Conflict(f"{target} is there already", hint="name a file that is not: a copy never replaces another one")
    try:
        fresh = files.fresh_path(target)
        try:
            _check_room(path, target.parent)
            _pour(path, fresh)
            files.inspect(fresh)
            files.flush(fresh)
            os.link(fresh, target)  # unlike a rename it replaces nothing
            files.flush(target.parent)
        finally:
            fresh.unlink(missing_ok=True)
    except FileExistsError as error:
        raise Conflict(f"{target} was made by somebody else meanwhile", hint="name another file") from error
    except OSError as error:
        raise StorageFailed(f"{target} cannot be written: {error.strerror}", hint="check its folder and its disk") from error
    return look(target)


def restore(source: Path, path: Path, stamp: str) -> Path | None:
    """Puts a copy in the place of the database at `path`, which nobody has open; gives where the replaced one is now. Blocks.

    `stamp` makes the name of the replaced one. A crash in between leaves the old database or the new one, whole.

    Raises:
        NotFound: there is no `source`.
        StorageFailed: the copy is damaged, foreign or of a newer release, or the disk refuses; then nothing was changed.
    """
    if not source.exists():
        raise NotFound(f"there is no copy at {source}", hint="ecnode db backup FILE makes one")
    files.inspect(source)
    try:
        fresh = files.fresh_path(path)
        _check_room(source, path.parent)
        _pour(source, fresh)
        files.inspect(fresh)
        kept = _set_aside(path, stamp) if path.exists() else None
        files.put_in_place(fresh, path)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror}", hint="check its folder and its disk") from error
    return kept


def keep_before_upgrade(path: Path, version: int) -> None:
    """Copies a database of the schema `version`, before it is brought up to this release's. Blocks.

    Raises:
        StorageFailed: it cannot be kept; without a copy no upgrade can be undone.
    """
    target = path.with_name(f"{path.name}.version-{version}")
    if not target.exists():
        copy(path, target)


def _pour(source: Path, target: Path) -> None:
    """One database into an empty file, as one file without a log."""
    try:
        reading = connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, query_only=1)
        try:
            with sqlite3.connect(target, isolation_level=None) as writing:
                reading.copy_to(writing)
                writing.execute("PRAGMA journal_mode = DELETE")
            writing.close()
        finally:
            reading.close()
    except FAULTS as error:
        raise translated(error, str(source)) from error


def _set_aside(path: Path, stamp: str) -> Path:
    """Gives the database a second name and takes its log away, so that the new one finds none."""
    kept = path.with_name(f"{path.name}.before-restore-{stamp}")
    sides = [path.with_name(path.name + suffix) for suffix in files.SIDE_FILES]
    try:
        present = connect(str(path))
        present.row("PRAGMA wal_checkpoint(TRUNCATE)")
        present.close()
    except FAULTS:  # it is damaged: its log is kept beside it, for whoever wants to save what is readable
        for side in filter(Path.exists, sides):
            side.rename(kept.with_name(kept.name + side.name.removeprefix(path.name)))
    os.link(path, kept)
    for side in sides:
        side.unlink(missing_ok=True)
    return kept


def _check_there(path: Path) -> None:
    if not path.exists():
        raise NotFound(f"there is no database at {path}", hint="a node makes it when it is started for the first time")


def _log_size(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return log.stat().st_size if log.exists() else 0


def _check_room(source: Path, folder: Path) -> None:
    needed = source.stat().st_size + _log_size(source) + SPARE_BYTES
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise StorageFailed(
            f"{folder} has {free >> 20} MiB free, a copy needs up to {needed >> 20} MiB",
            hint="free space, or name another disk",
        )
