"""What is a part of a node, and what has a role to say of itself so that it can be put in?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from node.roles.shared.tasks import end

log = logging.getLogger(__name__)

Gauge: TypeAlias = tuple[str, str, Callable[[], float]]
"""A figure of /metrics: its name, what it counts, and how it is read when it is asked for."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that starts and stops; both within a deadline that the node sets."""

    name: str
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


class Assembled(Protocol):
    """A role, or a flow that several roles have, put together."""

    def parts(self, loops: Loops) -> Sequence[Part]:
        """What starts, in this order, and stops in the reverse of it."""

    def gauges(self) -> Sequence[Gauge]:
        """What /metrics tells of it."""


class Loops:
    """The endless work of a node: one that ends is a fault, and the node stops loudly."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def part(self, name: str, body: Callable[[], Coroutine[None, None, None]]) -> Part:
        """`body` as a part."""

        async def start() -> None:
            self._tasks[name] = asyncio.create_task(body(), name=name)

        async def stop() -> None:
            await end(self._tasks[name])

        return Part(name, start, stop)

    def ended(self) -> list[str]:
        """The loops that should run and do not."""
        return [name for name, task in self._tasks.items() if task.done()]

    async def until(self, stop: asyncio.Event) -> None:
        """Waits for `stop`.

        Raises:
            Exception: what a loop died of.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop signal")
        try:
            await asyncio.wait({stopping, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for name in self.ended():
            task = self._tasks[name]
            log.error("a loop died, this node stops", extra={"loop": name}, exc_info=task.exception())
            task.result()


async def nothing() -> None:
    """For parts that were opened while the node was built, or that have nothing to end."""
