"""Which files has the owner of this node registered for sessions, and what did they hold then?"""

from __future__ import annotations

from typing import Final

from peewee import fn

from node.errors import Busy, NotFound
from node.model.federated import Dataset
from node.storage.connection import Reading, Writing
from node.storage.database import Database
from node.storage.rows import decode, encode
from node.storage.tables import DatasetRow, column, compiled, derived, insertion, slot

DATASETS_MOST: Final = 1000

_name: Final = column(DatasetRow, "name")
_FIELDS: Final = derived(DatasetRow, Dataset)
_ONE: Final = compiled(DatasetRow.select(*_FIELDS).where(_name == slot("name")))
_ALL: Final = compiled(DatasetRow.select(*_FIELDS).order_by(_name).limit(slot("limit")))
_COUNT: Final = compiled(DatasetRow.select(fn.COUNT(_name)))
_ADD: Final = insertion(DatasetRow)
_DROP: Final = compiled(DatasetRow.delete().where(_name == slot("name")))


class Datasets:
    """The data sets of a node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, dataset: Dataset) -> Dataset:
        """Registers it, in the place of one that has its name.

        Raises:
            Busy: there are too many.
        """

        def apply(connection: Writing) -> Dataset:
            connection.change(_DROP, name=dataset.name)
            if connection.number(_COUNT) >= DATASETS_MOST:
                raise Busy(f"{DATASETS_MOST} data sets are registered already")
            connection.change(_ADD, **encode(dataset))
            return dataset

        return await self._database.write(apply)

    async def get(self, name: str) -> Dataset:
        """The data set of that name; NotFound if there is none."""

        def find(connection: Reading) -> Dataset:
            row = connection.row(_ONE, name=name)
            if row is None:
                raise NotFound(
                    f"there is no data set '{name}' at this node", hint="register it there: ecnode data register NAME FILE"
                )
            return decode(Dataset, row)

        return await self._database.read(find)

    async def all(self) -> tuple[Dataset, ...]:
        """All of them, by name."""
        return await self._database.read(
            lambda connection: tuple(decode(Dataset, row) for row in connection.rows(_ALL, limit=DATASETS_MOST))
        )
