"""How does a message arrive for certain, and take effect once?

What a role uses: `send` returns when the message is on this node's disk, and from then on it arrives, whatever is killed or cut
in between, in the order of the sends to that peer. The peer applies it once, in one transaction with its inbox row and reply.
A role declares `durable=True` on the method, the receiver registers an `Effect`, and that is all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar, cast

from node.clock import Clock
from node.errors import Busy, EcnodeError, Internal, TooLarge
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.delivery import DELIVERY_TAKE
from node.model.wire.method import Method
from node.roles.shared.courier import BODY_BYTES, Courier, Desk, Pace, Receipt
from node.roles.shared.intake import Counts, DurableHandler, Effect, Intake
from node.storage import Store
from node.storage.connection import Writing
from node.storage.outbox import PEERS_MOST, OutboxStream, Outgoing, Posted
from node.transport.base import Peer, Transport
from node.transport.bodies import pack_value

__all__ = ["Delivery", "Effect", "Pace", "Receipt"]

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)
T = TypeVar("T")

OVERHEAD_BYTES: Final = 16 * 1024  # header and `Batch` of a message that carries one body


class Delivery:
    """Durable messages of one node, both ways; made by `open`."""

    def __init__(self, desk: Desk, intake: Intake, streams: tuple[OutboxStream, ...], body_bytes: int) -> None:
        self._desk = desk
        self._intake = intake
        self._body_bytes = body_bytes
        self._couriers = {stream.peer: Courier(stream, desk) for stream in streams}

    @classmethod
    async def open(
        cls, store: Store, transport: Transport, clock: Clock, boot: int, *, max_message: int, pace: Pace | None = None
    ) -> Delivery:
        """Finds what waits from earlier lives, and registers with the transport, which has not started yet.

        `boot` is the epoch of this start, `max_message` what the transport carries at the most.

        Raises:
            StorageFailed: the disk cannot be read.
        """
        memory = await store.cluster.memory()
        streams = await store.outbox.streams()
        desk = Desk(store.outbox, transport, clock, pace or Pace(), memory, boot, os.urandom(16).hex())
        delivery = cls(desk, Intake(store.inbox, memory, boot), streams, min(BODY_BYTES, max_message - OVERHEAD_BYTES))
        transport.answer(DELIVERY_TAKE, delivery._intake.take)
        transport.watch(delivery._link)
        return delivery

    def answer(self, method: Method[Q, R], handler: DurableHandler[Q, T, R]) -> None:
        """Registers who answers a durable `method`; only before the transport starts.

        Raises:
            Conflict: somebody does already.
            Internal: the method is not durable.
        """
        _check(method)
        self._intake.answer(method, handler)

    async def send(self, peer: str, method: Method[Q, R], body: Q) -> Receipt[R]:
        """Accepts a message for `peer`, which need not be there: it is on the disk when this returns, and is sent at once.

        Raises:
            Busy: too much waits for that peer, or for the disk.
            TooLarge: the body is above what one message carries.
            Stale: that peer refuses this node's memory as a copy.
            StorageFailed: the disk did not take it.
        """
        _, receipt = await self.post(lambda _: None, peer, method, body)
        return receipt

    async def post(self, alongside: Callable[[Writing], T], peer: str, method: Method[Q, R], body: Q) -> tuple[T, Receipt[R]]:
        """As `send`, in one transaction with the change `alongside`: both are kept, or neither. Gives what the change gave.

        Raises:
            Exception: what `alongside` raised.
        """
        _check(method)
        packed = pack_value(body)
        if len(packed) > self._body_bytes:
            raise TooLarge(
                f"a durable message of {len(packed)} bytes", hint=f"at most {self._body_bytes}; files travel as blobs"
            )
        courier = self._courier(peer)
        if courier.refused is not None:
            raise _again(courier.refused)
        receipt = Receipt(cast("Method[Value, R]", method))
        accepted = self._desk.outbox.post(Outgoing(peer, method.name, packed), self._desk.boot, alongside)
        # the courier hears of the commit even where nobody waits for it here any more
        accepted.add_done_callback(cast("Callable[[asyncio.Future[Posted[T]]], None]", partial(courier.committed, receipt)))
        posted = await asyncio.shield(accepted)
        return posted.value, receipt

    async def drop(self, peer: str) -> int:
        """Forgets what waits for a peer that was put out for good; gives the number of messages.

        Raises:
            StorageFailed: the disk did not take it; nothing was forgotten.
        """
        courier = self._couriers.get(peer)
        return 0 if courier is None else await courier.drop()

    async def stop(self) -> None:
        """Ends the sending; what waits is sent after the next start. Harmless when repeated."""
        await asyncio.gather(*(courier.stop() for courier in self._couriers.values()))

    # What the node tells of it

    @property
    def waiting(self) -> int:
        """Accepted messages that are not acknowledged."""
        return sum(courier.waiting for courier in self._couriers.values())

    @property
    def rejected(self) -> int:
        """Messages that their peer has refused for good since the start."""
        return sum(courier.rejected for courier in self._couriers.values())

    @property
    def counts(self) -> Counts:
        """What came in since the start."""
        return self._intake.counts

    def healthy(self) -> str | None:
        """A sentence where a peer refuses this node's memory, else None."""
        for courier in self._couriers.values():
            if (error := courier.refused) is not None:
                return f"'{courier.peer}' refuses the durable messages of this node: {error.message}; {error.hint}"
        return None

    def _courier(self, peer: str) -> Courier:
        courier = self._couriers.get(peer)
        if courier is None:
            if len(self._couriers) >= PEERS_MOST:
                raise Busy(f"durable messages for {PEERS_MOST} peers are kept already")
            courier = self._couriers[peer] = Courier(OutboxStream(peer), self._desk)
        return courier

    def _link(self, peer: Peer, up: bool) -> None:
        if not up:
            return
        for name, courier in self._couriers.items():
            if name == peer.name or (courier.waiting and Role.CLOUD in peer.roles):  # a cloud may be the way to any of them
                courier.linked()


def _check(method: Method[Q, R]) -> None:
    if not method.durable:
        raise Internal(f"{method.name} is not durable", hint="say durable=True where the method is declared, or call it")


def _again(error: EcnodeError) -> EcnodeError:
    return type(error)(error.message, hint=error.hint)
