"""How do the durable messages for one peer get there?

A task that lives as long as something waits: it reads a batch from the outbox, sends it, and repeats it with a growing pause
until the peer says that it is on its disk. A new link ends the pause. What was acknowledged is stored late, many at a time:
if the process dies before that, the peer answers the repeated messages from its inbox.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast

from node import failpoints
from node.clock import Clock
from node.errors import DeadlineExceeded, EcnodeError, Forbidden, Malformed, PeerUnreachable, Stale, Unavailable
from node.model.delivery import ENTRIES_MOST, Batch, BatchReply
from node.model.value import Value
from node.model.wire.delivery import DELIVERY_TAKE
from node.model.wire.method import Method
from node.roles.shared.tasks import begin, end
from node.storage.outbox import Outbox, OutboxStream, Posted, Span, Waiting
from node.transport.base import Answer, Blob, Transport
from node.transport.bodies import error_from, validated
from node.transport.frames import unpack_body

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Value)

BATCH_BYTES: Final = 64 * 1024  # of bodies: 52 ms of a link of 10 Mbit/s, for which other control messages wait
BODY_BYTES: Final = 512 * 1024  # of a single message, which then is a batch of its own; the control lane carries 1 MiB
SETTLE_EVERY: Final = 512  # acknowledged rows that may wait to be stored as such; half of what a receiver remembers


@dataclass(frozen=True, slots=True)
class Pace:
    """Spans of delivery in seconds."""

    first_pause: float = 0.1
    longest_pause: float = 5.0
    call: float = 5.0
    settle_after: float = 0.2  # of quiet: under traffic one commit then stores many acknowledgements


@dataclass(frozen=True, slots=True)
class Desk:
    """What the couriers of a node share; `life` names this run of the process, `memory` its database."""

    outbox: Outbox
    transport: Transport
    clock: Clock
    pace: Pace
    memory: str
    boot: int
    life: str


class Receipt(Generic[R]):
    """An accepted message: it is on this node's disk and will arrive. Its reply may be awaited, and need not be."""

    def __init__(self, method: Method[Value, R]) -> None:
        self._method = method
        self._reply: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    @property
    def answered(self) -> bool:
        """Whether the peer has taken the message, or refused it."""
        return self._reply.done()

    def ring(self, bell: asyncio.Event) -> None:
        """Has `bell` set once it is answered."""
        self._reply.add_done_callback(lambda _: bell.set())

    async def reply(self) -> R:
        """What the peer answered.

        Raises:
            Rejected: the peer has refused the message for good.
            Unavailable: this process ends before it is known; the message will arrive all the same.
        """
        return await asyncio.shield(self._reply)

    def settle(self, code: str, content: Blob) -> EcnodeError | None:
        """Takes the peer's answer; gives the error where it is one."""
        try:
            found = unpack_body(content)
            if not code:
                self._reply.set_result(validated(self._method.reply, found, f"the reply to {self._method.name}"))
                return None
            error = error_from(code, found)
        except EcnodeError as unreadable:
            error = unreadable
        self.fail(error)
        return error

    def fail(self, error: EcnodeError) -> None:
        """Ends the waiting with an error."""
        if not self._reply.done():
            self._reply.set_exception(error)
            self._reply.exception()  # nobody needs to ask for it


class Courier:
    """The stream to one peer."""

    def __init__(self, stream: OutboxStream, desk: Desk) -> None:
        self.peer = stream.peer
        self.refused: EcnodeError | None = None
        self.rejected = 0
        self._desk = desk
        self._reader = stream.reader
        self._stored = self._acknowledged = stream.low
        self._last = stream.last
        self._turn = 0
        self._most = ENTRIES_MOST
        self._greets = False
        self._closed = False
        self._receipts: dict[int, Receipt[Value]] = {}
        self._news = asyncio.Event()
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    @property
    def waiting(self) -> int:
        """Messages that are accepted and not acknowledged."""
        return self._last - self._acknowledged

    @property
    def _at_rest(self) -> bool:
        return not self.waiting and not self._greets and self._stored < self._acknowledged

    def committed(self, receipt: Receipt[R], future: asyncio.Future[Posted[object]]) -> None:
        """Hears what became of a message that was given to the outbox."""
        if future.cancelled() or future.exception() is not None:
            return
        sequence = future.result().sequence
        self._last = max(self._last, sequence)
        if self.refused is not None or self._closed:
            receipt.fail(self.refused or _stops())
            return
        self._receipts[sequence] = cast("Receipt[Value]", receipt)
        self._news.set()
        self._wake()

    def linked(self) -> None:
        """The peer can be reached: it is greeted, and what waits is sent at once."""
        self._kick.set()
        if self._last:
            self._greets = True
            self._wake()

    async def drop(self) -> int:
        """Forgets what waits for a peer that was put out; gives the number of messages.

        Raises:
            StorageFailed: the disk did not take it; nothing was forgotten.
        """
        await end(self._task)
        stream = await self._desk.outbox.drop(self.peer)
        dropped = max(stream.low - self._acknowledged, 0)  # what was acknowledged a moment ago may still have had its row
        self._reader, self._stored, self._acknowledged = stream.reader, stream.low, stream.low
        self._last = max(self._last, stream.last)
        self._greets = False
        for sequence in [sequence for sequence in self._receipts if sequence <= stream.low]:
            self._receipts.pop(sequence).fail(Forbidden(f"'{self.peer}' was put out; what waited for it is dropped"))
        if self.waiting:  # accepted since
            self._wake()
        return dropped

    async def stop(self) -> None:
        """Ends the task; what waits is sent by the next start. Harmless when repeated."""
        self._closed = True
        await end(self._task)
        self._fail_receipts(_stops())

    # The task

    def _wake(self) -> None:
        if self._closed or self.refused is not None:
            return
        if self._task is None or self._task.done():
            self._task = begin(self._run(), f"durable messages for {self.peer}")

    async def _run(self) -> None:
        pause = self._desk.pace.first_pause
        while self.waiting or self._greets or self._stored < self._acknowledged:
            self._news.clear()
            try:
                await self._round()
            except Stale as error:
                self._refuse(error)
                return
            except EcnodeError as error:
                self._note(error)
                kicked = await self._within(self._kick, pause * (0.5 + secrets.randbelow(1024) / 2048))
                pause = self._desk.pace.first_pause if kicked else min(2 * pause, self._desk.pace.longest_pause)
            else:
                pause, self._trouble = self._desk.pace.first_pause, ""

    async def _round(self) -> None:
        """Sends once what there is to send, or stores the acknowledgements of a stream that has come to rest.

        Raises:
            Stale: the peer has found a copied or set back memory.
            EcnodeError: it has to be tried again.
        """
        self._kick.clear()
        if self.waiting or self._greets:
            await self._send()
        many = self._acknowledged - self._stored >= SETTLE_EVERY
        if many or (self._at_rest and not await self._within(self._news, self._desk.pace.settle_after)):
            await self._settle()

    async def _send(self) -> None:
        span = Span(self._acknowledged, self._last, BATCH_BYTES, self._most)
        messages = await self._desk.outbox.waiting(self.peer, span) if self.waiting else ()
        failpoints.hit("before_delivery_sent")
        try:
            answer = await self._ask(messages)
        except (PeerUnreachable, Stale):
            raise
        except EcnodeError as error:
            if not isinstance(error, Unavailable):
                self._most = 1  # one of them may be what the peer stumbles over: the others are not to wait for it
            if messages:
                await self._desk.outbox.tried(self.peer, messages)
            raise
        self._take(answer.body, answer.blobs, messages)

    async def _ask(self, messages: Sequence[Waiting]) -> Answer[BatchReply]:
        desk = self._desk
        self._turn += 1
        batch = Batch(
            stream=desk.memory,
            boot=desk.boot,
            life=desk.life,
            turn=self._turn,
            reader=self._reader,
            low=self._stored,
            last=self._last,
            first=self._acknowledged + 1,
            methods=tuple(message.method for message in messages),
        )
        bodies = [message.body for message in messages]
        return await desk.transport.call(self.peer, DELIVERY_TAKE, batch, blobs=bodies, timeout=desk.pace.call)

    def _take(self, reply: BatchReply, blobs: Sequence[Blob], messages: Sequence[Waiting]) -> None:
        if not self._stored <= reply.taken <= self._last or reply.first != self._acknowledged + 1:
            raise Malformed(f"'{self.peer}' says that it has taken {reply.taken} of {self._last} messages")
        if len(reply.fates) > len(messages) or len(blobs) != len(reply.fates):
            raise Malformed(
                f"'{self.peer}' answered {len(messages)} messages with {len(reply.fates)} fates, {len(blobs)} bodies"
            )
        for message, code, content in zip(messages, reply.fates, blobs, strict=False):
            self._answered(message, code, content)
        if self._reader not in {"", reply.memory}:
            log.warning("peer has begun with an empty memory", extra={"peer": self.peer, "acknowledged": self._stored})
        moved = reply.taken > self._acknowledged
        self._reader, self._acknowledged, self._greets = reply.memory, reply.taken, False
        if reply.halted:
            raise Unavailable(f"'{self.peer}' does not take message {reply.taken + 1} now: {reply.halted}")
        if messages and not moved:
            raise DeadlineExceeded(f"'{self.peer}' has taken nothing of a batch")
        self._most = ENTRIES_MOST

    def _answered(self, message: Waiting, code: str, content: Blob) -> None:
        receipt = self._receipts.pop(message.sequence, None)
        error = receipt.settle(code, content) if receipt is not None else None
        if code:
            self.rejected += 1
            log.warning(
                "peer refused a durable message for good",
                extra={"peer": self.peer, "method": message.method, "code": code, "reason": error.message if error else ""},
            )

    async def _settle(self) -> None:
        failpoints.hit("before_delivery_settled")
        upto = self._acknowledged
        await self._desk.outbox.settle(self.peer, upto, self._reader)
        self._stored = upto

    # What goes wrong

    def _refuse(self, error: Stale) -> None:
        self.refused = error
        log.error(
            "durable messages are refused, none is sent until this node is started anew",
            extra={"peer": self.peer, "reason": error.message, "hint": error.hint, "waiting": self.waiting},
        )
        self._fail_receipts(error)

    def _fail_receipts(self, error: EcnodeError) -> None:
        for receipt in self._receipts.values():
            receipt.fail(error)
        self._receipts.clear()

    def _note(self, error: EcnodeError) -> None:
        """One line for each trouble, not for each attempt."""
        if error.code != self._trouble:
            self._trouble = error.code
            log.info("durable messages wait", extra={"peer": self.peer, "waiting": self.waiting, "reason": error.message})

    async def _within(self, event: asyncio.Event, seconds: float) -> bool:
        try:
            async with self._desk.clock.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True


def _stops() -> Unavailable:
    return Unavailable("this node stops; the message is kept and will arrive")
