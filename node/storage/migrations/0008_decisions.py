"""Why did a query get its plans?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "decisions" (
        "query" INTEGER NOT NULL,
        "number" INTEGER NOT NULL,
        "decision" TEXT NOT NULL,
        PRIMARY KEY ("query", "number"),
        FOREIGN KEY ("query") REFERENCES "queries" ("number") ON DELETE CASCADE
    )
    """,
)
