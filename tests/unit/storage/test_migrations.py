"""The steps lead from any released schema to the tables of this release."""

from __future__ import annotations

import sqlite3

import peewee
import pytest

from node.storage import tables
from node.storage.connection import Reading, Writing, connect
from node.storage.migrations import MIGRATIONS, Migration, migrate, version

# Rows that a database of version n may hold, for the step from n to n + 1. Every step after the first needs an entry.
ROWS_BEFORE: dict[int, tuple[str, ...]] = {
    0: (),
    1: ("INSERT INTO counters VALUES ('boot', 7)",),
    2: ("INSERT INTO counters VALUES ('boot', 7)",),
    3: ("INSERT INTO counters VALUES ('boot', 7)",),
    4: ("INSERT INTO tokens VALUES ('d', 'k-1', '', 'read', 1.0, NULL, NULL)",),
    5: ("INSERT INTO queries VALUES (1, '{}', 'q', '', 'e', 's', '[]', '{}', 'running', '', 0, NULL, '{}', 1.0, NULL)",),
    6: ("INSERT INTO counters VALUES ('boot', 7)",),
    7: ("INSERT INTO counters VALUES ('boot', 7)",),
    8: ("INSERT INTO counters VALUES ('boot', 7)",),
    9: ("INSERT INTO counters VALUES ('boot', 7)",),
    10: ("INSERT INTO counters VALUES ('boot', 7)",),
    11: ("INSERT INTO counters VALUES ('boot', 7)",),
    12: ("INSERT INTO members VALUES ('F', 'edge-1', 'k', '[\"edge\"]', 'admitted', '', '', 1.0, 1.0, NULL, NULL, '[]')",),
    13: ("INSERT INTO counters VALUES ('boot', 7)",),
    14: ("INSERT INTO counters VALUES ('boot', 7)",),
}


@pytest.fixture
def connection() -> Writing:
    return connect(":memory:")


def shape(connection: Reading) -> dict[object, object]:
    """Columns, indexes and references of every table, without the names of the indexes."""
    found = connection.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'schema_version'")
    return {
        table: (
            [row[1:] for row in connection.rows(f'PRAGMA table_info("{table}")')],
            sorted(
                (row[2], [column[2] for column in connection.rows(f'PRAGMA index_info("{row[1]}")')])
                for row in connection.rows(f'PRAGMA index_list("{table}")')
            ),
            [row[2:] for row in connection.rows(f'PRAGMA foreign_key_list("{table}")')],
        )
        for (table,) in found
    }


def test_the_migrated_schema_is_the_one_of_the_models(connection: Writing) -> None:
    migrate(connection, 0.0)
    modelled = peewee.SqliteDatabase(":memory:")
    modelled.connect()
    with modelled.bind_ctx(tables.TABLES):
        modelled.create_tables(tables.TABLES)
    assert shape(connection) == shape(Reading(modelled))
    modelled.close()
    connection.close()


@pytest.mark.parametrize("step", MIGRATIONS, ids=lambda step: step.name)
def test_each_step_works_on_the_version_before_it_with_rows(connection: Writing, step: Migration) -> None:
    migrate(connection, 0.0, MIGRATIONS[: step.version - 1])
    for statement in ROWS_BEFORE[step.version - 1]:
        connection.change(statement)
    migrate(connection, 0.0, MIGRATIONS[: step.version])
    assert version(connection) == step.version
    assert connection.rows("PRAGMA foreign_key_check") == []
    assert connection.row("PRAGMA quick_check") == ("ok",)
    connection.close()


def test_migrating_twice_changes_nothing(connection: Writing) -> None:
    migrate(connection, 1.0)
    before = connection.rows("SELECT * FROM schema_version")
    migrate(connection, 2.0)
    assert connection.rows("SELECT * FROM schema_version") == before
    connection.close()


def test_a_later_step_keeps_the_rows_of_the_earlier(connection: Writing) -> None:
    migrate(connection, 0.0)
    connection.change("INSERT INTO counters VALUES ('boot', 7)")
    later = Migration(len(MIGRATIONS) + 1, "later", ("ALTER TABLE counters ADD COLUMN unit TEXT NOT NULL DEFAULT ''",))
    migrate(connection, 0.0, (*MIGRATIONS, later))
    assert connection.rows("SELECT * FROM counters") == [("boot", 7, "")]
    connection.close()


def test_a_step_that_fails_leaves_nothing_of_itself(connection: Writing) -> None:
    migrate(connection, 0.0)
    broken = Migration(len(MIGRATIONS) + 1, "broken", ("CREATE TABLE half (a)", "CREATE TABLE half (a)"))
    with pytest.raises(sqlite3.OperationalError, match="half"):
        migrate(connection, 0.0, (*MIGRATIONS, broken))
    assert version(connection) == len(MIGRATIONS)
    assert "half" not in shape(connection)
    connection.close()
