"""Where does the next revision of a task wait until the present one has ended?"""

from __future__ import annotations

STATEMENTS = ('ALTER TABLE "tasks" ADD COLUMN "next" TEXT',)
