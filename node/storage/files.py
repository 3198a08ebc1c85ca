"""Where is the database, may it be opened, and how is a new one made?

A database that exists is looked at read-only first: one that is damaged, foreign or newer than this release is refused
before a byte of it changes, and nothing ever puts an empty one in its place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from node.errors import ConfigInvalid, NotBuilt, Problem, StorageFailed
from node.storage.connection import FAULTS, connect, recovery, translated
from node.storage.migrations import MIGRATIONS

MEMORY: Final = ":memory:"
_SCHEME: Final = "sqlite:///"
_PLANNED: Final = frozenset({"postgres", "postgresql", "mysql", "mariadb"})
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
SIDE_FILES: Final = ("-wal", "-shm", "-journal")  # SQLite gives them the mode of the database itself


def location(url: str, data_dir: Path) -> Path | None:
    """The file that `url` names, None for the memory store; a relative path is one below `data_dir`.

    Raises:
        NotBuilt: the scheme of a database server.
        ConfigInvalid: any other scheme, or a relative path that leaves `data_dir`.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme in _PLANNED:
        raise NotBuilt(
            f"{scheme} is not built into this release",
            hint="set storage.database to sqlite:///node.db: one SQLite file holds what a node remembers",
        )
    name = url.removeprefix(_SCHEME)
    if name == url or not name or "?" in name:
        raise _bad(f"'{url}' is neither sqlite:///FILE nor sqlite:///{MEMORY}")
    if name == MEMORY:
        return None
    path = (data_dir / name).resolve()
    if not Path(name).is_absolute() and not path.is_relative_to(data_dir.resolve()):
        raise _bad(f"'{url}' leads out of the data directory")
    return path


def _bad(message: str) -> ConfigInvalid:
    return ConfigInvalid("the database cannot be used", problems=[Problem("storage.database", message)])


def prepare(path: Path) -> int:
    """The schema version of the database that is there and fit to be opened; 0 when it has yet to be made. Blocks.

    Raises:
        StorageFailed: it is damaged, foreign or newer than this release; nothing was changed.
    """
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        exists = path.exists()
        orphan = not exists and path.with_name(f"{path.name}-wal").exists()
        if exists and path.stat().st_size == 0:
            raise StorageFailed(f"{path} is empty, it has lost what it held", hint=recovery(str(path)))
    except OSError as error:
        raise StorageFailed(f"{path} cannot be used: {error.strerror}", hint="check its folder and permissions") from error
    if orphan:
        raise StorageFailed(
            f"{path} is missing while its log {path.name}-wal is there",
            hint=f"put the database back beside its log, or move {path.name}-wal away to start with an empty memory",
        )
    if not exists:
        return 0
    version = inspect(path)
    path.chmod(_FILE_MODE)
    return version


def inspect(path: Path) -> int:
    """The schema version of the database at `path`, all of which is read. Blocks.

    Raises:
        StorageFailed: it is damaged, foreign or newer than this release.
    """
    place = str(path)
    try:
        reading = connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, query_only=1)
        try:
            verdict = reading.row("PRAGMA quick_check(1)")
            tables = {row[0] for row in reading.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
            version = reading.number("SELECT MAX(version) FROM schema_version") if "schema_version" in tables else 0
        finally:
            reading.close()
    except FAULTS as error:
        raise translated(error, place) from error
    if verdict != ("ok",):
        raise StorageFailed(f"{place} is damaged: {str(verdict[0]) if verdict else 'it cannot be read'}", hint=recovery(place))
    if version == 0:
        raise StorageFailed(
            f"{place} is not a database of ecnode", hint="name another file in storage.database, or move this one away"
        )
    if version > len(MIGRATIONS):
        raise StorageFailed(
            f"{place} has schema version {version}, this release knows {len(MIGRATIONS)}",
            hint="start the newer release again, or put back the copy that was made before the upgrade:"
            f" ecnode db restore {path}.version-N",
        )
    return version


def fresh_path(path: Path) -> Path:
    """An empty file beside `path`, readable by its owner only, in which a new database can be made. Blocks.

    It takes its name only when it is complete (`put_in_place`): a crash before that leaves no half-made database that the next
    start would have to take for a damaged one.
    """
    fresh = path.with_name(f"{path.name}.new")
    for leftover in (fresh, *(fresh.with_name(fresh.name + suffix) for suffix in SIDE_FILES)):
        leftover.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE))
    return fresh


def put_in_place(fresh: Path, path: Path) -> None:
    """Gives a complete, closed database its name, durably. Blocks."""
    flush(fresh)
    fresh.rename(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Returns once what `path` holds, a file or the entries of a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
