"""How many pictures may be on their way to one peer, and which wait when that is used up?

A slow link does not get slower by being offered more: what is beyond its credit waits here, where it can still be replaced. Of
each query only the newest picture waits; the one that it replaces is given up at once instead of arriving late. Waiting queries
get their turns in the order in which they began to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from node.errors import Superseded

CREDIT: Final = 4  # unanswered pictures of one edge at a peer: two hide the way there and back, four keep two workers busy


class FrameCredit:
    """The credit of one edge with each of its peers. Used by one event loop."""

    def __init__(self, credit: int = CREDIT) -> None:
        self._credit = credit
        self._used: dict[str, int] = {}
        self._waiting: dict[str, dict[str, asyncio.Future[None]]] = {}
        self.superseded = 0

    @asynccontextmanager
    async def spend(self, peer: str, query: str) -> AsyncIterator[None]:
        """Holds a share of the credit with `peer` for a picture of `query`.

        Raises:
            Superseded: while this one waited a newer picture of the query came.
        """
        if self._used.get(peer, 0) >= self._credit:
            await self._wait(peer, query)
        else:
            self._used[peer] = self._used.get(peer, 0) + 1
        try:
            yield
        finally:
            self._give_back(peer)

    async def _wait(self, peer: str, query: str) -> None:
        """Returns once a share was handed over."""
        turns = self._waiting.setdefault(peer, {})
        if (older := turns.pop(query, None)) is not None and not older.done():
            self.superseded += 1
            older.set_exception(Superseded(f"a newer picture of {query} took its place in front of '{peer}'"))
        turn = turns[query] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(peer)  # handed over in the same moment
            raise
        finally:
            if turns.get(query) is turn:
                del turns[query]

    def _give_back(self, peer: str) -> None:
        """Hands the share over to whoever has waited longest, or frees it."""
        turns = self._waiting.get(peer, {})
        for query in list(turns):
            turn = turns.pop(query)
            if not turn.done():
                turn.set_result(None)
                return
        self._used[peer] -= 1
        if not self._used[peer]:
            del self._used[peer]
            self._waiting.pop(peer, None)
