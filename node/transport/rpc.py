"""How does a typed call become messages, and a message a call of a handler?

The same core sits on every wire. It knows no socket: a wire hands it decoded messages and takes messages from it. What a
request does here is the dispatcher's part.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias, TypeVar

from node.clock import Clock
from node.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    EcnodeError,
    Malformed,
    PeerUnreachable,
)
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.transport.base import Answer, Blob, Ear, Handler, LinkState, LinkWatcher, Peer
from node.transport.bodies import error_of, pack_value, validated
from node.transport.deadlines import Deadlines
from node.transport.dispatch import Dispatcher, count_down, count_up
from node.transport.frames import Kind, Message, check_size, unpack_body
from node.transport.link import Link, Wire
from node.transport.links import Links
from node.transport.options import LinkOptions
from node.transport.relay import Relay, Relayed

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)


# an enumeration's members are looked up slowly, and every message is compared with them
HELLO, REQUEST, REPLY, ERROR, NOTE, PING = Kind.HELLO, Kind.REQUEST, Kind.REPLY, Kind.ERROR, Kind.NOTE, Kind.PING
NOTE_LIFE_S: Final = 5.0  # a note that could not leave for so long is of no use to anybody


_Pending: TypeAlias = tuple[Link, asyncio.Future[Message], Message, Lane]
"""A call that waits for its answer: the link it went over, the answer, the request, the lane."""


class Rpc:
    """Calls and answers over any number of links. `known` tells who has a name in the directory of this node."""

    def __init__(self, clock: Clock, options: LinkOptions, known: Callable[[str], Peer | None] = lambda _: None) -> None:
        self._clock = clock
        self._options = options
        self._links = Links(clock, options, self._fail_pending)
        self._dispatcher = Dispatcher(clock, options, self._links.detach)
        self._relay = Relay(self, self._dispatcher, clock, options, known)
        self._links.watch(self._relay.link)
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._deadlines: Deadlines[int] = Deadlines(clock, self._too_late)
        self._asking: dict[str, int] = {}
        self._most = {lane: options.most(lane) for lane in Lane}
        self._excuses: dict[str, str] = {}
        self._told: Value | None = None
        self._told_packed = b""
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

    def hear(self, method: Method[Q, R], handler: Ear[Q]) -> None:
        """As `Transport.hear`.

        Raises:
            Conflict: the method has a handler, or the transport runs already.
        """
        if self._running:
            raise Conflict(f"the handler of {method.name} cannot be set now", hint="before start")
        self._dispatcher.listen(method, handler)

    def tell(self, peer: str, method: Method[Q, R], body: Q) -> None:
        """As `Transport.tell`."""
        link = self._links.find(peer)
        if link is None:
            raise PeerUnreachable(f"no live link to '{peer}'", hint=self._excuses.get(peer, ""))
        if body is not self._told:  # a cloud tells a thousand members the same
            self._told, self._told_packed = body, pack_value(body)
        note = Message(NOTE, 0, method.name, self._told_packed, (), self._clock.monotonic() + NOTE_LIFE_S)
        check_size(note, self._most[method.lane])
        link.send(note, method.lane)

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

    def linked(self, peer: str) -> bool:
        """Whether there is a live link to that peer."""
        return self._links.find(peer) is not None

    @property
    def relayed(self) -> Relayed:
        """What this node has passed on since it was started."""
        return self._relay.relayed

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
        self._deadlines.close()
        await self._dispatcher.stop()
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)

    async def call(self, peer: str, method: Method[Q, R], body: Q, *, blobs: Sequence[Blob] = (), timeout: float) -> Answer[R]:
        """As `Transport.call`."""
        link = self._links.find(peer)
        if link is None:
            return await self._relay.call(peer, method, body, blobs=blobs, timeout=timeout)
        if timeout <= 0:
            raise DeadlineExceeded(f"no time left to ask {peer} for {method.name}")
        asking = self._asking.get(peer, 0)
        if asking >= self._options.max_in_flight:
            raise Busy(f"{asking} calls to {peer} are in flight", hint="repeat it when one has ended")
        deadline = self._clock.monotonic() + timeout
        request = Message(REQUEST, next(self._ids), method.name, pack_value(body), tuple(blobs), deadline)
        check_size(request, self._most[method.lane])
        future = self._expect(link, request, method.lane)
        try:
            link.send(request, method.lane, at_once=not asking)
            reply = await future
        except EcnodeError:
            if future.done():
                future.exception()  # sending may have failed in two ways at once: one of them was raised already
            raise
        finally:
            self._forget(request.id, peer)
        what = f"the reply of {peer} to {method.name}"
        return Answer(validated(method.reply, unpack_body(reply.body), what), reply.blobs)

    def _expect(self, link: Link, request: Message, lane: Lane) -> asyncio.Future[Message]:
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[request.id] = (link, future, request, lane)
        self._deadlines.add(request.id, request.deadline)
        count_up(self._asking, link.peer.name)
        return future

    def _forget(self, number: int, peer: str) -> None:
        self._deadlines.remove(number)
        del self._pending[number]
        count_down(self._asking, peer)

    # what a wire tells

    def attach(self, wire: Wire, peer: Peer, data: Wire | None = None) -> Link:
        """A control connection of `peer` is ready to carry messages; `data` may come later."""
        self._excuses.pop(peer.name, None)
        return self._links.attach(wire, peer, data)

    def attach_data(self, link: Link, wire: Wire) -> None:
        """The data connection of a link is ready."""
        self._excuses.pop(link.peer.name, None)
        self._links.attach_data(link, wire)

    def detach_data(self, link: Link, wire: Wire, reason: str) -> None:
        """The data connection of a link has ended; the link may get another one."""
        self._links.detach_data(link, wire, reason)

    def detach(self, link: Link, reason: str) -> None:
        """The control connection has ended, and with it the link."""
        self._links.detach(link, reason)

    def excuse(self, peer: str, reason: str) -> bool:
        """Remembers why there is no link to a peer that this node dials, for whoever calls it; True when that is news."""
        before = self._excuses.get(peer)
        self._excuses[peer] = reason
        return before != reason

    def excuse_of(self, peer: str) -> str:
        """Why there is no link to a peer, as far as it is known."""
        return self._excuses.get(peer, "")

    def receive(self, link: Link, message: Message, lane: Lane = Lane.CONTROL) -> None:
        """A message has come over that lane of `link`.

        Raises:
            Malformed: it has no place in the conversation; the wire counts such strikes.
        """
        if link.ended:
            return
        link.heard = self._clock.monotonic()
        link.bytes_in += message.size
        kind = message.kind
        if kind is HELLO:
            self._links.greeted(link, message)
        elif kind is ERROR and message.id == 0:
            self._told_off(link, message)
        elif not link.greeted:
            raise Malformed("a message before the greeting", hint="HELLO opens every link")
        elif kind is REQUEST:
            self._dispatcher.take(link, message, lane)
        elif kind is REPLY or kind is ERROR:
            self._settle(link, message)
        elif kind is NOTE:
            self._dispatcher.hear(link, message)
        elif kind is PING:
            self._dispatcher.reply(link, Message(Kind.PONG, message.id), lane)
        else:
            self._links.ponged(link, message)

    def _settle(self, link: Link, message: Message) -> None:
        asked, future, _, _ = self._pending.get(message.id, (None, None, None, None))
        # a late answer has nobody waiting; an answer of somebody else than the one asked is no answer
        if asked is None or future is None or future.done() or asked.peer.name != link.peer.name:
            return
        if message.kind is REPLY:
            future.set_result(message)
        else:
            future.set_exception(error_of(message))

    def _told_off(self, link: Link, message: Message) -> None:
        error = error_of(message)
        log.warning(
            "peer refuses this link",
            extra={"peer": link.peer.name, "code": error.code, "reason": error.message, "hint": error.hint},
        )
        self._excuses[link.peer.name] = f"it refused the link: {error.message}"
        self._links.detach(link, error.message)

    def _too_late(self, number: int) -> None:
        link, future, request, _ = self._pending[number]
        if not future.done():
            future.set_exception(DeadlineExceeded(f"{link.peer.name} did not answer {request.word} in time"))

    def _fail_pending(self, link: Link, reason: str, lanes: Collection[Lane]) -> None:
        for asked, future, _, lane in self._pending.values():
            if asked is link and lane in lanes and not future.done():
                future.set_exception(PeerUnreachable(f"the link to '{link.peer.name}' went down: {reason}"))
