"""What time is it, and how does a coroutine wait?

The only module that may touch `time`, `asyncio.sleep` and `asyncio.timeout` (a lint rule says so): everything else takes a
`Clock`, so that a test can drive hours in milliseconds. Spans are seconds as float.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

SECONDS_AT_HAND: Final = 256


_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; MONOTONIC stands still in suspend


class Clock(Protocol):
    """Time as the rest of the program sees it."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; comparable between the processes of one machine, never set back."""

    def boottime(self) -> float:
        """Seconds since the machine was started, its sleep included; for spans that must not stand still, such as leases."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC, for display only: it may jump."""

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[None]:
        """Raises TimeoutError in its body once `seconds` have passed; None waits for ever."""

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Calls `callback` from the running loop in `seconds`, unless the timer is cancelled; a tenth of a `timeout`."""


class Timer(Protocol):
    """A callback that is due."""

    def cancel(self) -> object:
        """Forgets it. Harmless when repeated, or late."""


def rfc3339(wall_seconds: float) -> str:
    """`2026-11-21T22:40:01.123Z` for a wall time in seconds."""
    whole = math.floor(wall_seconds)
    microseconds = round((wall_seconds - whole) * 1e6)
    if microseconds == 1_000_000:
        whole, microseconds = whole + 1, 0
    return f"{_second(whole)}.{microseconds // 1000:03d}Z"


@lru_cache(maxsize=SECONDS_AT_HAND)  # what is told of happened just now, or a page of it at nearby times
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds").replace("+00:00", "")


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[None]:
        async with asyncio.timeout(seconds):
            yield

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)


class ManualClock:
    """Time that stands still until a test calls `advance`."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._now

    def boottime(self) -> float:
        return self._now

    def wall(self) -> float:
        return 1_700_000_000.0 + self._now

    async def sleep(self, seconds: float) -> None:
        await self._timer(seconds)

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[None]:
        async with asyncio.timeout(None) as scope:
            if seconds is None:
                yield
                return
            timer = self._timer(seconds)
            loop = asyncio.get_running_loop()
            timer.add_done_callback(lambda done: None if done.cancelled() else scope.reschedule(loop.time()))
            try:
                yield
            finally:
                timer.cancel()

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        timer = self._timer(seconds)
        timer.add_done_callback(lambda done: None if done.cancelled() else callback())
        return timer

    async def advance(self, seconds: float) -> None:
        """Moves time on, waking every sleeper in order and letting each run before the next."""
        end = self._now + seconds
        await self._settle()
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            if not timer.done():
                timer.set_result(None)
                await self._settle()
        self._now = end
        await self._settle()

    def _timer(self, seconds: float) -> asyncio.Future[None]:
        timer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._timers, (self._now + max(seconds, 0.0), next(self._order), timer))
        return timer

    async def _settle(self) -> None:
        for _ in range(20):  # a chain of callbacks needs a few turns of the loop to come to rest
            await asyncio.sleep(0)
