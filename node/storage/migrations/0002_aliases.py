"""Under which table are the originals' ids of our records found?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "aliases" (
        "original" TEXT NOT NULL PRIMARY KEY,
        "native" TEXT NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "aliases_native" ON "aliases" ("native")',
)
