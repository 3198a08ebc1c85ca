"""How does news of queries and nodes reach whoever listens, without anybody waiting for a listener?

The roles publish; the newest events stay in one ring that all listeners read, each from a cursor of its own. So publishing
costs the same for one listener and for sixty, a listener that was cut off goes on where it stopped, and one that is too slow
falls out of the ring instead of filling a queue.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from pydantic import JsonValue
from pydantic_core import to_json

from node.model.event import Topic

Content: TypeAlias = Mapping[str, JsonValue] | bytes  # bytes are JSON already

RING_EVENTS: Final = 8192
RING_BYTES: Final = 8 * 2**20  # a query is about 1 kB, the report of a node 200 bytes


class News(NamedTuple):
    """One event, encoded once. `ref` is the record that it tells of; `last` says that nothing comes after it there."""

    number: int
    topic: Topic
    ref: str
    last: bool
    content: bytes


class EventBus:
    """The newest events of one node; made and used on its event loop."""

    def __init__(self) -> None:
        self._boot = os.urandom(4).hex()
        self._ring: deque[News] = deque()
        self._bytes = 0
        self._number = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    @property
    def number(self) -> int:
        """The cursor behind the newest event."""
        return self._number

    @property
    def oldest(self) -> int:
        """The lowest cursor from which nothing is missing."""
        return self._ring[0].number - 1 if self._ring else self._number

    @property
    def closed(self) -> bool:
        """Whether the node stops."""
        return self._closed

    def name(self, cursor: int) -> str:
        """A cursor as a listener knows it; one of an earlier start is told apart."""
        return f"{self._boot}-{cursor}"

    def cursor(self, name: str) -> int | None:
        """The cursor of that name, None where events behind it are no longer at hand."""
        boot, _, number = name.rpartition("-")
        if boot != self._boot or not (number.isascii() and number.isdecimal() and len(number) < 20):
            return None
        return int(number) if self.oldest <= int(number) <= self._number else None

    def publish(self, topic: Topic, event: str, ref: str, data: Content, *, last: bool = False) -> None:
        """Tells every listener; never waits."""
        self._number += 1
        content = encode(event, data, self.name(self._number))
        self._ring.append(News(self._number, topic, ref, last, content))
        self._bytes += len(content)
        while len(self._ring) > RING_EVENTS or self._bytes > RING_BYTES:
            self._bytes -= len(self._ring.popleft().content)
        self._wake()

    def after(self, cursor: int) -> list[News]:
        """The events behind a cursor that are at hand, oldest first."""
        found: list[News] = []
        for news in reversed(self._ring):
            if news.number <= cursor:
                break
            found.append(news)
        found.reverse()
        return found

    async def wait(self, cursor: int) -> None:
        """Returns once there is something behind the cursor, or the bus is closed."""
        if self._number > cursor or self._closed:
            return
        bell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(bell)
        try:
            await bell
        finally:
            if bell in self._waiting:
                self._waiting.remove(bell)

    def close(self) -> None:
        """Wakes every listener for the last time."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting:
            for bell in self._waiting:
                if not bell.done():
                    bell.set_result(None)
            self._waiting.clear()


def encode(event: str, data: Content, name: str = "") -> bytes:
    """One event in the format of server-sent events; JSON has no line ends of its own."""
    head = f"id: {name}\nevent: {event}\ndata: " if name else f"event: {event}\ndata: "
    content = data if type(data) is bytes else to_json(data, inf_nan_mode="null")
    return b"%b%b\n\n" % (head.encode(), content)
