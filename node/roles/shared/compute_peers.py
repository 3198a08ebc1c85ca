"""How are stages run for peers, and where does what they give go?

Back to who asked, and where the request names legs, straight on to their nodes: the host of a picture, whose plan this is, does
not have to carry it twice. What cannot be handed on goes back to the host with the rest, and it asks the next node itself.
A leg tells the host its own part, under the host's ticket; that a host is told by the right node is for the host to check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from node.clock import Clock
from node.errors import Busy, EcnodeError, PeerUnreachable
from node.model.cluster import Received
from node.model.wire.compute import (
    COMPUTE_GAVE,
    COMPUTE_HAND,
    COMPUTE_RUN,
    ComputeGave,
    ComputeHand,
    ComputeReply,
    ComputeRequest,
    Leg,
    Onward,
    Pictures,
)
from node.pipeline.stage import PICTURES, SERVICES, inputs_of
from node.roles.shared.compute_service import ComputeService, PictureBlobs, unpack
from node.roles.shared.link_meter import LinkMeter
from node.roles.shared.tasks import begin, end
from node.roles.shared.worker_pool import QUEUE
from node.transport.base import Answer, Blob, Call, Transport

log = logging.getLogger(__name__)

PEERS_SHARE: Final = QUEUE // 2  # of the queue: however many peers ask, a node's own jobs find room
TELLING_S: Final = 1.0  # to tell a host that its picture came to nothing, beyond the picture's own deadline


@dataclass(frozen=True, slots=True)
class _Order:
    """A request of a peer, for the `host` of the picture."""

    host: str
    ticket: str
    request: ComputeRequest
    pictures: PictureBlobs
    stream: str
    deadline: float


class ComputePeers:
    """The services of this node for its peers."""

    def __init__(self, compute: ComputeService, transport: Transport, clock: Clock, meter: LinkMeter | None = None) -> None:
        self._compute = compute
        self._transport = transport
        self._clock = clock
        self._meter = meter
        self._handed: set[asyncio.Task[None]] = set()

    def register(self) -> None:
        """Has peers' calls answered; only before the transport starts."""
        self._transport.answer(COMPUTE_RUN, self._run)
        self._transport.answer(COMPUTE_HAND, self._hand)

    async def stop(self) -> None:
        """Ends what was handed on to this node. Harmless when repeated."""
        await end(*self._handed)

    async def _run(self, call: Call, request: ComputeRequest) -> Answer[ComputeReply]:
        self._check_room(1 if request.spare else PEERS_SHARE)
        ticket = request.onward.ticket if request.onward else ""
        order = _Order(call.peer.name, ticket, request, unpack(request.pictures, call.blobs), call.peer.name, call.deadline)
        return await self._done(order)

    def _hand(self, call: Call, hand: ComputeHand) -> Answer[Received]:
        self._check_room(PEERS_SHARE)
        if len(self._handed) >= PEERS_SHARE:
            raise Busy(f"{PEERS_SHARE} calls were handed on to this node already", hint="give it back")
        if not self._linked(hand.host):
            raise PeerUnreachable(f"no link to '{hand.host}', whose picture this is", hint="give it back")
        pictures = unpack(hand.request.pictures, call.blobs)
        order = _Order(hand.host, hand.ticket, hand.request, pictures, call.peer.name, call.deadline)
        task = begin(self._leg(order), f"stages for {hand.host}")
        self._handed.add(task)
        task.add_done_callback(self._handed.discard)
        return Answer(Received())

    def _check_room(self, most: int) -> None:
        if self._compute.queued >= most:
            raise Busy(f"{self._compute.queued} calls wait here already", hint="run the stage on another node")

    async def _leg(self, order: _Order) -> None:
        """Runs what was handed on to this node and tells the host, whatever comes of it."""
        stage = order.request.stages[0].service
        try:
            gave, blobs = await self._done(order)
            told = ComputeGave(ticket=order.ticket, stage=stage, gave=gave)
        except EcnodeError as error:
            told, blobs = ComputeGave(ticket=order.ticket, stage=stage, code=error.code, message=error.message), ()
        timeout = max(order.deadline - self._clock.monotonic(), TELLING_S)
        try:
            await self._transport.call(order.host, COMPUTE_GAVE, told, blobs=blobs, timeout=timeout)
        except EcnodeError as error:  # it has given the picture up, or is away itself
            log.info("host not told", extra={"peer": order.host, "stage": stage, "reason": error.message})

    async def _done(self, order: _Order) -> Answer[ComputeReply]:
        """The order's own part, once what legs need is with them."""
        request = order.request
        legs = [leg for leg in request.onward.legs if not leg.after] if request.onward else []
        outcome = await self._compute.call(
            request.stages,
            request.values,
            order.pictures,
            wanted={*request.wanted, *needs_of(legs) & PICTURES},
            stream=f"{order.stream}/{request.stream}",  # no peer touches what another one's pictures left
            deadline=order.deadline,
        )
        began = self._clock.monotonic()
        values = {**request.values, **outcome.values}
        handed = [leg for leg in legs if await self._handed_on(order, leg, values, outcome.pictures)]
        kept = {*request.wanted, *needs_of([leg for leg in legs if leg not in handed])}
        back = {name: given for name, given in outcome.pictures.items() if name in kept}
        reply = ComputeReply(
            values=dict(outcome.values),
            pictures=_counts(back),
            stage_seconds=outcome.stage_seconds,
            decode_seconds=outcome.decode_seconds,
            wait_seconds=outcome.wait_seconds,
            handed=tuple(leg.name for leg in handed),
            hand_seconds=self._clock.monotonic() - began if handed else 0.0,
        )
        return Answer(reply, _blobs(back))

    async def _handed_on(self, order: _Order, leg: Leg, values: Mapping[str, JsonValue], pictures: PictureBlobs) -> bool:
        """Whether the leg's node has taken what it needs; only ever over a link between the two."""
        onward = order.request.onward
        if onward is None or not self._linked(leg.node):
            return False
        later = _behind(onward.legs, leg)
        needs = needs_of([leg, *later])
        sent = {name: pictures[name] for name in needs_of([leg]) if name in pictures}
        request = ComputeRequest(
            stages=leg.stages,
            values={name: value for name, value in values.items() if name in needs},
            pictures=_counts(sent),
            wanted=leg.wanted,
            stream=order.request.stream,
            onward=Onward(ticket=onward.ticket, legs=later) if later else None,
        )
        hand, blobs = ComputeHand(host=order.host, ticket=order.ticket, request=request), _blobs(sent)
        began = self._clock.monotonic()
        try:
            await self._transport.call(leg.node, COMPUTE_HAND, hand, blobs=blobs, timeout=max(order.deadline - began, 0.001))
        except EcnodeError as error:
            log.info("stages not handed on", extra={"peer": leg.node, "stage": leg.name, "reason": error.message})
            return False
        if self._meter is not None:
            self._meter.took(leg.node, sum(map(len, blobs)), self._clock.monotonic() - began)
        return True

    def _linked(self, peer: str) -> bool:
        return any(link.peer.name == peer for link in self._transport.links())


def needs_of(legs: Sequence[Leg]) -> frozenset[str]:
    """What legs need from outside, each for itself; of a service that only another node knows, nothing."""
    known = [[SERVICES[stage.service] for stage in leg.stages if stage.service in SERVICES] for leg in legs]
    return frozenset[str]().union(*map(inputs_of, known))


def _behind(legs: Sequence[Leg], first: Leg) -> tuple[Leg, ...]:
    """The legs that take from one, and those that take from them, as that one is told of them."""
    names, found = {first.name}, []
    for leg in legs:
        if leg.after in names:
            names.add(leg.name)
            found.append(leg.replace(after="") if leg.after == first.name else leg)
    return tuple(found)


def _counts(pictures: PictureBlobs) -> tuple[Pictures, ...]:
    return tuple(Pictures(name=name, count=len(given)) for name, given in pictures.items())


def _blobs(pictures: PictureBlobs) -> tuple[Blob, ...]:
    return tuple(blob for given in pictures.values() for blob in given)
