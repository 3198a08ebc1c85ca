"""When are results forgotten?

Those that are older than `storage.keep.results` are deleted, a few thousand at a time so that no writer waits long; the newest
result of a query stays, whatever its age, because cursors count on from it.
"""

from __future__ import annotations

import logging
from typing import Final

from node.clock import Clock
from node.errors import EcnodeError
from node.storage.queries import Queries

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 600.0  # seconds at most; a short age is looked after ten times in its span


class Retention:
    """Forgets results older than `age` seconds."""

    def __init__(self, queries: Queries, clock: Clock, age: float) -> None:
        self._queries = queries
        self._clock = clock
        self._age = age

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                count = await self._queries.expire(self._clock.wall() - self._age)
                if count:
                    log.info("old results deleted", extra={"results": count})
            except EcnodeError as error:
                log.warning("old results stay for now", extra={"reason": error.message})
            await self._clock.sleep(min(LOOK_EVERY, self._age / 10))
