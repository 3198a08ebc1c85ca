"""How is a node's transport put together over ZeroMQ?

One ROUTER per lane on all the listen addresses, if there are any, and a pair of DEALERs per door that the node is told to knock
at, all behind CURVE. Everything runs on the loop that called `start`, but the ZAP thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from typing import TypeVar

from node.clock import Clock
from node.errors import Conflict
from node.model.value import Value
from node.model.wire.method import Method
from node.transport.auth import Directory, Door
from node.transport.base import Answer, Blob, Ear, Handler, LinkState, LinkWatcher
from node.transport.dealer import Dealer
from node.transport.guard import AVAILABLE
from node.transport.inprocess import link_to_self
from node.transport.keys import Identity, key_bytes
from node.transport.options import Dial, LinkOptions
from node.transport.relay import Relayed
from node.transport.router import Router, data_address
from node.transport.rpc import Rpc
from node.transport.sockets import Context, Station, new_context

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)


class ZmqTransport:
    """The `Transport` of real nodes. A stopped one stays stopped."""

    def __init__(  # noqa: PLR0917 - six things that only the composition root brings together
        self,
        identity: Identity,
        directory: Directory,
        listen: Sequence[str],
        dial: Sequence[Dial],
        clock: Clock,
        options: LinkOptions,
    ) -> None:
        for door in dial:
            key_bytes(door.public)
        self._identity = identity
        self._directory = directory
        self._listen = tuple(listen)
        self._dial = tuple(dict.fromkeys(dial))
        self._clock = clock
        self._options = options
        self._rpc = Rpc(clock, options, directory.named)
        self._context: Context | None = None
        self._door: Door | None = None
        self._routers: list[Router] = []
        self._dealers: dict[Dial, Dealer] = {}
        self._dialling: dict[Dial, asyncio.Task[None]] = {}
        self._station: Station | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._watching = contextlib.ExitStack()
        self._started = False

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses that are really bound."""
        return self._routers[0].endpoints if self._routers else ()

    def answer(self, method: Method[Q, R], handler: Handler[Q, R]) -> None:
        """As `Transport.answer`."""
        self._rpc.answer(method, handler)

    def hear(self, method: Method[Q, R], handler: Ear[Q]) -> None:
        """As `Transport.hear`."""
        self._rpc.hear(method, handler)

    def tell(self, peer: str, method: Method[Q, R], body: Q) -> None:
        """As `Transport.tell`."""
        self._rpc.tell(peer, method, body)

    def watch(self, watcher: LinkWatcher) -> None:
        """As `Transport.watch`."""
        self._rpc.watch(watcher)

    def links(self) -> tuple[LinkState, ...]:
        """As `Transport.links`."""
        return self._rpc.links()

    def linked(self, peer: str) -> bool:
        """As `Transport.linked`."""
        return self._rpc.linked(peer)

    @property
    def relayed(self) -> Relayed:
        """What this node has passed on since it was started."""
        return self._rpc.relayed

    def excuse(self, peer: str) -> str:
        """Why there is no link to a peer, as far as it is known."""
        return self._rpc.excuse_of(peer)

    def healthy(self) -> str | None:
        """A sentence that says what is wrong, or None."""
        if self._context is None:
            return "the transport is not running"
        ended = [what for task, what in self._tasks.items() if task.done()]
        if ended:
            return f"ended by a fault, see the log: {', '.join(ended)}"
        return self._rpc.problem() or (self._door.problem() if self._door is not None else None)

    async def start(self) -> None:
        """As `Transport.start`."""
        if self._started:
            raise Conflict("a transport is started once", hint="make a new one")
        self._started = True
        context = self._context = new_context()
        station = Station(context, self._identity, self._directory, self._rpc, self._clock, self._options)
        try:
            if self._listen:
                await self._open_door(station)
            self._station = station
            for door in self._dial:
                self.dial(door)
        except BaseException:
            await self.stop()
            raise
        link_to_self(self._rpc, self._identity.fingerprint, self._clock, self._options)
        self._rpc.start()
        loop = asyncio.get_running_loop()

        def replaced() -> None:
            loop.call_soon_threadsafe(self._recheck)

        self._watching.callback(self._directory.watch(replaced))

    async def stop(self) -> None:
        """As `Transport.stop`."""
        context, self._context = self._context, None
        if context is None:
            return
        self._station = None
        self._watching.close()
        await self._rpc.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for router in self._routers:
            router.stop()
        if self._door is not None:
            self._door.stop()
        context.term()

    def call(
        self, peer: str, method: Method[Q, R], body: Q, *, blobs: Sequence[Blob] = (), timeout: float
    ) -> Coroutine[None, None, Answer[R]]:
        """As `Transport.call`."""
        return self._rpc.call(peer, method, body, blobs=blobs, timeout=timeout)

    def dial(self, door: Dial) -> None:
        """As `Dialler.dial`; while the transport does not run, nothing is dialled."""
        if self._station is not None and door not in self._dealers:
            dealer = self._dealers[door] = Dealer(self._station, door)
            self._dialling[door] = self._begin(dealer.run(), f"dialling {door.address}")

    def undial(self, door: Dial) -> None:
        """As `Dialler.undial`."""
        if self._dealers.pop(door, None) is not None:
            task = self._dialling.pop(door)
            task.cancel()
            task.add_done_callback(self._tasks.pop)

    async def _open_door(self, station: Station) -> None:
        door = Door(station.context, station.directory)
        door.start()
        self._door = door
        control = Router(station)
        data = Router(station, control)
        await data.start([data_address(own) for own in self._listen], door.stranger)
        self._routers.append(data)
        await control.start(self._listen, door.stranger)
        control.announce_data(data.endpoints)  # in the same turn of the loop: before the first greeting is read
        self._routers.insert(0, control)
        if AVAILABLE:
            for router in self._routers:
                self._begin(router.watch_memory(), "watching the memory of connections")

    def _begin(self, work: Coroutine[None, None, None], what: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=what)
        task.add_done_callback(_report_end)
        self._tasks[task] = what
        return task

    def _recheck(self) -> None:
        for router in self._routers:
            router.recheck()
        for dealer in self._dealers.values():
            dealer.recheck()


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("task ended", extra={"task": task.get_name()}, exc_info=task.exception())
