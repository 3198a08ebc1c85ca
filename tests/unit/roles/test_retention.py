"""Are results forgotten at their age, again and again, also after the disk refused once?"""

from __future__ import annotations

import asyncio

from node.clock import ManualClock
from node.errors import StorageFailed
from node.roles.cloud.retention import Retention


class Queries:
    def __init__(self) -> None:
        self.asked: list[float] = []

    async def expire(self, before: float) -> int:
        self.asked.append(before)
        if len(self.asked) == 1:
            raise StorageFailed("the disk is full")
        return 3


async def test_results_are_looked_at_ten_times_in_their_span():
    clock, queries = ManualClock(), Queries()
    began = clock.wall()
    looking = asyncio.create_task(Retention(queries, clock, 100.0).run())
    await clock.advance(25.0)
    assert queries.asked == [began - 100.0, began - 90.0, began - 80.0]
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
