"""Which blob did a client of the original task system upload under which name?

A name is the client's own; the same name again stands for the newer content, as a file of that name would.
"""

from __future__ import annotations

from typing import Final

from node.errors import Busy
from node.storage.connection import Writing
from node.storage.database import Database
from node.storage.rows import text
from node.storage.tables import MarkRow, compiled, slot

NAMES_MOST: Final = 10_000  # × about 400 bytes: 4 MB of the database
_PREFIX: Final = "upload "
_BLOB: Final = compiled(MarkRow.select(MarkRow.value).where(MarkRow.name == slot("name")))
_COUNT: Final = 'SELECT COUNT(*) FROM "marks" WHERE "name" >= :first AND "name" < :beyond'
_KEEP: Final = (
    'INSERT INTO "marks" ("name", "value") VALUES (:name, :blob) ON CONFLICT ("name") DO UPDATE SET "value" = excluded."value"'
)


class Uploads:
    """The names of a node's uploads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, name: str, blob: str) -> None:
        """Has the name stand for the blob from now on.

        Raises:
            Busy: there are too many names.
        """
        await self._database.write(lambda connection: _keep(connection, name, blob))

    async def blob(self, name: str) -> str | None:
        """What a name stands for, if it was given here."""
        row = await self._database.read(lambda connection: connection.row(_BLOB, name=_PREFIX + name))
        return None if row is None else text(row, 0)


def _keep(connection: Writing, name: str, blob: str) -> None:
    known = connection.row(_BLOB, name=_PREFIX + name) is not None
    if not known and connection.number(_COUNT, first=_PREFIX, beyond=f"{_PREFIX}\U0010ffff") >= NAMES_MOST:
        raise Busy(f"{NAMES_MOST} names were uploaded already", hint="upload under a name that was used before")
    connection.change(_KEEP, name=_PREFIX + name, blob=blob)
