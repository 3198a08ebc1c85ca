"""How are records of one kind added, found, changed and dropped, where their fields are their columns?

For tables with a column `number` that counts in the order of adding, and one `id`.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import peewee
from peewee import fn

from node.errors import NotFound
from node.model.value import Value
from node.storage.connection import Reading, Writing
from node.storage.rows import decode, encode, text
from node.storage.tables import column, compiled, derived, insertion, slot

V = TypeVar("V", bound=Value)

PAGE: Final = 1000


class Shelf(Generic[V]):
    """The statements for one kind of record; `what` is its name in a sentence, `by` are columns that it is found by."""

    def __init__(self, table: type[peewee.Model], kind: type[V], what: str, *by: str) -> None:
        self.kind, self.what = kind, what
        number, id = table._meta.fields["number"], column(table, "id")
        fields = derived(table, kind)
        self._one = compiled(table.select(*fields).where(id == slot("id")))
        self._place = compiled(table.select(number).where(id == slot("id")))
        self._add = insertion(table, leave_out="number")
        changed = {field: slot(field.column_name) for field in fields if field.column_name != "id"}
        self._save = compiled(table.update(changed).where(id == slot("id")))
        self._drop = compiled(table.delete().where(id == slot("id")))
        self._count = compiled(table.select(fn.COUNT(number)))
        self._page = compiled(table.select(*fields).where(number > slot("after")).order_by(number).limit(slot("limit")))
        self._by = {
            name: compiled(
                table.select(*fields).where(column(table, name) == slot("value")).order_by(number).limit(slot("limit"))
            )
            for name in by
        }

    def get(self, connection: Reading, id: str) -> V:
        """The record; NotFound if there is none."""
        row = connection.row(self._one, id=id)
        if row is None:
            raise NotFound(f"there is no {self.what} {id:.100}")
        return decode(self.kind, row)

    def find(self, connection: Reading, name: str, value: str) -> tuple[V, ...]:
        """Those whose column `name` has the value, the oldest first, at most `PAGE`."""
        return tuple(decode(self.kind, row) for row in connection.rows(self._by[name], value=value, limit=PAGE))

    def page(self, connection: Reading, limit: int, after: str | None = None) -> tuple[V, ...]:
        """The oldest first, behind the record with the id `after`."""
        place = connection.number(self._place, id=after) if after else 0
        return tuple(decode(self.kind, row) for row in connection.rows(self._page, after=place, limit=min(limit, PAGE)))

    def count(self, connection: Reading) -> int:
        """How many there are."""
        return connection.number(self._count)

    def add(self, connection: Writing, value: V) -> V:
        """Puts a new one behind the others."""
        connection.change(self._add, **encode(value))
        return value

    def save(self, connection: Writing, value: V) -> V:
        """Writes a record that is there over."""
        connection.change(self._save, **encode(value))
        return value

    def drop(self, connection: Writing, id: str) -> None:
        """Takes it away; one that is not there is no error."""
        connection.change(self._drop, id=id)


def texts(connection: Reading, statement: str, **values: str) -> list[str]:
    """The first column of every row."""
    return [text(row, 0) for row in connection.rows(statement, **values)]
