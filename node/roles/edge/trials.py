"""What would a stage take elsewhere, and how good is what a job holds?

The cloud asks, the edge takes one more picture of the job's source, has it looked at on the node that is named, where nothing
else waits, and tells what it took. What was found is compared with the result that the job holds at that moment, and used for
nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from node.clock import Clock
from node.errors import Busy, DeadlineExceeded, Unavailable
from node.model.video import Resolution, Result, VideoConf
from node.model.wire.compute import COMPUTE_RUN, ComputeRequest, Pictures, StageCall
from node.model.wire.job import JobTrial, JobTrialReply
from node.pipeline.video.profile import agreement
from node.roles.edge.source_reader import Capture, SourceReader
from node.roles.shared.compute_service import ComputeService
from node.transport.base import Transport

PICTURE_S: Final = 2.0  # until the source has given a picture
TRIAL_S: Final = 5.0  # for the whole of it
TRIAL_FPS: Final = 10


class _One:
    """Takes one picture of a source."""

    def __init__(self) -> None:
        self.taken: asyncio.Future[Capture] = asyncio.get_running_loop().create_future()

    def took(self, capture: Capture) -> None:
        if self.taken.done():
            capture.frame.lease.release()
        else:
            self.taken.set_result(capture)

    def counted(self, number: int) -> None:
        """Nobody counts them."""

    def source_ended(self, reason: str | None) -> None:
        if not self.taken.done():
            self.taken.set_exception(Unavailable(reason or "the source has ended"))


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials on behalf of the jobs of the node `here`."""

    here: str
    compute: ComputeService
    transport: Transport
    clock: Clock

    async def run(self, key: str, reader: SourceReader, wanted: JobTrial, held: Result | None) -> JobTrialReply:
        """What the stages took, the way of the picture with them. `held` is the newest result of the job.

        Raises:
            Unavailable: no picture, or no spare time on the node.
            Rejected: the node does not offer a stage.
        """
        node, stages = wanted.node, wanted.stages
        picture = await self._picture(key, reader, wanted.resolution)
        calls = tuple(StageCall(service=stage) for stage in stages)
        began = self.clock.monotonic()
        values, own, there = await (self._here if node == self.here else self._there)(node, calls, picture)
        hop_s = max(self.clock.monotonic() - began - there, 0.0) if node != self.here else 0.0
        seen, objects = agreement(values, wanted.resolution.size, held)
        return JobTrialReply(
            stage_s=dict(zip(stages, own, strict=True)), hop_s=hop_s, sent=len(picture), objects=objects, seen=seen
        )

    async def _picture(self, key: str, reader: SourceReader, resolution: Resolution) -> bytes:
        taker = _One()
        reader.tap(key, taker, (VideoConf(fps=TRIAL_FPS, resolution=resolution), 0, "jpeg"))
        try:
            async with self.clock.timeout(PICTURE_S):
                capture = await taker.taken
        except TimeoutError as error:
            raise DeadlineExceeded(f"'{reader.name}' gave no picture in {PICTURE_S:g} s") from error
        finally:
            reader.untap(key)
        try:
            return bytes(capture.frame.lease.read(capture.frame.size))
        finally:
            capture.frame.lease.release()

    async def _here(
        self, _node: str, calls: tuple[StageCall, ...], picture: bytes
    ) -> tuple[dict[str, JsonValue], Sequence[float], float]:
        if self.compute.queued:
            raise Busy("calls wait here, this one would be for nobody")
        deadline = self.clock.monotonic() + TRIAL_S
        outcome = await self.compute.call(calls, {}, {"image": (picture,)}, deadline=deadline)
        return dict(outcome.values), outcome.stage_seconds, 0.0

    async def _there(
        self, node: str, calls: tuple[StageCall, ...], picture: bytes
    ) -> tuple[dict[str, JsonValue], Sequence[float], float]:
        request = ComputeRequest(stages=calls, pictures=(Pictures(name="image", count=1),), spare=True)
        answer = await self.transport.call(node, COMPUTE_RUN, request, blobs=[picture], timeout=TRIAL_S)
        own = answer.body.stage_seconds
        if len(own) != len(calls):
            raise Unavailable(f"'{node}' told {len(own)} times for {len(calls)} stages")
        return answer.body.values, own, sum(own) + answer.body.decode_seconds + answer.body.wait_seconds
