"""How does the event loop hand work to a thread that owns a connection, without ever waiting for it?

Operations wait in a bounded queue; the thread takes them in bursts and wakes the loop once for each burst, however many
callers it answers. What one turn of the loop posts is handed over together when the turn is over: handed over one by one, the
first would wake the thread into a struggle with the loop for the interpreter. An overfull queue refuses at once (`Busy`): the
caller holds its request and may repeat it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Protocol, Self, TypeVar, cast

from node.clock import Clock
from node.errors import Busy, StorageFailed

T = TypeVar("T")
C = TypeVar("C")

QUEUE_MOST: Final = 4096  # × about 20 kB for 64 results each: at most 80 MB wait for a disk that has stalled
BURST_MOST: Final = 64
BURST_SECONDS: Final = 0.005

log = logging.getLogger(__name__)


class Operation(Generic[C]):
    """One piece of work and what became of it; the thread fills in `value` or `error`, the loop tells the caller."""

    __slots__ = ("error", "future", "run", "value")

    def __init__(self, run: Callable[[C], object], future: asyncio.Future[object]) -> None:
        self.run = run
        self.future = future
        self.value: object = None
        self.error: Exception | None = None


class Joint(ABC, Generic[C]):
    """A piece of work that several of its kind can be done in one go with."""

    @abstractmethod
    def __call__(self, connection: C) -> object:
        """Does it alone."""

    @classmethod
    @abstractmethod
    def together(cls, connection: C, several: Sequence[Self]) -> Sequence[object] | None:
        """What each gives, by one statement; None, or any error, where they must be done one by one: then nothing is kept."""

    @abstractmethod
    def settled(self, value: object) -> None:
        """Called on the loop when the burst is done and before any caller goes on: what comes in a row costs a third."""


class Burst(Generic[C]):
    """The operations of one turn: what waits now, at most `BURST_MOST`, none begun after `BURST_SECONDS`."""

    def __init__(self, first: Operation[C], waiting: queue.SimpleQueue[Operation[C] | None], clock: Clock) -> None:
        self.taken = [first]
        self.last = False
        self._waiting = waiting
        self._clock = clock
        self._deadline = clock.monotonic() + BURST_SECONDS

    def alike(self) -> list[Joint[C]]:
        """What all of them do, where everything that waits now can be done in one go; else nothing."""
        several: list[Joint[C]] = []
        for operation in self:
            if not isinstance(operation.run, Joint) or (several and type(several[0]) is not type(operation.run)):
                return []
            several.append(operation.run)
        return several

    def __iter__(self) -> Iterator[Operation[C]]:
        yield from self.taken
        while len(self.taken) < BURST_MOST and self._clock.monotonic() < self._deadline:
            try:
                operation = self._waiting.get_nowait()
            except queue.Empty:
                return
            if operation is None:
                self.last = True
                return
            self.taken.append(operation)
            yield operation


class Engine(Protocol[C]):
    """What a lane's thread does; each method runs on that thread only."""

    def open(self) -> None:
        """Makes the connection; an error is raised to whoever opens the lane."""

    def perform(self, burst: Burst[C]) -> None:
        """Iterates the burst and leaves every operation it took with a value or an error."""

    def close(self) -> None:
        """Ends the connection."""


class Lane(Generic[C]):
    """A thread with a bounded queue in front of it. Used from one event loop."""

    def __init__(self, name: str, engine: Engine[C], clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Operation[C] | None] = queue.SimpleQueue()
        self._posted: list[Operation[C]] = []
        self._opened: asyncio.Future[object] = self._loop.create_future()
        self._ended: asyncio.Future[object] = self._loop.create_future()
        self._closing = False
        # A daemon: a program that dies without closing its store must not hang on this thread.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    async def open(self) -> None:
        """Starts the thread; returns when its connection is ready."""
        self._thread.start()
        try:
            await asyncio.shield(self._opened)
        except BaseException:
            await self.close()
            raise

    async def submit(self, run: Callable[[C], T]) -> T:
        """What `run` gives, once the burst that it was part of is done.

        A caller that is cancelled leaves its operation in the queue: it may happen nevertheless.

        Raises:
            Busy: the queue is full.
            StorageFailed: the lane is closed, or the disk refused.
        """
        return cast(T, await self.post(run))

    def post(self, run: Callable[[C], object]) -> asyncio.Future[object]:
        """Queues `run` without waiting; raises as `submit` does where it cannot be queued."""
        if not self.alive:
            raise StorageFailed("the store is closed", hint="the node is stopping; repeat the request when it is up again")
        if self._queue.qsize() + len(self._posted) >= QUEUE_MOST:
            raise Busy(f"{QUEUE_MOST} operations wait for the disk already", hint="repeat the request in a second")
        operation = Operation(run, self._loop.create_future())
        self._posted.append(operation)
        if len(self._posted) == 1:
            self._loop.call_soon(self._hand_over)
        return operation.future

    def _hand_over(self) -> None:
        for operation in self._posted:
            self._queue.put(operation)
        self._posted.clear()

    async def close(self) -> None:
        """Refuses new work, finishes what is queued and joins the thread; repeating it is harmless."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()  # its last act was to set `_ended`

    @property
    def alive(self) -> bool:
        """Whether new work is taken."""
        return not self._closing and not self._ended.done()

    def _main(self) -> None:
        error: Exception | None = None
        try:
            self._engine.open()
        except Exception as refused:  # noqa: BLE001 - raised to the caller of `open`
            error = refused
        self._tell(_settle, self._opened, error)
        try:
            if error is None:
                self._work()
                self._engine.close()
        except Exception:
            log.exception("storage thread ended by a fault")
        finally:
            self._tell(self._abandon)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            burst = Burst(first, self._queue, self._clock)
            try:
                self._engine.perform(burst)
            except Exception as error:
                for operation in burst.taken:
                    operation.error = error
                raise
            finally:
                self._tell(_answer, burst.taken)
            if burst.last:
                return

    def _abandon(self) -> None:
        """On the loop: answers what came too late, then reports the end."""
        self._hand_over()
        while not self._queue.empty():
            operation = self._queue.get_nowait()
            if operation is not None:
                _settle(operation.future, StorageFailed("the store has ended"))
        _settle(self._ended, None)

    def _tell(self, act: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(act, *values)
        except RuntimeError:
            log.warning("the event loop ended before its store was closed")


def _answer(operations: list[Operation[C]]) -> None:
    for operation in operations:
        if operation.error is None and isinstance(operation.run, Joint):
            try:
                operation.run.settled(operation.value)
            except Exception as error:  # noqa: BLE001 - raised to the caller whose operation it is
                operation.error = error
    for operation in operations:
        _settle(operation.future, operation.error, operation.value)


def _settle(future: asyncio.Future[object], error: Exception | None, value: object = None) -> None:
    if future.done():  # its caller was cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
