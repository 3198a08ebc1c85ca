"""Where do the members of the system live, what happened to them, and the tokens that let them in?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "members" (
        "fingerprint" TEXT NOT NULL PRIMARY KEY,
        "name" TEXT NOT NULL,
        "key" TEXT NOT NULL,
        "roles" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "token" TEXT NOT NULL,
        "address" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "changed_at" REAL NOT NULL,
        "expires_at" REAL,
        "drained_at" REAL,
        "next_keys" TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE "member_events" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "time" REAL NOT NULL,
        "fingerprint" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "event" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE "join_tokens" (
        "key" TEXT NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "label" TEXT NOT NULL,
        "roles" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "expires_at" REAL NOT NULL,
        "used_by" TEXT NOT NULL,
        "used_at" REAL
    )
    """,
    'CREATE UNIQUE INDEX "join_tokens_id" ON "join_tokens" ("id")',
)
