"""Which joint task does a task belong to, and does it still wait for the others?"""

from __future__ import annotations

STATEMENTS = (
    """ALTER TABLE "tasks" ADD COLUMN "parent" TEXT NOT NULL DEFAULT ''""",
    """ALTER TABLE "tasks" ADD COLUMN "parts" INTEGER NOT NULL DEFAULT '0'""",
    """ALTER TABLE "tasks" ADD COLUMN "round" INTEGER NOT NULL DEFAULT '0'""",
    """ALTER TABLE "tasks" ADD COLUMN "held" INTEGER NOT NULL DEFAULT '0'""",
    'CREATE INDEX "tasks_parent" ON "tasks" ("parent")',
)
