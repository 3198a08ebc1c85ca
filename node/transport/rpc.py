"""How does a typed call become messages, and a message a call of a handler?

The same core sits on every wire. It knows no socket: a wire hands it decoded messages and takes messages from it. The rules:
- who asks is the peer that the link's key proves, and the dispatcher, not the handler, checks whether its roles may ask;
- a request whose deadline has passed is not executed, a handler that outlives it is cancelled;
- what a peer may have running here is counted by its name over all its links, so that reconnecting gains it nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

from pydantic import ValidationError

from node.clock import Clock
from node.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    EcnodeError,
    Forbidden,
    Internal,
    Invalid,
    Malformed,
    NotFound,
    PeerUnreachable,
    Problem,
    Unavailable,
    from_wire,
)
from node.model.message import Method
from node.model.value import Value
from node.transport import limits
from node.transport.base import Answer, Blob, Call, Handler, LinkState, LinkWatcher, Peer
from node.transport.frames import Kind, Message, check_size, pack_body, unpack_body
from node.transport.link import Link, Wire
from node.transport.links import Links, pack_error
from node.transport.options import LinkOptions

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)
V = TypeVar("V", bound=Value)

_REPORTED_FAULTS = 8  # of one document; the rest is counted


_AnyHandler: TypeAlias = Callable[[Call, Value], Awaitable[Answer[Value]]]


@dataclass(frozen=True, slots=True)
class _Route:
    """A registered handler, its types forgotten: the method's models check them at run time."""

    method: Method[Value, Value]
    handler: _AnyHandler


@dataclass(frozen=True, slots=True)
class _Pending:
    """A call that waits for its answer."""

    link: Link
    future: asyncio.Future[Message]


class Rpc:
    """Calls and answers over any number of links."""

    def __init__(self, clock: Clock, options: LinkOptions) -> None:
        self._clock = clock
        self._options = options
        self._links = Links(clock, options, self._fail_pending)
        self._routes: dict[str, _Route] = {}
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._asking: Counter[str] = Counter()
        self._serving: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._excuses: dict[str, str] = {}
        self._running = False
        self._beat: asyncio.Task[None] | None = None

    # what the owner of the transport asks

    def answer(self, method: Method[Q, R], handler: Handler[Q, R]) -> None:
        """As `Transport.answer`.

        Raises:
            Conflict: the method has a handler, or the transport runs already.
        """
        if self._running or method.name in self._routes:
            raise Conflict(f"the handler of {method.name} cannot be set", hint="once, and before start")
        self._routes[method.name] = _Route(cast(Method[Value, Value], method), cast(_AnyHandler, handler))

    def watch(self, watcher: LinkWatcher) -> None:
        """As `Transport.watch`.

        Raises:
            Conflict: the transport runs already.
        """
        if self._running:
            raise Conflict("a link watcher cannot be added now", hint="before start")
        self._links.watch(watcher)

    def links(self) -> tuple[LinkState, ...]:
        """As `Transport.links`."""
        return self._links.states()

    def start(self) -> None:
        """Starts the heartbeats."""
        self._running = True
        self._beat = self._own(self._links.beat())

    def problem(self) -> str | None:
        """A sentence that says what is wrong, or None."""
        if self._beat is None or self._beat.done():
            return "no heartbeats are sent: the transport does not run"
        return None

    async def stop(self) -> None:
        """Ends every link, fails what waits, cancels what works. Harmless when repeated."""
        self._running = False
        self._links.end("this node stops")
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def call(self, peer: str, method: Method[Q, R], body: Q, *, blobs: Sequence[Blob] = (), timeout: float) -> Answer[R]:
        """As `Transport.call`."""
        deadline = self._clock.monotonic() + timeout
        link = self._links.find(peer)
        if link is None:
            raise PeerUnreachable(f"no live link to '{peer}'", hint=self._excuses.get(peer, ""))
        if timeout <= 0:
            raise DeadlineExceeded(f"no time left to ask {peer} for {method.name}")
        if self._asking[peer] >= self._options.max_in_flight:
            raise Busy(f"{self._asking[peer]} calls to {peer} are in flight", hint="repeat it when one has ended")
        number = next(self._ids)
        message = Message(Kind.REQUEST, number, method.name, pack_body(body.model_dump()), tuple(blobs), deadline)
        check_size(message, self._options.max_message)
        reply = await self._exchange(link, message, method.name, timeout)
        what = f"the reply of {peer} to {method.name}"
        return Answer(_validated(method.reply, unpack_body(reply.body), what), reply.blobs)

    async def _exchange(self, link: Link, request: Message, method: str, timeout: float) -> Message:
        peer = link.peer.name
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[request.id] = _Pending(link, future)
        self._asking[peer] += 1
        try:
            link.send(request)
            async with self._clock.timeout(timeout):
                return await future
        except TimeoutError as error:
            raise DeadlineExceeded(f"{peer} did not answer {method} in {timeout:g} s") from error
        finally:
            del self._pending[request.id]
            if future.done() and not future.cancelled():
                future.exception()  # sending may have failed in two ways at once: one of them was raised already
            _release(self._asking, peer)

    # what a wire tells

    def attach(self, wire: Wire, peer: Peer) -> Link:
        """A connection of `peer` is ready to carry messages."""
        self._excuses.pop(peer.name, None)
        return self._links.attach(wire, peer)

    def detach(self, link: Link, reason: str) -> None:
        """A connection has ended."""
        self._links.detach(link, reason)

    def excuse(self, peer: str, reason: str) -> None:
        """Remembers why there is no link to a peer that this node dials, for whoever calls it."""
        self._excuses[peer] = reason

    def receive(self, link: Link, message: Message) -> None:
        """A message has come over `link`.

        Raises:
            Malformed: it has no place in the conversation; the wire counts such strikes.
        """
        if link.ended:
            return
        link.heard = self._clock.monotonic()
        link.bytes_in += message.size
        if message.kind is Kind.HELLO:
            self._links.greeted(link, message)
        elif message.kind is Kind.ERROR and message.id == 0:
            self._told_off(link, message)
        elif not link.up:
            raise Malformed("a message before the greeting", hint="HELLO opens every link")
        elif message.kind is Kind.REQUEST:
            self._take(link, message)
        elif message.kind is Kind.PING:
            self._reply(link, Message(Kind.PONG, message.id))
        elif message.kind is Kind.PONG:
            self._links.ponged(link, message)
        else:
            self._settle(link, message)

    def _settle(self, link: Link, message: Message) -> None:
        pending = self._pending.get(message.id)
        # a late answer has nobody waiting; an answer of somebody else than the one asked is no answer
        if pending is None or pending.future.done() or pending.link.peer.name != link.peer.name:
            return
        if message.kind is Kind.REPLY:
            pending.future.set_result(message)
        else:
            pending.future.set_exception(_error_of(message))

    def _told_off(self, link: Link, message: Message) -> None:
        error = _error_of(message)
        log.warning(
            "peer refuses this link",
            extra={"peer": link.peer.name, "code": error.code, "reason": error.message, "hint": error.hint},
        )
        self._excuses[link.peer.name] = f"it refused the link: {error.message}"
        self._links.detach(link, error.message)
        link.wire.cut(error.message)

    def _fail_pending(self, link: Link, reason: str) -> None:
        for pending in self._pending.values():
            if pending.link is link and not pending.future.done():
                pending.future.set_exception(PeerUnreachable(f"the link to '{link.peer.name}' went down: {reason}"))

    # the dispatcher

    def _take(self, link: Link, request: Message) -> None:
        peer = link.peer
        try:
            route = self._admit(peer, request)
        except EcnodeError as error:
            self._reply_error(link, request, error)
            return
        self._serving[peer.name] += 1
        task = self._own(self._serve(link, request, route))
        task.add_done_callback(lambda _: _release(self._serving, peer.name))

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
            self._reply(link, answer)

    async def _run(self, peer: Peer, request: Message, route: _Route) -> Message:
        late = DeadlineExceeded(f"the time for {request.word} ran out", hint="it may or may not have happened")
        remaining = request.deadline - self._clock.monotonic()
        if remaining <= 0:
            raise late
        body = _validated(route.method.request, unpack_body(request.body), f"the body of {request.word}")
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

    def _reply(self, link: Link, message: Message) -> None:
        if link.ended:
            return
        try:
            link.send(message)
        except Unavailable as error:
            if message.kind is Kind.REPLY:
                self._reply(link, Message(Kind.ERROR, message.id, error.code, pack_error(error)))
            elif message.kind is Kind.ERROR:  # not even an error fits: this peer does not read what it asks for
                self._links.detach(link, "does not read its answers")
                link.wire.cut("does not read its answers")

    def _reply_error(self, link: Link, request: Message, error: EcnodeError) -> None:
        self._reply(link, Message(Kind.ERROR, request.id, error.code, pack_error(error)))

    def _own(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _release(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]


def _error_of(message: Message) -> EcnodeError:
    match unpack_body(message.body):
        case [str(text), str(hint)]:
            return from_wire(message.word, text[: limits.ERROR_CHARS], hint[: limits.HINT_CHARS])
        case _:
            raise Malformed("an error that does not say what is wrong", hint="[message, hint]")


def _validated(model: type[V], value: object, what: str) -> V:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [Problem(_path(fault["loc"]), fault["msg"][:200]) for fault in faults[:_REPORTED_FAULTS]]
        raise Invalid(f"{what} is wrong in {len(faults)} places", problems=problems) from error


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(step)[:63] for step in location[:8]) or "(whole)"
