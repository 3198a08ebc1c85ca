"""Which tables did tasks bring?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "tasks" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "request" TEXT NOT NULL,
        "spec" TEXT NOT NULL,
        "id" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "description" TEXT NOT NULL,
        "labels" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL,
        "node" TEXT NOT NULL,
        "origin" TEXT NOT NULL,
        "revision" INTEGER NOT NULL,
        "attempt" INTEGER NOT NULL,
        "version" INTEGER NOT NULL,
        "stopping" INTEGER NOT NULL,
        "level" TEXT,
        "code" INTEGER,
        "signal" INTEGER,
        "limit" TEXT,
        "artifacts" TEXT NOT NULL,
        "cpu_s" REAL NOT NULL,
        "memory_bytes" INTEGER NOT NULL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL,
        "started_at" REAL,
        "ended_at" REAL
    )
    """,
    'CREATE UNIQUE INDEX "tasks_id" ON "tasks" ("id")',
    'CREATE INDEX "tasks_name" ON "tasks" ("name")',
    'CREATE INDEX "tasks_state_number" ON "tasks" ("state", "number")',
    """
    CREATE TABLE "task_events" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "task" INTEGER NOT NULL REFERENCES "tasks" ("number") ON DELETE CASCADE,
        "time" REAL NOT NULL,
        "event" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "revision" INTEGER NOT NULL,
        "attempt" INTEGER NOT NULL,
        "reason" TEXT NOT NULL
    )
    """,
    'CREATE INDEX "task_events_task_number" ON "task_events" ("task", "number")',
)
