"""Who answers a request, may its sender ask, and what becomes of an exception?

The rules:
- who asks is the peer that the link's key proves, and the dispatcher, not the handler, checks whether its roles may ask;
- a request whose deadline has passed is not executed, a handler that outlives it is cancelled;
- what a peer may have running here is counted by its name over all its links, so that reconnecting gains it nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar, cast

from node.clock import Clock
from node.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    EcnodeError,
    Forbidden,
    Internal,
    NotFound,
    PeerUnreachable,
    Unavailable,
)
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.transport.base import Answer, Call, Ear, Handler, Peer
from node.transport.bodies import pack_error, pack_value, validated
from node.transport.deadlines import Deadlines
from node.transport.frames import Kind, Message, check_size, unpack_body
from node.transport.link import Link
from node.transport.options import LinkOptions

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)

REPLY = Kind.REPLY  # an enumeration's members are looked up slowly
_AnyHandler: TypeAlias = Callable[[Call, Value], Awaitable[Answer[Value]] | Answer[Value]]


@dataclass(frozen=True, slots=True)
class _Route:
    """A registered handler, its types forgotten: the method's models check them at run time.

    `what` names its body, `most` bounds its reply.
    """

    method: Method[Value, Value]
    handler: _AnyHandler
    what: str
    most: int


class Dispatcher:
    """The handlers of one node, and what they are working on."""

    def __init__(self, clock: Clock, options: LinkOptions, cut: Callable[[Link, str], None]) -> None:
        self._options = options
        self._cut = cut
        self._routes: dict[str, _Route] = {}
        self._ears: dict[str, tuple[Method[Value, Value], Ear[Value], str]] = {}
        self._serving: dict[str, int] = {}
        self._deadlines: Deadlines[_Work] = Deadlines(clock, _Work.run_out)
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, method: Method[Q, R], handler: Handler[Q, R]) -> None:
        """Registers who answers `method`.

        Raises:
            Conflict: somebody does already.
        """
        if method.name in self._routes:
            raise Conflict(f"{method.name} has a handler already", hint="one method, one handler")
        self._routes[method.name] = _Route(
            cast(Method[Value, Value], method),
            cast(_AnyHandler, handler),
            f"the body of {method.name}",
            self._options.most(method.lane),
        )

    async def stop(self) -> None:
        """Cancels what works and waits for its end. Harmless when repeated."""
        tasks = tuple(self._tasks)
        self._deadlines.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def listen(self, method: Method[Q, R], handler: Ear[Q]) -> None:
        """Registers who is told of notes of `method`.

        Raises:
            Conflict: somebody is already.
        """
        if method.name in self._ears:
            raise Conflict(f"{method.name} has a handler already", hint="one method, one handler")
        what = f"the body of {method.name}"
        self._ears[method.name] = (cast(Method[Value, Value], method), cast(Ear[Value], handler), what)

    def take(self, link: Link, request: Message, lane: Lane) -> None:
        """Has a request answered over the link and lane that it came by."""
        try:
            route = self._admit(link.peer, request)
            if request.deadline <= link.heard:  # the time of this very message
                raise _late(request)
            body = validated(route.method.request, unpack_body(request.body), route.what)
            answer = route.handler(Call(link.peer, request.blobs, request.deadline), body)
            if type(answer) is Answer:
                self.reply(link, self._packed(request, route, answer), lane)
                return
        except EcnodeError as error:
            self._reply_error(link, request, lane, error)
            return
        except Exception:  # noqa: BLE001 - the dispatcher: whatever a handler raises becomes an answer
            self._handler_failed(link, request, lane)
            return
        self._begin(_Work(link, request, lane, route), cast(Awaitable[Answer[Value]], answer))

    async def answer_to(self, peer: Peer, request: Message) -> Message:
        """The reply or the error to a request of `peer` that came by another way than its own link.

        Counted and looked at as one that came by it; its deadline is the part of whoever asks this.
        """
        try:
            route = self._admit(peer, request)
            body = validated(route.method.request, unpack_body(request.body), route.what)
            count_up(self._serving, peer.name)
            try:
                answer = route.handler(Call(peer, request.blobs, request.deadline), body)
                return self._packed(request, route, answer if isinstance(answer, Answer) else await answer)
            finally:
                count_down(self._serving, peer.name)
        except EcnodeError as error:
            return _error(request, error)
        except Exception:  # noqa: BLE001 - the dispatcher: whatever a handler raises becomes an answer
            return _error(request, _failed(peer, request))

    def _begin(self, work: _Work, answer: Awaitable[Answer[Value]]) -> None:
        count_up(self._serving, work.link.peer.name)
        work.task = asyncio.get_running_loop().create_task(self._serve(work, answer))
        self._tasks.add(work.task)
        self._deadlines.add(work, work.request.deadline)
        work.task.add_done_callback(partial(self._ended, work, answer))

    def hear(self, link: Link, note: Message) -> None:
        """Passes a note on; one that nobody here wants, or whose time is over, is dropped.

        Raises:
            Malformed: its body is not of the method.
        """
        ear = self._ears.get(note.word)
        if ear is None or link.peer.roles.isdisjoint(ear[0].callers):
            log.warning("note not wanted", extra={"peer": link.peer.name, "method": note.word})
            return
        if note.deadline <= link.heard:
            return
        method, handler, what = ear
        body = validated(method.request, unpack_body(note.body), what)
        try:
            handler(Call(link.peer, note.blobs, note.deadline), body)
        except Exception:  # the dispatcher: a note has nobody to tell
            log.exception("handler of a note failed", extra={"peer": link.peer.name, "method": note.word})

    def reply(self, link: Link, message: Message, lane: Lane) -> None:
        """Sends an answer of whatever kind, if the one who asked is still there and reads."""
        if link.ended:
            return
        try:
            link.send(message, lane, at_once=self._serving.get(link.peer.name) == 1)
        except PeerUnreachable as error:  # that lane has gone meanwhile: whoever asked over it was told so
            log.debug("answer not sent", extra={"peer": link.peer.name, "reason": error.message})
        except Unavailable as error:
            if message.kind is REPLY:
                self.reply(link, Message(Kind.ERROR, message.id, error.code, pack_error(error)), lane)
            elif message.kind is Kind.ERROR:  # not even an error fits: this peer does not read what it asks for
                self._cut(link, "does not read its answers")

    def _admit(self, peer: Peer, request: Message) -> _Route:
        route = self._routes.get(request.word)
        if route is None:
            raise NotFound(f"this node does not answer '{request.word}'", hint="does it have the role, and the release?")
        if peer.roles.isdisjoint(route.method.callers):
            allowed = ", ".join(sorted(route.method.callers))
            raise Forbidden(f"'{peer.name}' may not ask for {request.word}", hint=f"roles that may: {allowed}")
        serving = self._serving.get(peer.name, 0)
        if serving >= self._options.max_in_flight:
            raise Busy(f"{serving} calls of {peer.name} are being answered here")
        return route

    async def _serve(self, work: _Work, answer: Awaitable[Answer[Value]]) -> None:
        link, request, lane = work.link, work.request, work.lane
        try:
            reply = self._packed(request, work.route, await answer)
        except asyncio.CancelledError:
            if not work.too_late:
                raise
            self._reply_error(link, request, lane, _late(request))
        except EcnodeError as error:
            self._reply_error(link, request, lane, error)
        except Exception:  # noqa: BLE001 - the dispatcher: whatever a handler raises becomes an answer
            self._handler_failed(link, request, lane)
        else:
            self.reply(link, reply, lane)

    def _handler_failed(self, link: Link, request: Message, lane: Lane) -> None:
        self._reply_error(link, request, lane, _failed(link.peer, request))

    def _packed(self, request: Message, route: _Route, answer: Answer[Value]) -> Message:
        if not isinstance(answer.body, route.method.reply):
            raise TypeError(f"the handler of {request.word} gave a {type(answer.body).__name__}")
        reply = Message(REPLY, request.id, "", pack_value(answer.body), tuple(answer.blobs))
        check_size(reply, route.most)
        return reply

    def _reply_error(self, link: Link, request: Message, lane: Lane, error: EcnodeError) -> None:
        self.reply(link, _error(request, error), lane)

    def _ended(self, work: _Work, answer: Awaitable[Answer[Value]], task: asyncio.Task[None]) -> None:
        peer = work.link.peer.name
        self._deadlines.remove(work)
        self._tasks.discard(task)
        count_down(self._serving, peer)
        if task.cancelled():
            if asyncio.iscoroutine(answer):
                answer.close()  # cancelled before its first step, it would complain that nobody ever waited for it
        elif task.exception() is not None:
            log.error("answer not sent", extra={"peer": peer}, exc_info=task.exception())


class _Work:
    """A request that is being answered."""

    __slots__ = ("lane", "link", "request", "route", "task", "too_late")

    task: asyncio.Task[None]

    def __init__(self, link: Link, request: Message, lane: Lane, route: _Route) -> None:
        self.link = link
        self.request = request
        self.lane = lane
        self.route = route
        self.too_late = False

    def run_out(self) -> None:
        """Its time is over: nobody waits for the answer."""
        self.too_late = True
        self.task.cancel()


def _error(request: Message, error: EcnodeError) -> Message:
    return Message(Kind.ERROR, request.id, error.code, pack_error(error))


def _failed(peer: Peer, request: Message) -> Internal:
    """What the other side hears of an exception; the traceback of the one that is handled now stays in this log."""
    log.exception("handler failed", extra={"peer": peer.name, "method": request.word})
    return Internal(f"{request.word} failed", hint="the log of that node has the traceback")


def _late(request: Message) -> DeadlineExceeded:
    return DeadlineExceeded(f"the time for {request.word} ran out", hint="it may or may not have happened")


def count_up(counted: dict[str, int], name: str) -> None:
    """Counts one more; a Counter costs three times as much."""
    counted[name] = counted.get(name, 0) + 1


def count_down(counted: dict[str, int], name: str) -> None:
    """Counts one less, and forgets a name that is at nought."""
    left = counted[name] - 1
    if left > 0:
        counted[name] = left
    else:
        del counted[name]
