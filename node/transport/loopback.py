"""How do nodes talk that live in one process?

The same core, the same frames and the same limits as over ZeroMQ, without a socket: every started transport of a hub has a
link to every other one. For tests and for small set-ups in one process; nothing here leaves it, so there are no keys.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from typing import TypeVar

from node.clock import Clock
from node.errors import Conflict
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Method
from node.transport.base import Answer, Blob, Ear, Handler, LinkState, LinkWatcher, Peer
from node.transport.inprocess import InProcessWire, link_to_self
from node.transport.keys import fingerprint_of_bytes
from node.transport.options import Dial, LinkOptions
from node.transport.relay import Relayed
from node.transport.rpc import Rpc

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)


class LoopbackHub:
    """The place where the transports of one process meet."""

    def __init__(self) -> None:
        self._started: dict[str, LoopbackTransport] = {}

    def transport(
        self, name: str, roles: Collection[Role], clock: Clock, options: LinkOptions | None = None
    ) -> LoopbackTransport:
        """A transport for the node `name`; the others see it with these roles."""
        peer = Peer(name, frozenset(roles), fingerprint_of_bytes(name.encode()))
        return LoopbackTransport(self, peer, clock, options or LinkOptions(name))

    def join(self, newcomer: LoopbackTransport) -> None:
        """Links a transport that has just started to all others.

        Raises:
            Conflict: the name is taken.
        """
        if newcomer.peer.name in self._started:
            raise Conflict(f"a node '{newcomer.peer.name}' is on this hub already")
        others = tuple(self._started.values())
        self._started[newcomer.peer.name] = newcomer
        for other in others:
            here = InProcessWire(newcomer.rpc, newcomer.clock, newcomer.options)
            there = InProcessWire(other.rpc, other.clock, other.options)
            here.far, there.far = there, here
            here.link = newcomer.rpc.attach(here, other.peer, data=here)
            there.link = other.rpc.attach(there, newcomer.peer, data=there)

    def leave(self, leaver: LoopbackTransport) -> None:
        """Forgets a transport that has stopped. Harmless when repeated."""
        if self._started.get(leaver.peer.name) is leaver:
            del self._started[leaver.peer.name]


class LoopbackTransport:
    """The `Transport` of a node on a hub. A stopped one stays stopped."""

    def __init__(self, hub: LoopbackHub, peer: Peer, clock: Clock, options: LinkOptions) -> None:
        self.peer = peer
        self.clock = clock
        self.options = options
        self.rpc = Rpc(clock, options)
        self._hub = hub
        self._started = False

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Nothing is bound."""
        return ()

    def answer(self, method: Method[Q, R], handler: Handler[Q, R]) -> None:
        """As `Transport.answer`."""
        self.rpc.answer(method, handler)

    def hear(self, method: Method[Q, R], handler: Ear[Q]) -> None:
        """As `Transport.hear`."""
        self.rpc.hear(method, handler)

    def tell(self, peer: str, method: Method[Q, R], body: Q) -> None:
        """As `Transport.tell`."""
        self.rpc.tell(peer, method, body)

    def watch(self, watcher: LinkWatcher) -> None:
        """As `Transport.watch`."""
        self.rpc.watch(watcher)

    def links(self) -> tuple[LinkState, ...]:
        """As `Transport.links`."""
        return self.rpc.links()

    def linked(self, peer: str) -> bool:
        """As `Transport.linked`."""
        return self.rpc.linked(peer)

    def dial(self, door: Dial) -> None:
        """Nothing to do: on a hub everybody is linked to everybody."""

    def undial(self, door: Dial) -> None:
        """As `dial`."""

    @property
    def relayed(self) -> Relayed:
        """What this node has passed on since it was started."""
        return self.rpc.relayed

    def excuse(self, peer: str) -> str:
        """Why there is no link to a peer, as far as it is known."""
        return self.rpc.excuse_of(peer)

    def healthy(self) -> str | None:
        """A sentence that says what is wrong, or None."""
        return self.rpc.problem()

    async def start(self) -> None:
        """As `Transport.start`."""
        if self._started:
            raise Conflict("a transport is started once", hint="make a new one")
        self._started = True
        self._hub.join(self)
        link_to_self(self.rpc, self.peer.fingerprint, self.clock, self.options)
        self.rpc.start()

    async def stop(self) -> None:
        """As `Transport.stop`."""
        self._hub.leave(self)
        await self.rpc.stop()

    def call(
        self, peer: str, method: Method[Q, R], body: Q, *, blobs: Sequence[Blob] = (), timeout: float
    ) -> Coroutine[None, None, Answer[R]]:
        """As `Transport.call`."""
        return self.rpc.call(peer, method, body, blobs=blobs, timeout=timeout)
