"""How does one picture go through the stages of its plan?

Each stage runs on this node or on the one that the plan names, on the inputs that it needs of what the stages before it gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from node.clock import Clock
from node.errors import Unavailable
from node.model.message import COMPUTE_RUN, ComputeRequest, Pictures
from node.model.video import Placement, Plan
from node.pipeline.stage import SERVICES
from node.roles.shared.compute_service import ComputeService, Frame, PictureBlobs, unpack
from node.transport.base import Transport


@dataclass(slots=True)
class Run:
    """What the stages gave so far, the seconds each took (the way to another node included) and the bytes sent away.

    `stage` is the one that was begun last: where the picture is, or where it was lost.
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

    def __init__(self, here: str, compute: ComputeService, transport: Transport, clock: Clock) -> None:
        self._here = here
        self._compute = compute
        self._transport = transport
        self._clock = clock

    def frame_leaves(self, pipeline: Sequence[str], plan: Plan) -> bool:
        """Whether a stage that needs the whole picture runs elsewhere, so that it is better encoded when it is taken."""
        return any(plan.flow_mapping[stage].node != self._here and "image" in SERVICES[stage].needs for stage in pipeline)

    async def run(self, pipeline: Sequence[str], plan: Plan, frame: Frame, *, deadline: float, run: Run) -> None:
        """Fills `run` stage by stage; what is in it stays true where a stage fails.

        Raises:
            Unavailable: a node, a worker or the time was lacking.
            Rejected: a service refused its inputs.
        """
        for stage in pipeline:
            began = self._clock.monotonic()
            run.stage = stage
            place = plan.flow_mapping[stage]
            if place.node == self._here:
                outcome = await self._compute.call(
                    stage, place.model_id, run.values, run.pictures, frame=frame, deadline=deadline
                )
                run.add(outcome.values, outcome.pictures)
            else:
                await self._run_elsewhere(stage, place, frame, deadline - began, run)
            run.stage_s[stage] = self._clock.monotonic() - began

    async def _run_elsewhere(self, stage: str, place: Placement, frame: Frame, timeout: float, run: Run) -> None:
        needs = SERVICES[stage].needs
        pictures = {name: given for name, given in run.pictures.items() if name in needs}
        if "image" in needs:
            if frame.encoding != "jpeg":
                raise Unavailable("the frame was taken under a plan that kept it on this node")
            pictures["image"] = (frame.lease.read(frame.size),)
        request = ComputeRequest(
            service=stage,
            model_id=place.model_id,
            values={name: value for name, value in run.values.items() if name in needs},
            pictures=tuple(Pictures(name=name, count=len(given)) for name, given in pictures.items()),
        )
        blobs = [blob for given in pictures.values() for blob in given]
        run.bytes_moved += sum(len(blob) for blob in blobs)
        answer = await self._transport.call(place.node, COMPUTE_RUN, request, blobs=blobs, timeout=max(timeout, 0.001))
        gives = SERVICES[stage].gives  # a peer adds what its stage is for, and replaces nothing else
        came = unpack(answer.body.pictures, answer.blobs)
        run.add(
            {name: value for name, value in answer.body.values.items() if name in gives},
            {name: given for name, given in came.items() if name in gives},
        )
