"""How does a database of an older release become one of this release?

One numbered module a step, each with `STATEMENTS`; a step that was released is never edited. Every step runs in a transaction
of its own together with its row in `schema_version`, so a crash leaves the database between two steps, never within one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.storage.connection import Writing

_CREATE_VERSIONS: Final = """
    CREATE TABLE IF NOT EXISTS "schema_version" (
        "version" INTEGER NOT NULL PRIMARY KEY, "name" TEXT NOT NULL, "at" REAL NOT NULL
    )
"""
_VERSION: Final = 'SELECT MAX("version") FROM "schema_version"'
_RECORD: Final = 'INSERT INTO "schema_version" ("version", "name", "at") VALUES (:version, :name, :at)'


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: from version − 1 to `version`."""

    version: int
    name: str
    statements: tuple[str, ...]


def _released() -> tuple[Migration, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    steps = tuple(
        Migration(int(name.partition("_")[0]), name, importlib.import_module(f"{__name__}.{name}").STATEMENTS) for name in names
    )
    assert [step.version for step in steps] == list(range(1, len(steps) + 1)), "migrations are numbered without a gap"
    return steps


MIGRATIONS: Final = _released()


def version(connection: Writing) -> int:
    """The step that the database is at; 0 for one without tables."""
    connection.change(_CREATE_VERSIONS)
    return connection.number(_VERSION)


def migrate(connection: Writing, wall: float, steps: Sequence[Migration] = MIGRATIONS) -> None:
    """Takes the steps that the database has not seen, oldest first; `wall` is the time that is noted beside them."""
    present = version(connection)
    for step in steps:
        if step.version > present:
            _take(connection, step, wall)


def _take(connection: Writing, step: Migration, wall: float) -> None:
    connection.change("BEGIN IMMEDIATE")
    try:
        for statement in step.statements:
            connection.change(statement)
        connection.change(_RECORD, version=step.version, name=step.name, at=wall)
    except BaseException:
        connection.change("ROLLBACK")
        raise
    connection.change("COMMIT")
