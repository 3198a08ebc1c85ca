"""Which tables did the first release have?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "queries" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "request" TEXT NOT NULL,
        "id" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "node" TEXT NOT NULL,
        "source" TEXT NOT NULL,
        "pipeline" TEXT NOT NULL,
        "constraint" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        "attempt" INTEGER NOT NULL,
        "plan" TEXT,
        "tally" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "ended_at" REAL
    )
    """,
    'CREATE UNIQUE INDEX "queries_id" ON "queries" ("id")',
    'CREATE INDEX "queries_name" ON "queries" ("name")',
    'CREATE INDEX "queries_state_number" ON "queries" ("state", "number")',
    """
    CREATE TABLE "attempts" (
        "query" INTEGER NOT NULL REFERENCES "queries" ("number") ON DELETE CASCADE,
        "attempt" INTEGER NOT NULL,
        "tally" TEXT NOT NULL,
        "forgotten" INTEGER NOT NULL,
        PRIMARY KEY ("query", "attempt")
    )
    """,
    """
    CREATE TABLE "results" (
        "query" INTEGER NOT NULL REFERENCES "queries" ("number") ON DELETE CASCADE,
        "cursor" INTEGER NOT NULL,
        "attempt" INTEGER NOT NULL,
        "n_loop" INTEGER NOT NULL,
        "result" TEXT NOT NULL,
        PRIMARY KEY ("query", "cursor")
    )
    """,
    'CREATE UNIQUE INDEX "results_query_attempt_n_loop" ON "results" ("query", "attempt", "n_loop")',
    """
    CREATE TABLE "plans" (
        "query" INTEGER NOT NULL REFERENCES "queries" ("number") ON DELETE CASCADE,
        "number" INTEGER NOT NULL,
        "time" REAL NOT NULL,
        "plan" TEXT NOT NULL,
        PRIMARY KEY ("query", "number")
    )
    """,
    """
    CREATE TABLE "events" (
        "query" INTEGER NOT NULL REFERENCES "queries" ("number") ON DELETE CASCADE,
        "number" INTEGER NOT NULL,
        "time" REAL NOT NULL,
        "event" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        PRIMARY KEY ("query", "number")
    )
    """,
    """
    CREATE TABLE "counters" (
        "name" TEXT NOT NULL PRIMARY KEY,
        "value" INTEGER NOT NULL
    )
    """,
)
