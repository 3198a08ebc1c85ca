"""What may the rest of the program ask of a transport?

Two implementations keep this contract: `zmq` (ROUTER/DEALER over CURVE) and `loopback` (one process, no socket); one
suite of tests runs over both. A link is symmetrical: whoever dialled, either side may call the other over it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from node.model.value import Value
from node.model.wire.method import Caller, Method
from node.transport.options import Dial

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)
R_co = TypeVar("R_co", bound=Value, covariant=True)

Blob: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Peer:
    """An admitted node. All of it comes from the record of its key, never from a message.

    `sessions` are the private sessions that it may take part in; none: any.
    """

    name: str
    roles: frozenset[Caller]
    fingerprint: str
    sessions: frozenset[str] = frozenset()


class Call(NamedTuple):
    """What a handler knows besides the body: who asks, the blobs, and the clock's time after which nobody waits."""

    peer: Peer
    blobs: tuple[Blob, ...]
    deadline: float


class Answer(NamedTuple, Generic[R_co]):
    """A reply: a body and its blobs."""

    body: R_co
    blobs: tuple[Blob, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkState:
    """One live link: round trip of the newest heartbeat in seconds, bytes since the link came up."""

    peer: Peer
    rtt_s: float
    bytes_out: int
    bytes_in: int


Handler: TypeAlias = Callable[[Call, Q], Awaitable[Answer[R]] | Answer[R]]
"""A coroutine function, or a plain one where there is nothing to wait for: that spares a task."""
Ear: TypeAlias = Callable[[Call, Q], None]
LinkWatcher: TypeAlias = Callable[[Peer, bool], None]


class Transport(Protocol):
    """Typed calls between admitted peers."""

    def answer(self, method: Method[Q, R], handler: Handler[Q, R]) -> None:
        """Registers who answers `method`; only before `start`."""

    def hear(self, method: Method[Q, R], handler: Ear[Q]) -> None:
        """Registers who is told of the notes of `method`, at once and without waiting; only before `start`."""

    def watch(self, watcher: LinkWatcher) -> None:
        """Has `watcher(peer, up)` called when a link comes up or goes down; only before `start`."""

    async def start(self) -> None:
        """Binds and dials. Returns once the doors are shut to strangers and open to peers.

        Raises:
            Unavailable: an address is taken, or the self-test of the door failed.
        """

    async def stop(self) -> None:
        """Ends calls in flight, closes every socket. Harmless when repeated."""

    async def call(self, peer: str, method: Method[Q, R], body: Q, *, blobs: Sequence[Blob] = (), timeout: float) -> Answer[R]:
        """Asks `peer` and waits `timeout` seconds at the most.

        Raises:
            PeerUnreachable: no live link, or it went down while waiting.
            DeadlineExceeded: no answer in time.
            Busy: too many calls in flight to that peer.
            TooLarge: the request breaks a limit.
            Rejected, Unavailable: what the handler over there raised.
        """

    def tell(self, peer: str, method: Method[Q, R], body: Q) -> None:
        """Sends `peer` a note: it arrives once or not at all, and nobody answers.

        Raises:
            PeerUnreachable: no live link.
            Busy: the bounded queue to that peer is full; the note is dropped.
            TooLarge: the note breaks a limit.
        """

    def links(self) -> tuple[LinkState, ...]:
        """The live links now."""

    def linked(self, peer: str) -> bool:
        """Whether there is a live link to that peer; without one a cloud passes on what is asked of it."""


class Dialler(Protocol):
    """Doors that a running transport is told to knock at, besides those that it was made with."""

    def dial(self, door: Dial) -> None:
        """Keeps a link to that door from now on. Harmless when repeated."""

    def undial(self, door: Dial) -> None:
        """Gives the link up. Harmless where there is none."""
