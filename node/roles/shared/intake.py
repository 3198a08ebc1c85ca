"""What becomes of a durable message that a peer has sent?

The dispatcher of durable messages: it finds who answers, checks that the sender may ask, and has row, effect and reply
committed as one. What a handler prepares runs on the loop; what it changes runs on the writer's thread, inside the transaction.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar, cast

from node.errors import Conflict, EcnodeError, Forbidden, Internal, Malformed, NotFound, Rejected, Stale, Unavailable
from node.model.delivery import Batch, BatchReply, Verdict, old_epoch
from node.model.value import Value
from node.model.wire.method import Method
from node.storage.connection import Writing
from node.storage.inbox import Arrival, Inbox, Intaken
from node.transport.base import Answer, Blob, Call, Peer
from node.transport.bodies import pack_error, pack_value, validated
from node.transport.frames import unpack_body

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)
T = TypeVar("T")

REPLY_BYTES: Final = 8 * 1024  # of one reply; 64 of them and the errors' texts fit one message
DIGEST_BYTES: Final = 16  # tells two contents of one sequence apart; nobody gains by a collision with his own message
FAULTS_MOST: Final = 5  # of one message, before it is given up: what stands behind it must not wait for ever


@dataclass(frozen=True, slots=True)
class Effect(Generic[T, R]):
    """What a durable message does: `apply` in the transaction, `reply` to its value, `then` on the loop afterwards.

    `apply` may raise `Rejected`, which is the answer for good, or `Unavailable`, after which the message comes again. What
    `then` does is lost with the process: it is for what is kept in memory only.
    """

    apply: Callable[[Writing], T]
    reply: Callable[[T], R]
    then: Callable[[T], None]


DurableHandler: TypeAlias = Callable[[Peer, Q], Effect[T, R]]
_AnyEffect: TypeAlias = Effect[object, Value]


@dataclass(frozen=True, slots=True)
class _Route:
    method: Method[Value, Value]
    handler: Callable[[Peer, Value], _AnyEffect]


@dataclass(slots=True)
class Counts:
    """What was seen since the start."""

    taken: int = 0
    late: int = 0
    old_epochs: int = 0
    refused: int = 0


class Intake:
    """The durable messages that come to this node, whose memory is `memory`."""

    def __init__(self, inbox: Inbox, memory: str, boot: int) -> None:
        self.counts = Counts()
        self._inbox = inbox
        self._memory = memory
        self._boot = boot
        self._routes: dict[str, _Route] = {}
        self._faults: dict[str, tuple[int, int]] = {}

    def answer(self, method: Method[Q, R], handler: DurableHandler[Q, T, R]) -> None:
        """Registers who answers `method`.

        Raises:
            Conflict: somebody does already.
        """
        if method.name in self._routes:
            raise Conflict(f"{method.name} has a handler already", hint="one method, one handler")
        self._routes[method.name] = _Route(
            cast("Method[Value, Value]", method), cast("Callable[[Peer, Value], _AnyEffect]", handler)
        )

    async def take(self, call: Call, batch: Batch) -> Answer[BatchReply]:
        """Answers `delivery.take`."""
        if len(call.blobs) != len(batch.methods):
            raise Malformed(f"{len(batch.methods)} messages with {len(call.blobs)} bodies")
        doings: list[_Doing] = []
        try:
            doings += [self._doing(call.peer, name, body) for name, body in zip(batch.methods, call.blobs, strict=True)]
            done = await self._commit(call.peer, batch, doings)
        except Stale as error:
            self._refused(call.peer, error)
            raise
        except (Rejected, Unavailable):
            raise
        except Exception as error:  # a dispatcher: whatever a handler raises becomes an answer
            log.exception("durable message failed", extra={"peer": call.peer.name, "methods": ", ".join(set(batch.methods))})
            if not self._is_hopeless(call.peer, batch):
                raise Internal(
                    f"a message of {call.peer.name} failed", hint="the log of that node has the traceback"
                ) from error
            given_up = Rejected(f"{batch.methods[0]} failed {FAULTS_MOST} times and is given up", hint=str(error)[:200])
            done = await self._commit(call.peer, batch, [_Doing(doings[0].digest if doings else b"", given_up)])
        self._follow(call.peer, done, doings)
        return self._reply(done)

    async def _commit(self, peer: Peer, batch: Batch, doings: list[_Doing]) -> Intaken:
        arrivals = [Arrival(doing.digest, doing.run) for doing in doings]
        done = await self._inbox.take(self._memory, peer.name, batch, arrivals, pack_error)
        if done.verdict is Verdict.OLD:
            self.counts.old_epochs += 1
            raise old_epoch(batch)
        if done.verdict is Verdict.LATE:
            self.counts.late += 1
        self._faults.pop(peer.name, None)
        return done

    def _doing(self, peer: Peer, name: str, body: Blob) -> _Doing:
        content = bytes(body)
        digest = hashlib.sha256(name.encode() + b"\0" + content).digest()[:DIGEST_BYTES]
        try:
            return _Doing(digest, self._effect(peer, name, content))
        except (Rejected, Unavailable) as error:
            return _Doing(digest, error)

    def _effect(self, peer: Peer, name: str, content: bytes) -> _AnyEffect:
        route = self._routes.get(name)
        if route is None:
            raise NotFound(f"this node does not answer '{name}'", hint="does it have the role, and the release?")
        if not peer.roles & route.method.callers:
            allowed = ", ".join(sorted(route.method.callers))
            raise Forbidden(f"'{peer.name}' may not ask for {name}", hint=f"roles that may: {allowed}")
        return route.handler(peer, validated(route.method.request, unpack_body(content), f"the body of {name}"))

    def _is_hopeless(self, peer: Peer, batch: Batch) -> bool:
        """Whether one and the same message has failed too often; several in one batch come again one by one."""
        if len(batch.methods) != 1:
            return False
        sequence, times = self._faults.get(peer.name, (0, 0))
        times = times + 1 if sequence == batch.first else 1
        self._faults[peer.name] = (batch.first, times)
        return times >= FAULTS_MOST

    def _refused(self, peer: Peer, error: Stale) -> None:
        self.counts.refused += 1
        log.error("durable messages refused", extra={"peer": peer.name, "reason": error.message, "hint": error.hint})

    def _follow(self, peer: Peer, done: Intaken, doings: list[_Doing]) -> None:
        self.counts.taken += len(done.values)
        for place, value in done.values:
            effect = doings[place].work
            if isinstance(effect, EcnodeError):
                continue
            try:
                effect.then(value)
            except Exception:  # a dispatcher: it is committed, and the sender is to hear of it
                log.exception("what follows a durable message failed", extra={"peer": peer.name})

    def _reply(self, done: Intaken) -> Answer[BatchReply]:
        body = BatchReply(
            memory=self._memory,
            boot=self._boot,
            taken=done.taken,
            first=done.first,
            fates=tuple(fate.code for fate in done.fates),
            halted=f"{done.halted.code}: {done.halted.message}"[:500] if done.halted else "",
        )
        return Answer(body, tuple(fate.reply for fate in done.fates))


@dataclass(frozen=True, slots=True)
class _Doing:
    """A message that came, and what it does; an error where nothing can be done."""

    digest: bytes
    work: _AnyEffect | EcnodeError

    def run(self, connection: Writing) -> tuple[object, bytes]:
        """As `Arrival.effect`."""
        if isinstance(self.work, EcnodeError):
            raise self.work
        value = self.work.apply(connection)
        packed = pack_value(self.work.reply(value))
        if len(packed) > REPLY_BYTES:
            raise Internal(f"a reply of {len(packed)} bytes", hint=f"at most {REPLY_BYTES} to a durable message")
        return value, packed
