"""What does a node remember about itself from one start to the next?"""

from __future__ import annotations

from typing import Final

import peewee

from node.storage.connection import Writing
from node.storage.database import Database
from node.storage.rows import text
from node.storage.tables import CounterRow, MarkRow, compiled, insertion, slot

_BOOT: Final = "boot"
_MEMORY: Final = "memory"
_MARK: Final = compiled(MarkRow.select(MarkRow.value).where(MarkRow.name == slot("name")))
_BEGIN: Final = insertion(CounterRow, ignore=True)
_COUNT: Final = compiled(
    CounterRow.update({CounterRow.value: CounterRow.value + peewee.SQL("1")}).where(CounterRow.name == slot("name"))
)
_READ: Final = compiled(CounterRow.select(CounterRow.value).where(CounterRow.name == slot("name")))


class Cluster:
    """This node's own record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def memory(self) -> str:
        """The id of this memory, made with the database: 32 hexadecimal digits. A copy of the database has the same."""
        return await self._database.read(lambda connection: text(connection.rows(_MARK, name=_MEMORY)[0], 0))

    async def next_boot(self) -> int:
        """The epoch of this start: 1 the first time, one more each time it is asked; on the disk before it is returned."""
        return await self._database.write(lambda connection: count_up(connection, _BOOT))


def count_up(connection: Writing, name: str) -> int:
    """The next number of the counter called `name`, beginning with 1."""
    connection.change(_BEGIN, name=name, value=0)
    connection.change(_COUNT, name=name)
    return connection.number(_READ, name=name)
