"""Which stage of a pipeline takes from which?"""

from __future__ import annotations

STATEMENTS = (
    """ALTER TABLE "queries" ADD COLUMN "graph" TEXT NOT NULL DEFAULT '{}'""",
    # the request is compared with one that is sent again, which has the field from now on
    """UPDATE "queries" SET "request" = json_set("request", '$.graph', json('{}'))""",
)
