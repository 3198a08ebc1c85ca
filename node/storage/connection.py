"""What may an operation do with the database, and what do SQLite's errors mean here?

The only module besides the tables that talks to peewee. A connection belongs to one thread and is never handed out of the
operation that received it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, cast

import peewee

from node.errors import Internal, StorageFailed

Scalar: TypeAlias = str | int | float | bytes | None
Row: TypeAlias = tuple[Scalar, ...]

BUSY_SECONDS: Final = 5  # how long SQLite waits for another process that holds the lock, such as a backup

# Result codes that only a wrong statement of ours can cause; every other one is the disk's, the file's or a lock's.
_OUR_FAULTS: Final = ("SQLITE_ERROR", "SQLITE_CONSTRAINT", "SQLITE_MISUSE", "SQLITE_RANGE", "SQLITE_MISMATCH", "SQLITE_TOOBIG")


# What talking to SQLite may raise: peewee wraps its errors where a statement is peewee's.
FAULTS: Final = (peewee.PeeweeException, sqlite3.Error)


class Reading:
    """A connection as a reading operation sees it. Values are bound by name, never pasted into the statement."""

    def __init__(self, database: peewee.SqliteDatabase) -> None:
        self._database = database
        session = cast("Callable[[], sqlite3.Connection]", database.connection)  # peewee has no types
        self._session = session()

    def rows(self, statement: str, **values: Scalar) -> list[Row]:
        """All rows; the statement bounds how many there can be."""
        return self._run(statement, values).fetchall()

    def row(self, statement: str, **values: Scalar) -> Row | None:
        """The first row, if there is one."""
        found: Row | None = self._run(statement, values).fetchone()
        return found

    def number(self, statement: str, **values: Scalar) -> int:
        """The first column of the first row as an integer; 0 where there is no row or it is NULL."""
        found = self.row(statement, **values)
        return int(found[0] or 0) if found else 0

    def copy_to(self, other: sqlite3.Connection) -> None:
        """Writes the whole database, as it is in one snapshot, over another one."""
        self._session.backup(other)

    def _run(self, statement: str, values: Mapping[str, Scalar] | Sequence[Scalar]) -> sqlite3.Cursor:
        # not through peewee, which takes as long as SQLite does: the text is compiled by it already
        return self._session.execute(statement, values)


class Writing(Reading):
    """A connection inside the open transaction of the writer thread."""

    def change(self, statement: str, **values: Scalar) -> int:
        """Runs an INSERT, UPDATE, DELETE or a definition; gives the number of rows that it touched."""
        return self._run(statement, values).rowcount

    def insert(self, statement: str, values: Sequence[Scalar]) -> int:
        """Runs an INSERT whose places are filled in order; gives the number of rows that it added."""
        return self._run(statement, values).rowcount

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite ends one by itself after some faults."""
        return self._session.in_transaction

    def close(self) -> None:
        """Ends the connection; for its owner only."""
        self._database.close()


def translated(error: Exception, place: str) -> Exception:
    """The error of this project that stands for one of SQLite's; any other error as it is.

    peewee keeps in `orig` what it wraps; what our own statements raise comes unwrapped.
    """
    original = getattr(error, "orig", error)
    code = getattr(original, "sqlite_errorname", None)
    if code is None and not isinstance(error, peewee.PeeweeException):
        return error
    if code is None or code.startswith(_OUR_FAULTS):
        fault: Exception = Internal(f"a statement failed in {place}: {original}")
    else:
        fault = StorageFailed(f"{place} refused the operation: {original} ({code})", hint=_hint(code, place))
    fault.__cause__ = error
    return fault


def _hint(code: str, place: str) -> str:
    if code == "SQLITE_FULL":
        return f"free space on the disk that holds {place}; the node goes on by itself"
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return recovery(place)
    if code.startswith("SQLITE_BUSY"):
        return f"another process holds {place}: end it, one node owns its data directory"
    return f"check the disk that holds {place} and the permissions of its folder"


def recovery(place: str) -> str:
    """What to do with a database that cannot be read."""
    return (
        "nothing was changed: put a backup back with `ecnode db restore FILE`, or save what is readable with"
        f" `sqlite3 '{place}' .recover | sqlite3 '{place}.recovered'` and put that in its place;"
        " moving the file away starts with an empty memory"
    )


def connect(place: str, *, uri: bool = False, **pragmas: Scalar) -> Writing:
    """An open connection for the calling thread, with foreign keys enforced and every commit flushed to the disk."""
    settings = {"foreign_keys": 1, "synchronous": "FULL", **pragmas}
    database = peewee.SqliteDatabase(place, pragmas=settings, timeout=BUSY_SECONDS, uri=uri)
    database.connect()
    return Writing(database)
