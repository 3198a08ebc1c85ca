"""Who is waiting at the door for something new, and how is the waiting ended?

A long poll holds a connection and a task. Their number is bounded, and a node that stops answers all of them at once
instead of waiting for their time-outs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, TypeVar

from node.errors import Busy

T = TypeVar("T")

MAX_POLLS: Final = 128  # of MAX_CONNECTIONS: pollers can never shut out the other half of the callers


class Polls:
    """The waits under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the door closes: nobody waits any more."""
        return self._closed

    async def run(self, work: Callable[[], Coroutine[None, None, T]], otherwise: T) -> T:
        """What `work` gives, or `otherwise` if the door closes first.

        Raises:
            Busy: too many are waiting already.
        """
        if self._closed:
            return otherwise
        if len(self._tasks) >= MAX_POLLS:
            raise Busy(f"{MAX_POLLS} callers are waiting for results already", hint="ask again without wait")
        task = asyncio.ensure_future(work())
        self._tasks.add(task)
        try:
            await asyncio.wait([task])
            return otherwise if task.cancelled() else task.result()
        finally:
            self._tasks.discard(task)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    def close(self) -> None:
        """Ends every wait, now and from now on."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
