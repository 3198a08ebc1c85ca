"""Where do private sessions live, with their tests, their steps and the masks that are used up, and which data sets are
there?
"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "sessions" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "coordinator" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        "epoch" INTEGER NOT NULL,
        "spec" TEXT NOT NULL,
        "parties" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "started_at" REAL,
        "ended_at" REAL
    )
    """,
    'CREATE UNIQUE INDEX "sessions_id" ON "sessions" ("id")',
    'CREATE INDEX "sessions_name" ON "sessions" ("name")',
    'CREATE INDEX "sessions_state_number" ON "sessions" ("state", "number")',
    """
    CREATE TABLE "session_events" (
        "session" INTEGER NOT NULL REFERENCES "sessions" ("number") ON DELETE CASCADE,
        "number" INTEGER NOT NULL,
        "time" REAL NOT NULL,
        "event" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        PRIMARY KEY ("session", "number")
    )
    """,
    """
    CREATE TABLE "session_records" (
        "session" INTEGER NOT NULL REFERENCES "sessions" ("number") ON DELETE CASCADE,
        "step" INTEGER NOT NULL,
        "record" TEXT NOT NULL,
        PRIMARY KEY ("session", "step")
    )
    """,
    """
    CREATE TABLE "session_burns" (
        "session" TEXT NOT NULL,
        "party" TEXT NOT NULL,
        "epoch" INTEGER NOT NULL,
        "step" INTEGER NOT NULL,
        PRIMARY KEY ("session", "party", "epoch")
    )
    """,
    """
    CREATE TABLE "datasets" (
        "name" TEXT NOT NULL PRIMARY KEY,
        "path" TEXT NOT NULL,
        "id" TEXT NOT NULL,
        "label" TEXT NOT NULL,
        "columns" TEXT NOT NULL,
        "rows" INTEGER NOT NULL,
        "digest" TEXT NOT NULL,
        "registered_at" REAL NOT NULL
    )
    """,
)
