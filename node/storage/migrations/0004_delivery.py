"""Where do durable messages wait until they are acknowledged, and what is remembered of those that were taken?

`marks` names the memory itself: made with the database, so that a copy of it can be told.
"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "marks" (
        "name" TEXT NOT NULL PRIMARY KEY,
        "value" TEXT NOT NULL
    )
    """,
    'INSERT INTO "marks" ("name", "value") VALUES (\'memory\', lower(hex(randomblob(16))))',
    """
    CREATE TABLE "outbox_streams" (
        "peer" TEXT NOT NULL PRIMARY KEY,
        "reader" TEXT NOT NULL,
        "low" INTEGER NOT NULL,
        "last" INTEGER NOT NULL,
        "bytes" INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE "outbox" (
        "peer" TEXT NOT NULL,
        "sequence" INTEGER NOT NULL,
        "boot" INTEGER NOT NULL,
        "method" TEXT NOT NULL,
        "body" BLOB NOT NULL,
        "attempts" INTEGER NOT NULL,
        PRIMARY KEY ("peer", "sequence")
    )
    """,
    """
    CREATE TABLE "inbox_streams" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "sender" TEXT NOT NULL,
        "stream" TEXT NOT NULL,
        "boot" INTEGER NOT NULL,
        "life" TEXT NOT NULL,
        "turn" INTEGER NOT NULL,
        "low" INTEGER NOT NULL,
        "taken" INTEGER NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "inbox_streams_sender_stream" ON "inbox_streams" ("sender", "stream")',
    """
    CREATE TABLE "inbox" (
        "stream" INTEGER NOT NULL REFERENCES "inbox_streams" ("number") ON DELETE CASCADE,
        "sequence" INTEGER NOT NULL,
        "digest" BLOB NOT NULL,
        "fate" TEXT NOT NULL,
        "reply" BLOB NOT NULL,
        PRIMARY KEY ("stream", "sequence")
    )
    """,
)
