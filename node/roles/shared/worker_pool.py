"""Who runs calls in worker processes, and what happens to those that come too late, too often, or kill their worker?

A bounded queue in front of a few processes that are started when there is work and ended when there has been none for a
while. A call whose deadline has passed is dropped unexecuted; a worker that hangs or dies fails only its own call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.clock import Clock
from node.errors import Busy, ChildLost, DeadlineExceeded, EcnodeError, Rejected, from_wire
from node.roles.shared.arena import Lease
from node.roles.shared.channel import Bytes, Header, Message
from node.roles.shared.processes import Child, Spawner

log = logging.getLogger(__name__)

QUEUE: Final = 64  # two seconds of work for two workers at 60 ms a call: more would only grow old
HANG_S: Final = 30.0  # no call takes this long, model loading included: the worker is stuck
IDLE_S: Final = 60.0  # an unused worker gives its memory back


@dataclass(slots=True)
class _Work:
    header: Header
    blobs: Sequence[Bytes]
    lease: Lease | None
    deadline: float
    queued_at: float
    kind: str
    done: asyncio.Future[tuple[Message, float]]

    def fail(self, error: EcnodeError) -> None:
        self.release()
        if not self.done.done():
            self.done.set_exception(error)

    def release(self) -> None:
        if self.lease is not None:
            self.lease.release()


class WorkerPool:
    """Up to `workers` processes that run `module`, each started with `settings` and the descriptors."""

    def __init__(  # noqa: PLR0917 - what it takes to start a process
        self,
        spawner: Spawner,
        clock: Clock,
        workers: int,
        module: str,
        settings: Header,
        descriptors: Mapping[str, int],
    ) -> None:
        self.workers = workers
        self._spawner = spawner
        self._clock = clock
        self._module = module
        self._settings = settings
        self._descriptors = descriptors
        self._queue: deque[_Work] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """How many calls wait for a worker."""
        return len(self._queue)

    def queued_of(self, kind: str) -> int:
        """How many of them are of one kind."""
        return sum(work.kind == kind for work in self._queue)

    async def run(self) -> None:
        """Serves calls until cancelled; then every call that waits fails."""
        try:
            async with asyncio.TaskGroup() as keepers:
                for number in range(self.workers):
                    keepers.create_task(self._keep_worker(number), name=f"worker {number}")
        finally:
            while self._queue:
                self._queue.popleft().fail(ChildLost("this node is stopping"))

    async def call(
        self, header: Header, blobs: Sequence[Bytes], *, lease: Lease | None, deadline: float, kind: str = ""
    ) -> tuple[Message, float]:
        """The worker's answer, and the seconds that the call waited for a worker.

        `lease` is a slot that the call reads; it is held until the worker has let go of it, however the call ends. `kind` is
        what waiting calls are counted by.

        Raises:
            Busy: the queue is full.
            DeadlineExceeded: `deadline`, a time of the clock, passed.
            ChildLost: the worker died over the call.
            TooLarge, Invalid: the call cannot be told to a worker.
            EcnodeError: what the worker reported.
        """
        if len(self._queue) >= QUEUE:
            raise Busy(f"{QUEUE} calls wait for a worker already")
        done = asyncio.get_running_loop().create_future()
        work = _Work(header, blobs, lease.share() if lease else None, deadline, self._clock.monotonic(), kind, done)
        self._queue.append(work)
        self._wake_one()
        try:
            async with self._clock.timeout(deadline - self._clock.monotonic()):
                return await work.done
        except TimeoutError as error:  # what has begun is finished by its worker, for nobody; its slot is held until then
            raise DeadlineExceeded("the deadline passed before a worker had answered") from error

    async def _keep_worker(self, number: int) -> None:
        child: Child | None = None
        try:
            while True:
                work = await self._next(IDLE_S if child else None)
                if work is not None:
                    try:
                        child = child or await self._spawn(number)
                        await self._serve(child, work)
                        continue
                    except ChildLost as error:
                        log.warning("worker lost", extra={"worker": number, "reason": error.message})
                        work.fail(error)
                    except Rejected as error:  # a call that cannot be told to a worker; the worker knows nothing of it
                        work.fail(error)
                        continue
                    except asyncio.CancelledError:
                        work.fail(ChildLost("this node is stopping"))
                        raise
                await _end(child)
                child = None
        finally:
            await _end(child)

    async def _next(self, idle: float | None) -> _Work | None:
        """The oldest call whose deadline has not passed; None after `idle` seconds without one."""
        while True:
            while self._queue:
                work = self._queue.popleft()
                if not work.done.done() and self._clock.monotonic() < work.deadline:
                    return work
                work.fail(DeadlineExceeded("the deadline passed before a worker was free"))
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(turn)
            try:
                async with self._clock.timeout(idle):
                    await turn
            except TimeoutError:
                self._stand_down(turn)
                return None
            except asyncio.CancelledError:
                self._stand_down(turn)
                raise

    def _wake_one(self) -> None:
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _stand_down(self, turn: asyncio.Future[None]) -> None:
        """Whoever was woken and does not come sends another."""
        if turn in self._idle:
            self._idle.remove(turn)
        elif self._queue:
            self._wake_one()

    async def _serve(self, child: Child, work: _Work) -> None:
        waited = self._clock.monotonic() - work.queued_at
        try:
            async with self._clock.timeout(HANG_S):
                await child.send(work.header, work.blobs)
                answer = await child.receive()
        except TimeoutError as error:
            raise ChildLost(f"a worker gave no answer for {HANG_S:.0f} s") from error
        if answer is None:
            raise ChildLost("a worker died over a call")
        if answer.header["op"] == "error":
            work.fail(from_wire(str(answer.header["code"]), str(answer.header["message"]), str(answer.header.get("hint", ""))))
        elif not work.done.done():
            work.done.set_result((answer, waited))
        work.release()

    async def _spawn(self, number: int) -> Child:
        return await self._spawner.spawn(self._module, self._settings, name=f"worker {number}", descriptors=self._descriptors)


async def _end(child: Child | None) -> None:
    if child is not None:
        await child.stop()
