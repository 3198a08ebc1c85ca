"""Which of our records does an id in one of the originals' shapes stand for?

A record has one alias at the most, given out the first time somebody asks for it, counted up and never used again.
"""

from __future__ import annotations

from typing import Final

from node.storage.cluster import count_up
from node.storage.connection import Reading, Writing
from node.storage.database import Database
from node.storage.rows import text
from node.storage.tables import AliasRow, compiled, insertion, slot

_ADD: Final = insertion(AliasRow)
_ALIAS: Final = compiled(AliasRow.select(AliasRow.original).where(AliasRow.native == slot("native")))
_NATIVE: Final = compiled(AliasRow.select(AliasRow.native).where(AliasRow.original == slot("alias")))


class Aliases:
    """The aliases of a node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def give(self, native: str, shape: str) -> str:
        """The alias of a record: the one that it has, else `shape` and the next number, such as `GLOBAL_ID_7`."""
        known = await self._database.read(lambda connection: _known(connection, native))
        if known is not None:
            return known
        return await self._database.write(lambda connection: _give(connection, native, shape))

    async def native(self, alias: str) -> str | None:
        """The id of the record that an alias stands for, if it was given out here."""
        return await self._database.read(lambda connection: _native(connection, alias))


def _known(connection: Reading, native: str) -> str | None:
    row = connection.row(_ALIAS, native=native)
    return None if row is None else text(row, 0)


def _native(connection: Reading, alias: str) -> str | None:
    row = connection.row(_NATIVE, alias=alias)
    return None if row is None else text(row, 0)


def _give(connection: Writing, native: str, shape: str) -> str:
    if (known := _known(connection, native)) is not None:
        return known
    alias = f"{shape}{count_up(connection, f'alias {shape}')}"
    connection.change(_ADD, original=alias, native=native)
    return alias
