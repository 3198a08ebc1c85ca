"""What do nodes tell the host of a picture that was handed on from one to the next, past the host?

Each picture has a ticket; under it every leg tells its part once. Only the node that the leg was planned for is believed. A leg
whose link to the host goes down will tell nothing any more, and the picture need not wait for its deadline to know.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from node.errors import EcnodeError, Forbidden, NotFound, PeerUnreachable, from_wire
from node.model.cluster import Received
from node.model.wire.compute import COMPUTE_GAVE, ComputeGave, ComputeReply, Leg
from node.transport.base import Answer, Call, Peer, Transport


class Ticket:
    """The legs of one picture, by their first stage."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._legs: dict[str, tuple[str, asyncio.Future[Answer[ComputeReply] | EcnodeError]]] = {}

    def expect(self, legs: Sequence[Leg]) -> None:
        """These may tell something from now on."""
        for leg in legs:
            self._legs[leg.name] = leg.node, asyncio.get_running_loop().create_future()

    async def told(self, stage: str) -> Answer[ComputeReply]:
        """What the leg gave.

        Raises:
            PeerUnreachable: its node went away.
            EcnodeError: what it told instead.
        """
        found = await self._legs[stage][1]
        if isinstance(found, EcnodeError):
            raise found
        return found

    def take(self, peer: str, stage: str, found: Answer[ComputeReply] | EcnodeError) -> None:
        """A leg has told its part; what it tells again changes nothing.

        Raises:
            Forbidden: the leg is not that peer's.
        """
        node, waiting = self._legs.get(stage, ("", None))
        if node != peer or waiting is None:
            raise Forbidden(f"'{stage}' of this picture was not given to '{peer}'")
        if not waiting.done():
            waiting.set_result(found)

    def lost(self, peer: str) -> None:
        """Nothing more comes from that node."""
        for stage, (node, waiting) in self._legs.items():
            if node == peer and not waiting.done():
                waiting.set_result(PeerUnreachable(f"the link to '{peer}' went down before it told of {stage}"))


class Tickets:
    """The tickets of one edge: no more than pictures that are worked on."""

    def __init__(self) -> None:
        self._open: dict[str, Ticket] = {}
        self._life = secrets.token_hex(8)  # what a leg tells of a picture of this node's last life finds no ticket
        self._numbers = count(1)

    def register(self, transport: Transport) -> None:
        """Has the legs listened to; only before the transport starts."""
        transport.answer(COMPUTE_GAVE, self._gave)
        transport.watch(self._link)

    @contextmanager
    def open(self) -> Iterator[Ticket]:
        """A ticket until the end of the block; what is told later is refused."""
        ticket = Ticket(f"{self._life}_{next(self._numbers)}")
        self._open[ticket.name] = ticket
        try:
            yield ticket
        finally:
            del self._open[ticket.name]

    def _gave(self, call: Call, message: ComputeGave) -> Answer[Received]:
        ticket = self._open.get(message.ticket)
        if ticket is None:
            raise NotFound("no picture waits for that any more")
        found = Answer(message.gave, call.blobs) if message.gave is not None else from_wire(message.code, message.message)
        ticket.take(call.peer.name, message.stage, found)
        return Answer(Received())

    def _link(self, peer: Peer, up: bool) -> None:
        if not up:
            for ticket in self._open.values():
                ticket.lost(peer.name)
