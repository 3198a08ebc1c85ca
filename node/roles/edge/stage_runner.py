"""How does one picture go through the stages of its plan?

Each stage runs on this node or on the one that the plan names, on the inputs that it needs of what the stages before it gave.
Neighbouring stages on one node are one call: what only they look at is neither encoded nor sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pydantic import JsonValue

from node.clock import Clock
from node.errors import Unavailable
from node.model.video import Plan
from node.model.wire.compute import COMPUTE_RUN, ComputeRequest, Pictures, StageCall
from node.pipeline.stage import PICTURES, SERVICES, SOURCE_GIVES, inputs_of
from node.roles.edge.credit import FrameCredit
from node.roles.shared.compute_service import ComputeService, Frame, PictureBlobs, unpack
from node.transport.base import Transport


@dataclass(slots=True)
class Run:
    """What the stages gave so far, the seconds each took and the bytes sent away.

    The way to a node and the wait there count with the first of the stages that run there in one call. `stage` is the first
    one of the call that was begun last: where the picture is, or where it was lost.
    """

    values: dict[str, JsonValue] = field(default_factory=dict)
    pictures: dict[str, Sequence[bytes | bytearray | memoryview]] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)
    bytes_moved: int = 0
    stage: str = ""

    def add(self, values: Mapping[str, JsonValue], pictures: PictureBlobs) -> None:
        """Takes over what a stage gave."""
        self.values.update(values)
        self.pictures.update(pictures)


class StageRunner:
    """Runs pictures through pipelines from the node called `here`."""

    def __init__(
        self, here: str, compute: ComputeService, transport: Transport, clock: Clock, credit: FrameCredit | None = None
    ) -> None:
        self._here = here
        self._compute = compute
        self._transport = transport
        self._clock = clock
        self.credit = credit or FrameCredit()

    def frame_leaves(self, pipeline: Sequence[str], plan: Plan) -> bool:
        """Whether a stage that needs the whole picture runs elsewhere, so that it is better encoded when it is taken."""
        return any(plan.flow_mapping[stage].node != self._here and "image" in SERVICES[stage].needs for stage in pipeline)

    async def run(self, query: str, pipeline: Sequence[str], plan: Plan, frame: Frame, *, deadline: float, run: Run) -> None:
        """Fills `run` stage by stage; what is in it stays true where a stage fails.

        Raises:
            Superseded: a newer picture of the query took its place on the way to another node.
            Unavailable: a node, a worker or the time was lacking.
            Rejected: a service refused its inputs.
        """
        rest = list(pipeline)
        for node, stages in groupby(pipeline, lambda stage: plan.flow_mapping[stage].node):
            here = list(stages)
            rest = rest[len(here) :]
            began = self._clock.monotonic()
            run.stage = here[0]
            calls = tuple(StageCall(service=stage, model_id=plan.flow_mapping[stage].model_id) for stage in here)
            later = inputs_of([SERVICES[stage] for stage in rest]) & PICTURES - SOURCE_GIVES
            if node == self._here:
                own = await self._run_here(calls, later, frame, deadline, run)
            else:
                async with self.credit.spend(node, query):
                    own = await self._run_elsewhere(node, calls, later, frame, deadline, run)
            spent = self._clock.monotonic() - began
            run.stage_s.update(zip(here[1:], own[1:], strict=True))
            run.stage_s[here[0]] = max(own[0], spent - sum(own[1:]))

    async def _run_here(
        self, stages: Sequence[StageCall], wanted: Collection[str], frame: Frame, deadline: float, run: Run
    ) -> Sequence[float]:
        outcome = await self._compute.call(stages, run.values, run.pictures, wanted=wanted, frame=frame, deadline=deadline)
        run.add(outcome.values, outcome.pictures)
        return outcome.stage_seconds

    async def _run_elsewhere(  # noqa: PLR0917 - as `_run_here`, and where
        self, node: str, stages: Sequence[StageCall], wanted: Collection[str], frame: Frame, deadline: float, run: Run
    ) -> Sequence[float]:
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
        )
        blobs = [blob for given in pictures.values() for blob in given]
        run.bytes_moved += sum(len(blob) for blob in blobs)
        timeout = max(deadline - self._clock.monotonic(), 0.001)
        answer = await self._transport.call(node, COMPUTE_RUN, request, blobs=blobs, timeout=timeout)
        if len(answer.body.stage_seconds) != len(stages):
            raise Unavailable(f"'{node}' told {len(answer.body.stage_seconds)} times for {len(stages)} stages")
        gives = frozenset[str]().union(*(spec.gives for spec in specs))  # a peer adds what its stages are for, nothing else
        came = unpack(answer.body.pictures, answer.blobs)
        run.add(
            {name: value for name, value in answer.body.values.items() if name in gives},
            {name: given for name, given in came.items() if name in wanted},
        )
        return answer.body.stage_seconds
