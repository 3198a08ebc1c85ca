"""Where do the tokens of the front door live, and the answers that are given again?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "tokens" (
        "digest" TEXT NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "label" TEXT NOT NULL,
        "scope" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "expires_at" REAL,
        "used_at" REAL
    )
    """,
    'CREATE UNIQUE INDEX "tokens_id" ON "tokens" ("id")',
    """
    CREATE TABLE "answers" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "owner" TEXT NOT NULL,
        "key" TEXT NOT NULL,
        "digest" TEXT NOT NULL,
        "first_at" REAL NOT NULL,
        "answer" TEXT
    )
    """,
    'CREATE UNIQUE INDEX "answers_owner_key" ON "answers" ("owner", "key")',
    'CREATE INDEX "answers_first_at" ON "answers" ("first_at")',
)
