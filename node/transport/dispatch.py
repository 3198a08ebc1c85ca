"""Who answers a request, may its sender ask, and what becomes of an exception?

The rules:
- who asks is the peer that the link's key proves, and the dispatcher, not the handler, checks whether its roles may ask;
- a request whose deadline has passed is not executed, a handler that outlives it is cancelled;
- what a peer may have running here is counted by its name over all its links, so that reconnecting gains it nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

from node.clock import Clock
from node.errors import Busy, Conflict, DeadlineExceeded, EcnodeError, Forbidden, Internal, NotFound, Unavailable
from node.model.message import Method
from node.model.value import Value
from node.transport.base import Answer, Call, Handler, Peer
from node.transport.bodies import pack_error, validated
from node.transport.frames import Kind, Message, check_size, pack_body, unpack_body
from node.transport.link import Link
from node.transport.options import LinkOptions

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)

_AnyHandler: TypeAlias = Callable[[Call, Value], Awaitable[Answer[Value]]]


@dataclass(frozen=True, slots=True)
class _Route:
    """A registered handler, its types forgotten: the method's models check them at run time."""

    method: Method[Value, Value]
    handler: _AnyHandler


class Dispatcher:
    """The handlers of one node, and what they are working on."""

    def __init__(self, clock: Clock, options: LinkOptions, cut: Callable[[Link, str], None]) -> None:
        self._clock = clock
        self._options = options
        self._cut = cut
        self._routes: dict[str, _Route] = {}
        self._serving: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, method: Method[Q, R], handler: Handler[Q, R]) -> None:
        """Registers who answers `method`.

        Raises:
            Conflict: somebody does already.
        """
        if method.name in self._routes:
            raise Conflict(f"{method.name} has a handler already", hint="one method, one handler")
        self._routes[method.name] = _Route(cast(Method[Value, Value], method), cast(_AnyHandler, handler))

    async def stop(self) -> None:
        """Cancels what works and waits for its end. Harmless when repeated."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def take(self, link: Link, request: Message) -> None:
        """Has a request answered over the link that it came by."""
        peer = link.peer
        try:
            route = self._admit(peer, request)
        except EcnodeError as error:
            self._reply_error(link, request, error)
            return
        self._serving[peer.name] += 1
        task = asyncio.get_running_loop().create_task(self._serve(link, request, route))
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, peer.name))

    def reply(self, link: Link, message: Message) -> None:
        """Sends an answer of whatever kind, if the one who asked is still there and reads."""
        if link.ended:
            return
        try:
            link.send(message)
        except Unavailable as error:
            if message.kind is Kind.REPLY:
                self.reply(link, Message(Kind.ERROR, message.id, error.code, pack_error(error)))
            elif message.kind is Kind.ERROR:  # not even an error fits: this peer does not read what it asks for
                self._cut(link, "does not read its answers")

    def _admit(self, peer: Peer, request: Message) -> _Route:
        route = self._routes.get(request.word)
        if route is None:
            raise NotFound(f"this node does not answer '{request.word}'", hint="does it have the role, and the release?")
        if not peer.roles & route.method.callers:
            allowed = ", ".join(sorted(route.method.callers))
            raise Forbidden(f"'{peer.name}' may not ask for {request.word}", hint=f"roles that may: {allowed}")
        if self._serving[peer.name] >= self._options.max_in_flight:
            raise Busy(f"{self._serving[peer.name]} calls of {peer.name} are being answered here")
        return route

    async def _serve(self, link: Link, request: Message, route: _Route) -> None:
        try:
            answer = await self._run(link.peer, request, route)
        except EcnodeError as error:
            self._reply_error(link, request, error)
        except Exception:  # the dispatcher: whatever a handler raises becomes an answer
            log.exception("handler failed", extra={"peer": link.peer.name, "method": request.word})
            self._reply_error(link, request, Internal(f"{request.word} failed", hint="the log of that node has the traceback"))
        else:
            self.reply(link, answer)

    async def _run(self, peer: Peer, request: Message, route: _Route) -> Message:
        late = DeadlineExceeded(f"the time for {request.word} ran out", hint="it may or may not have happened")
        remaining = request.deadline - self._clock.monotonic()
        if remaining <= 0:
            raise late
        body = validated(route.method.request, unpack_body(request.body), f"the body of {request.word}")
        try:
            async with self._clock.timeout(remaining):
                answer = await route.handler(Call(peer, request.blobs, request.deadline), body)
        except TimeoutError:
            if self._clock.monotonic() < request.deadline:
                raise  # one of the handler's own: a fault, to be logged
            raise late from None
        if not isinstance(answer.body, route.method.reply):
            raise TypeError(f"the handler of {request.word} gave a {type(answer.body).__name__}")
        reply = Message(Kind.REPLY, request.id, "", pack_body(answer.body.model_dump()), tuple(answer.blobs))
        check_size(reply, self._options.max_message)
        return reply

    def _reply_error(self, link: Link, request: Message, error: EcnodeError) -> None:
        self.reply(link, Message(Kind.ERROR, request.id, error.code, pack_error(error)))

    def _ended(self, task: asyncio.Task[None], peer: str) -> None:
        self._tasks.discard(task)
        release(self._serving, peer)
        if not task.cancelled() and task.exception() is not None:
            log.error("answer not sent", extra={"peer": peer}, exc_info=task.exception())


def release(counter: Counter[str], name: str) -> None:
    """Counts one down, and forgets a name that is at nought."""
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]
