"""How does the event loop have files read and written without waiting for the disk?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
A = TypeVarTuple("A")


class Threads:
    """Work that one owner has under way on a shared, bounded executor.

    A cancelled caller does not stop a thread, so whoever closes a file first waits for `settle`.
    """

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._busy: set[asyncio.Future[object]] = set()

    async def run(self, work: Callable[[*A], T], *given: *A) -> T:
        """What `work` gives."""
        return await asyncio.shield(self.start(work, *given))

    def start(self, work: Callable[[*A], T], *given: *A) -> asyncio.Future[T]:
        """Begins `work`; it need not be waited for."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work, *given)
        self._busy.add(future)  # type: ignore[arg-type]  # a set of futures is only waited for
        future.add_done_callback(self._ended)
        return future

    async def settle(self) -> None:
        """Returns once nothing is under way."""
        while self._busy:
            await asyncio.gather(*self._busy, return_exceptions=True)

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._busy.discard(future)
        if not future.cancelled():
            future.exception()  # the caller may be gone: then nobody asks, and that is no fault
