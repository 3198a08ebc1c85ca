"""How does a typed call become messages, and a message a call of a handler?

The same core sits on every wire. It knows no socket: a wire hands it decoded messages and takes messages from it. What a
request does here is the dispatcher's part.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from node.clock import Clock
from node.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    Malformed,
    PeerUnreachable,
)
from node.model.message import Method
from node.model.value import Value
from node.transport.base import Answer, Blob, Handler, LinkState, LinkWatcher, Peer
from node.transport.bodies import error_of, validated
from node.transport.dispatch import Dispatcher, release
from node.transport.frames import Kind, Message, check_size, pack_body, unpack_body
from node.transport.link import Link, Wire
from node.transport.links import Links
from node.transport.options import LinkOptions

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)


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
        self._dispatcher = Dispatcher(clock, options, self._links.cut)
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._asking: Counter[str] = Counter()
        self._excuses: dict[str, str] = {}
        self._running = False
        self._beat: asyncio.Task[None] | None = None

    # what the owner of the transport asks

    def answer(self, method: Method[Q, R], handler: Handler[Q, R]) -> None:
        """As `Transport.answer`.

        Raises:
            Conflict: the method has a handler, or the transport runs already.
        """
        if self._running:
            raise Conflict(f"the handler of {method.name} cannot be set now", hint="before start")
        self._dispatcher.answer(method, handler)

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
        self._beat = asyncio.get_running_loop().create_task(self._links.beat())

    def problem(self) -> str | None:
        """A sentence that says what is wrong, or None."""
        if self._beat is None or self._beat.done():
            return "no heartbeats are sent: the transport does not run"
        return None

    async def stop(self) -> None:
        """Ends every link, fails what waits, cancels what works. Harmless when repeated."""
        self._running = False
        self._links.end("this node stops")
        await self._dispatcher.stop()
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)

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
        return Answer(validated(method.reply, unpack_body(reply.body), what), reply.blobs)

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
            release(self._asking, peer)

    # what a wire tells

    def attach(self, wire: Wire, peer: Peer) -> Link:
        """A connection of `peer` is ready to carry messages."""
        self._excuses.pop(peer.name, None)
        return self._links.attach(wire, peer)

    def detach(self, link: Link, reason: str) -> None:
        """A connection has ended."""
        self._links.detach(link, reason)

    def excuse(self, peer: str, reason: str) -> bool:
        """Remembers why there is no link to a peer that this node dials, for whoever calls it; True when that is news."""
        before = self._excuses.get(peer)
        self._excuses[peer] = reason
        return before != reason

    def excuse_of(self, peer: str) -> str:
        """Why there is no link to a peer, as far as it is known."""
        return self._excuses.get(peer, "")

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
            self._dispatcher.take(link, message)
        elif message.kind is Kind.PING:
            self._dispatcher.reply(link, Message(Kind.PONG, message.id))
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
            pending.future.set_exception(error_of(message))

    def _told_off(self, link: Link, message: Message) -> None:
        error = error_of(message)
        log.warning(
            "peer refuses this link",
            extra={"peer": link.peer.name, "code": error.code, "reason": error.message, "hint": error.hint},
        )
        self._excuses[link.peer.name] = f"it refused the link: {error.message}"
        self._links.cut(link, error.message)

    def _fail_pending(self, link: Link, reason: str) -> None:
        for pending in self._pending.values():
            if pending.link is link and not pending.future.done():
                pending.future.set_exception(PeerUnreachable(f"the link to '{link.peer.name}' went down: {reason}"))
