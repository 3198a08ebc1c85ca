"""How does one picture go through the stages of its plan?

Each stage runs on this node or on the one that the plan names, on the inputs that it needs of what the stages before it gave.
Neighbouring stages on one node are one call: what only they look at is neither encoded nor sent. From one other node to the
next it goes without coming by here (`legs.py`), where both have a link; each tells this node its own part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from node.clock import Clock
from node.errors import DeadlineExceeded, EcnodeError, Unavailable
from node.model.video import Plan
from node.model.wire.compute import COMPUTE_RUN, ComputeReply, ComputeRequest, Leg, Onward, Pictures, StageCall
from node.pipeline.graph import Graph, Segment, segments
from node.pipeline.stage import SERVICES, inputs_of
from node.roles.edge.credit import FrameCredit
from node.roles.edge.legs import legs_of, wanted_at_host
from node.roles.edge.tickets import Ticket, Tickets
from node.roles.shared.compute_peers import needs_of
from node.roles.shared.compute_service import ComputeService, Frame, PictureBlobs, unpack
from node.roles.shared.link_meter import LinkMeter
from node.transport.base import Answer, Transport


@dataclass(slots=True)
class Run:
    """What the stages gave so far, the seconds each took and the bytes sent away.

    The way to a node and the wait there count with the first of the stages that run there in one call; `hop_s` is the way
    alone. `stage` is the first one of the call that was begun last: where the picture is, or where it was lost; of branches,
    where one was `lost`. To the `direct` ones their input came straight from the node before.
    """

    values: dict[str, JsonValue] = field(default_factory=dict)
    pictures: dict[str, Sequence[bytes | bytearray | memoryview]] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)
    hop_s: dict[str, float] = field(default_factory=dict)
    direct: set[str] = field(default_factory=set)
    bytes_moved: int = 0
    stage: str = ""
    lost: bool = False

    def add(self, values: Mapping[str, JsonValue], pictures: PictureBlobs) -> None:
        """Takes over what a stage gave."""
        self.values.update(values)
        self.pictures.update(pictures)


@dataclass(frozen=True, slots=True)
class _Walk:
    """One picture of a query, and until when it is of use. `handed` says of the stages that begin a leg when it was taken."""

    query: str
    graph: Graph
    plan: Plan
    calls: Sequence[Segment]
    frame: Frame
    deadline: float
    ticket: Ticket
    handed: dict[str, float] = field(default_factory=dict)


class StageRunner:
    """Runs pictures through pipelines from the node called `here`."""

    def __init__(
        self,
        here: str,
        compute: ComputeService,
        transport: Transport,
        clock: Clock,
        credit: FrameCredit | None = None,
        *,
        meter: LinkMeter | None = None,
    ) -> None:
        self.here = here
        self._compute = compute
        self._transport = transport
        self._clock = clock
        self.credit = credit or FrameCredit()
        self._meter = meter
        self._tickets = Tickets()

    def register(self) -> None:
        """Has the legs of pictures listened to; only before the transport starts."""
        self._tickets.register(self._transport)

    def frame_leaves(self, pipeline: Sequence[str], plan: Plan) -> bool:
        """Whether a stage that needs the whole picture runs elsewhere, so that it is better encoded when it is taken."""
        return any(plan.flow_mapping[stage].node != self.here and "image" in SERVICES[stage].needs for stage in pipeline)

    async def run(self, query: str, graph: Graph, plan: Plan, frame: Frame, *, deadline: float, run: Run) -> None:
        """Fills `run` call by call, branches at once; what is in it stays true where a stage fails.

        Raises:
            Superseded: a newer picture of the query took its place on the way to another node.
            Unavailable: a node, a worker or the time was lacking.
            Rejected: a service refused its inputs.
        """
        calls = segments(graph, tuple(plan.flow_mapping[stage].node for stage in graph.stages))
        with self._tickets.open() as ticket:
            walk = _Walk(query, graph, plan, calls, frame, deadline, ticket)
            if not graph.forks:
                for place in range(len(calls)):
                    await self._step(walk, place, run)
                return
            gave = [Run() for _ in calls]
            try:
                await self._branches(walk, gave)
            finally:
                _join(graph, calls, gave, run)

    async def _branches(self, walk: _Walk, gave: Sequence[Run]) -> None:
        """Every call as soon as those are done that it takes from; the first failure ends the others."""
        calls = walk.calls

        async def after(place: int) -> None:
            if calls[place].before:
                await asyncio.wait([tasks[one] for one in calls[place].before])
            seen = walk.graph.behind[calls[place].stages[0]]
            for one, (segment, given) in enumerate(zip(calls, gave, strict=True)):
                if one != place and seen.issuperset(segment.stages):
                    gave[place].values |= given.values
                    gave[place].pictures |= given.pictures
            try:
                await self._step(walk, place, gave[place])
            except EcnodeError:
                gave[place].lost = True
                raise

        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as branches:
                for place in range(len(calls)):
                    tasks.append(branches.create_task(after(place)))
        except* EcnodeError as faults:
            lost = next(fault for fault in faults.exceptions if isinstance(fault, EcnodeError))
            raise lost from None

    async def _step(self, walk: _Walk, place: int, run: Run) -> None:
        """One call, on what is in `run`."""
        segment = walk.calls[place]
        began = self._clock.monotonic()
        here = segment.stages
        run.stage = here[0]
        if segment.node == self.here:
            own = await self._run_here(walk, segment, run)
            spent = self._clock.monotonic() - began
        elif here[0] in walk.handed:
            own, there = await self._told_by_leg(walk, place, run)
            spent = self._clock.monotonic() - walk.handed[here[0]]
            run.hop_s[here[0]] = max(spent - there, 0.0)
            run.direct.add(here[0])
        else:
            async with self.credit.spend(segment.node, f"{walk.query}/{here[0]}"):
                own, there, handing = await self._run_elsewhere(walk, place, run)
            spent = self._clock.monotonic() - began - handing
            run.hop_s[here[0]] = max(spent - there, 0.0)
        run.stage_s.update(zip(here[1:], own[1:], strict=True))
        run.stage_s[here[0]] = max(own[0], spent - sum(own[1:]))

    async def _run_here(self, walk: _Walk, segment: Segment, run: Run) -> Sequence[float]:
        outcome = await self._compute.call(
            _calls(walk, segment),
            run.values,
            run.pictures,
            wanted=segment.wanted,
            frame=walk.frame,
            stream=walk.query,
            deadline=walk.deadline,
        )
        run.add(outcome.values, outcome.pictures)
        return outcome.stage_seconds

    async def _run_elsewhere(self, walk: _Walk, place: int, run: Run) -> tuple[Sequence[float], float, float]:
        """Each stage's own seconds, how long the picture was there, and how long it took to hand it on from there."""
        frame, segment = walk.frame, walk.calls[place]
        node, stages = segment.node, _calls(walk, segment)
        specs = [SERVICES[stage] for stage in segment.stages]
        needs = inputs_of(specs)
        pictures = {name: given for name, given in run.pictures.items() if name in needs}
        if "image" in needs:
            if frame.encoding != "jpeg":
                raise Unavailable("the frame was taken under a plan that kept it on this node")
            pictures["image"] = (frame.lease.read(frame.size),)
        legs = legs_of(walk.graph, walk.calls, place, walk.plan, self.here)
        carried = needs | needs_of(legs)
        wanted = wanted_at_host(walk.graph, walk.calls, place, walk.plan, self.here)
        request = ComputeRequest(
            stages=stages,
            values={name: value for name, value in run.values.items() if name in carried},
            pictures=tuple(Pictures(name=name, count=len(given)) for name, given in pictures.items()),
            wanted=tuple(sorted(wanted)),
            stream=walk.query if any(spec.remembers for spec in specs) else "",
            onward=Onward(ticket=walk.ticket.name, legs=legs) if legs else None,
        )
        walk.ticket.expect(legs)
        blobs = [blob for given in pictures.values() for blob in given]
        run.bytes_moved += sum(len(blob) for blob in blobs)
        began = self._clock.monotonic()
        timeout = max(walk.deadline - began, 0.001)
        answer = await self._transport.call(node, COMPUTE_RUN, request, blobs=blobs, timeout=timeout)
        there = self._take(walk, place, legs, answer, run)
        handing = answer.body.hand_seconds
        if self._meter is not None:
            moved = sum(len(blob) for blob in (*blobs, *answer.blobs))
            self._meter.took(node, moved, self._clock.monotonic() - began - there - handing)
        return answer.body.stage_seconds, there, handing

    async def _told_by_leg(self, walk: _Walk, place: int, run: Run) -> tuple[Sequence[float], float]:
        """What `_run_elsewhere` gives of a call that the node before has handed on."""
        segment = walk.calls[place]
        try:
            async with self._clock.timeout(walk.deadline - self._clock.monotonic()):
                answer = await walk.ticket.told(segment.stages[0])
        except TimeoutError as error:
            raise DeadlineExceeded(f"'{segment.node}' told nothing of {segment.stages[0]} in time") from error
        legs = legs_of(walk.graph, walk.calls, place, walk.plan, self.here)
        return answer.body.stage_seconds, self._take(walk, place, legs, answer, run)

    def _take(self, walk: _Walk, place: int, legs: Sequence[Leg], answer: Answer[ComputeReply], run: Run) -> float:
        """Takes over what a call on another node gave: how long the picture was there."""
        segment, told = walk.calls[place], answer.body
        if len(told.stage_seconds) != len(segment.stages):
            raise Unavailable(f"'{segment.node}' told {len(told.stage_seconds)} times for {len(segment.stages)} stages")
        # a peer adds what its stages are for, nothing else
        gives = frozenset[str]().union(*(SERVICES[stage].gives for stage in segment.stages))
        asked = wanted_at_host(walk.graph, walk.calls, place, walk.plan, self.here)
        direct = [leg for leg in legs if not leg.after]
        asked |= needs_of([leg for leg in direct if leg.name not in told.handed])
        came = unpack(told.pictures, answer.blobs)
        run.add(
            {name: value for name, value in told.values.items() if name in gives},
            {name: given for name, given in came.items() if name in asked & gives},
        )
        began = self._clock.monotonic() - told.hand_seconds
        walk.handed.update((leg.name, began) for leg in direct if leg.name in told.handed)
        return sum(told.stage_seconds) + told.decode_seconds + told.wait_seconds


def _calls(walk: _Walk, segment: Segment) -> tuple[StageCall, ...]:
    mapping = walk.plan.flow_mapping
    return tuple(StageCall(service=stage, model_id=mapping[stage].model_id) for stage in segment.stages)


def _join(graph: Graph, calls: Sequence[Segment], gave: Sequence[Run], run: Run) -> None:
    """What all branches gave; a name that several give last carries the stage's name in front of it."""
    for segment, given in zip(calls, gave, strict=True):
        run.stage_s |= given.stage_s
        run.hop_s |= given.hop_s
        run.direct |= given.direct
        run.bytes_moved += given.bytes_moved
        run.stage = given.stage if given.lost else run.stage
        if segment.stages[0] in given.stage_s:
            own = frozenset[str]().union(*(SERVICES[stage].gives for stage in segment.stages))
            run.values |= {name: value for name, value in given.values.items() if name in own}
            for stage in segment.stages:
                mine = [name for name, stages in graph.doubled.items() if stage in stages and name in given.values]
                run.values |= {f"{stage}_{name}": given.values[name] for name in mine}
    for name in graph.doubled:
        run.values.pop(name, None)
