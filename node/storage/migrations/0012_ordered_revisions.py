"""Where does a revision that another node has ordered wait until it is made ready here?"""

from __future__ import annotations

STATEMENTS = ('ALTER TABLE "tasks" ADD COLUMN "ordered" TEXT',)
