"""Is a trial made with spare time only, and told truly?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.clock import ManualClock
from node.errors import Busy, DeadlineExceeded
from node.model.video import Resolution, Result
from node.model.wire.compute import ComputeReply
from node.model.wire.job import JobTrial
from node.roles.edge.source_reader import Capture
from node.roles.edge.trials import PICTURE_S, Trials
from node.roles.shared.arena import FrameArena
from node.roles.shared.compute_service import Frame, Outcome
from node.transport.base import Answer

BOXES = [[10.0, 10.0, 50.0, 50.0], [100.0, 100.0, 150.0, 150.0]]
WANTED = JobTrial(query="q-" + "0" * 26, node="edge-2", stages=("face_detection",), resolution=Resolution.P480)


class Source:
    """A camera that gives its picture when the test has put one in."""

    name = "lobby"

    def __init__(self, clock: ManualClock) -> None:
        self.arena, self.clock, self.taps = FrameArena(slots=2, slot_bytes=64), clock, dict[str, Any]()
        self.gives = True

    def tap(self, key: str, taker: Any, wish: Any) -> None:
        self.taps[key] = wish
        if self.gives:
            lease = self.arena.take()
            taker.took(Capture(Frame(lease, 640, 480, "jpeg", 32), 1, 0, 1, self.clock.monotonic()))

    def untap(self, key: str) -> None:
        del self.taps[key]


class Machines:
    """The services here, and those of a peer."""

    queued = 0

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.asked = clock, list[Any]()

    async def call(self, *known: Any, **more: Any) -> Any:
        if "timeout" not in more:
            return Outcome({"bbox": BOXES}, {}, (0.04,), 0.0, 0.0)
        self.asked.append(known[2])
        await self.clock.advance(0.25)
        reply = ComputeReply(values={"bbox": BOXES}, stage_seconds=(0.1,), decode_seconds=0.02, wait_seconds=0.03)
        return Answer(reply)


@pytest.fixture
def parts():
    clock = ManualClock()
    source, machines = Source(clock), Machines(clock)
    yield source, machines, Trials("edge-1", machines, machines, clock)
    assert source.arena.free == 2
    source.arena.close()


def held(boxes: list[list[float]]) -> Result:
    fields = {"attempt": 1, "n_loop": 1, "cam_frame_id": 1, "conf_frame_id": 1, "captured_at": 1.0, "latency": 0.1}
    more = {"delay": 0.1, "stage_ms": {}, "plan": "", "plan_epoch": 1, "width": 1280, "height": 960}
    return Result(**fields, **more, output={"bbox": boxes})


async def test_a_trial_elsewhere_tells_the_way_apart_from_the_work(parts) -> None:
    source, machines, trials = parts
    told = await trials.run("key", source, WANTED, None)
    assert told.stage_s == {"face_detection": 0.1}
    assert told.hop_s == pytest.approx(0.1)
    assert (told.sent, told.objects, told.seen) == (32, 2, None)
    assert machines.asked[0].spare
    assert not source.taps


async def test_what_was_found_is_compared_with_what_the_job_holds(parts) -> None:
    source, _, trials = parts
    there = [[20.0, 20.0, 100.0, 100.0]]  # the first one, at twice the size
    told = await trials.run("key", source, WANTED.replace(node="edge-1"), held(there))
    assert (told.seen, told.objects, told.hop_s) == (0.5, 2, 0.0)


async def test_nothing_is_tried_here_while_calls_wait(parts) -> None:
    source, machines, trials = parts
    machines.queued = 1
    with pytest.raises(Busy):
        await trials.run("key", source, WANTED.replace(node="edge-1"), None)


async def test_a_source_that_gives_no_picture_keeps_nobody_waiting(parts) -> None:

    source, machines, trials = parts
    source.gives = False
    trial = asyncio.create_task(trials.run("key", source, WANTED, None))
    await machines.clock.advance(0.0)
    await machines.clock.advance(PICTURE_S)
    with pytest.raises(DeadlineExceeded):
        await trial
    assert not source.taps
