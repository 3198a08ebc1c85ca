"""Which private sessions may a member take part in?"""

from __future__ import annotations

STATEMENTS = ("""ALTER TABLE "members" ADD COLUMN "sessions" TEXT NOT NULL DEFAULT '[]'""",)
