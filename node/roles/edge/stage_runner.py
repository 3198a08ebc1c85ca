"""How does one picture go through the stages of its plan?

Each stage runs on this node or on the one that the plan names, on the inputs that it needs of what the stages before it gave.
Neighbouring stages on one node are one call: what only they look at is neither encoded nor sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from node.clock import Clock
from node.errors import EcnodeError, Unavailable
from node.model.video import Plan
from node.model.wire.compute import COMPUTE_RUN, ComputeRequest, Pictures, StageCall
from node.pipeline.graph import Graph, Segment, segments
from node.pipeline.stage import SERVICES, inputs_of
from node.roles.edge.credit import FrameCredit
from node.roles.shared.compute_service import ComputeService, Frame, PictureBlobs, unpack
from node.roles.shared.link_meter import LinkMeter
from node.transport.base import Transport


@dataclass(slots=True)
class Run:
    """What the stages gave so far, the seconds each took and the bytes sent away.

    The way to a node and the wait there count with the first of the stages that run there in one call; `hop_s` is the way
    alone. `stage` is the first one of the call that was begun last: where the picture is, or where it was lost; of branches,
    where one was `lost`.
    """

    values: dict[str, JsonValue] = field(default_factory=dict)
    pictures: dict[str, Sequence[bytes | bytearray | memoryview]] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)
    hop_s: dict[str, float] = field(default_factory=dict)
    bytes_moved: int = 0
    stage: str = ""
    lost: bool = False

    def add(self, values: Mapping[str, JsonValue], pictures: PictureBlobs) -> None:
        """Takes over what a stage gave."""
        self.values.update(values)
        self.pictures.update(pictures)


@dataclass(frozen=True, slots=True)
class _Walk:
    """One picture of a query, and until when it is of use."""

    query: str
    plan: Plan
    frame: Frame
    deadline: float


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
        walk = _Walk(query, plan, frame, deadline)
        if not graph.forks:
            for segment in calls:
                await self._step(walk, segment, run)
            return
        gave = [Run() for _ in calls]
        try:
            await self._branches(walk, graph, calls, gave)
        finally:
            _join(graph, calls, gave, run)

    async def _branches(self, walk: _Walk, graph: Graph, calls: Sequence[Segment], gave: Sequence[Run]) -> None:
        """Every call as soon as those are done that it takes from; the first failure ends the others."""

        async def after(place: int) -> None:
            if calls[place].before:
                await asyncio.wait([tasks[one] for one in calls[place].before])
            seen = graph.behind[calls[place].stages[0]]
            for one, (segment, given) in enumerate(zip(calls, gave, strict=True)):
                if one != place and seen.issuperset(segment.stages):
                    gave[place].values |= given.values
                    gave[place].pictures |= given.pictures
            try:
                await self._step(walk, calls[place], gave[place])
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

    async def _step(self, walk: _Walk, segment: Segment, run: Run) -> None:
        """One call, on what is in `run`."""
        began = self._clock.monotonic()
        here = segment.stages
        run.stage = here[0]
        mapping = walk.plan.flow_mapping
        calls = tuple(StageCall(service=stage, model_id=mapping[stage].model_id) for stage in here)
        if segment.node == self.here:
            own = await self._run_here(walk, calls, segment.wanted, run)
            spent = self._clock.monotonic() - began
        else:
            async with self.credit.spend(segment.node, f"{walk.query}/{here[0]}"):
                own, there = await self._run_elsewhere(walk, segment.node, calls, segment.wanted, run)
            spent = self._clock.monotonic() - began
            run.hop_s[here[0]] = max(spent - there, 0.0)
        run.stage_s.update(zip(here[1:], own[1:], strict=True))
        run.stage_s[here[0]] = max(own[0], spent - sum(own[1:]))

    async def _run_here(self, walk: _Walk, stages: Sequence[StageCall], wanted: Collection[str], run: Run) -> Sequence[float]:
        outcome = await self._compute.call(
            stages,
            run.values,
            run.pictures,
            wanted=wanted,
            frame=walk.frame,
            stream=walk.query,
            deadline=walk.deadline,
        )
        run.add(outcome.values, outcome.pictures)
        return outcome.stage_seconds

    async def _run_elsewhere(
        self, walk: _Walk, node: str, stages: Sequence[StageCall], wanted: Collection[str], run: Run
    ) -> tuple[Sequence[float], float]:
        """Each stage's own seconds, and how long the picture was there."""
        frame = walk.frame
        specs = [SERVICES[stage.service] for stage in stages]
        needs = inputs_of(specs)
        pictures = {name: given for name, given in run.pictures.items() if name in needs}
        if "image" in needs:
            if frame.encoding != "jpeg":
                raise Unavailable("the frame was taken under a plan that kept it on this node")
            pictures["image"] = (frame.lease.read(frame.size),)
        request = ComputeRequest(
            stages=tuple(stages),
            values={name: value for name, value in run.values.items() if name in needs},
            pictures=tuple(Pictures(name=name, count=len(given)) for name, given in pictures.items()),
            wanted=tuple(sorted(wanted)),
            stream=walk.query if any(spec.remembers for spec in specs) else "",
        )
        blobs = [blob for given in pictures.values() for blob in given]
        run.bytes_moved += sum(len(blob) for blob in blobs)
        began = self._clock.monotonic()
        timeout = max(walk.deadline - began, 0.001)
        answer = await self._transport.call(node, COMPUTE_RUN, request, blobs=blobs, timeout=timeout)
        if len(answer.body.stage_seconds) != len(stages):
            raise Unavailable(f"'{node}' told {len(answer.body.stage_seconds)} times for {len(stages)} stages")
        if self._meter is not None:
            there = sum(answer.body.stage_seconds) + answer.body.decode_seconds + answer.body.wait_seconds
            moved = sum(len(blob) for blob in (*blobs, *answer.blobs))
            self._meter.took(node, moved, self._clock.monotonic() - began - there)
        gives = frozenset[str]().union(*(spec.gives for spec in specs))  # a peer adds what its stages are for, nothing else
        came = unpack(answer.body.pictures, answer.blobs)
        run.add(
            {name: value for name, value in answer.body.values.items() if name in gives},
            {name: given for name, given in came.items() if name in wanted},
        )
        own = answer.body.stage_seconds
        return own, sum(own) + answer.body.decode_seconds + answer.body.wait_seconds


def _join(graph: Graph, calls: Sequence[Segment], gave: Sequence[Run], run: Run) -> None:
    """What all branches gave; a name that several give last carries the stage's name in front of it."""
    for segment, given in zip(calls, gave, strict=True):
        run.stage_s |= given.stage_s
        run.hop_s |= given.hop_s
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
