"""A job's bookkeeping: whatever happens to its pictures, the tally adds up and every slot comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.clock import ManualClock
from node.errors import Busy, Invalid, Malformed, NotFound, Superseded, Unavailable
from node.model.video import IN_FLIGHT, Placement, Plan, SafePlan, StageRole, VideoConf
from node.model.wire.job import JobProgress, JobStart
from node.pipeline.stage import CLIP
from node.roles.edge.job import RESULTS_WAITING, TALLY_S, Bench, Job
from node.roles.edge.source_reader import Capture
from node.roles.shared.arena import FrameArena
from node.roles.shared.compute_service import Frame
from node.roles.shared.delivery import Receipt
from node.transport.frames import pack_body

PLAN = Plan(
    epoch=1,
    video_conf=VideoConf(),
    flow_mapping={"face_detection": Placement(node="edge-1", role=StageRole.HOST)},
)
START = JobStart(query="q-" + "0" * 26, attempt=1, source="lobby", pipeline=("face_detection",), plan=PLAN)


@dataclass
class Reader:
    """A source whose pictures are the test's."""

    fps: float = 25.0
    tapped: list[str] = field(default_factory=list)

    def tap(self, job, _taker, _wish) -> None:
        self.tapped.append(job)

    def untap(self, job) -> None:
        self.tapped = [one for one in self.tapped if one != job]


@dataclass
class Runner:
    """Stages that end when and how the test says."""

    waiting: list[asyncio.Future] = field(default_factory=list)
    clips: list[tuple[bytes, ...]] = field(default_factory=list)
    gives: dict[str, object] = field(default_factory=lambda: {"bbox": []})
    here: str = "edge-1"

    def frame_leaves(self, _pipeline, _plan) -> bool:
        return False

    async def run(self, _query, _pipeline, _plan, _frame, *, deadline, run) -> None:
        run.stage = "face_detection"
        self.clips.append(run.pictures.get("clip", ()))
        outcome = asyncio.get_running_loop().create_future()
        self.waiting.append(outcome)
        await outcome
        run.add(self.gives, {})
        run.stage_s["face_detection"] = 0.01


@dataclass
class Cloud:
    """What the job gives its results to: a disk that may be full, and behind it a cloud that may be away."""

    there: bool = False
    full: bool = False
    kept: list[JobProgress] = field(default_factory=list)
    open: list[tuple[JobProgress, Receipt]] = field(default_factory=list)
    refuses: Exception | None = None
    wanted: bool = True

    async def send(self, _peer, method, progress):
        if self.full:
            raise Busy("too much waits")
        self.kept.append(progress)
        receipt = Receipt(method)
        self.open.append((progress, receipt))
        if self.there:
            self.answer()
        return receipt

    def answer(self) -> None:
        for _, receipt in self.open:
            if self.refuses:
                receipt.fail(self.refuses)
            else:
                receipt.settle("", pack_body({"wanted": self.wanted}))
        self.open.clear()

    @property
    def loops(self) -> list[int]:
        return [result.n_loop for progress in self.kept for result in progress.results]


class Stage:
    def __init__(self) -> None:
        self.clock, self.arena = ManualClock(), FrameArena(slots=16, slot_bytes=64)
        self.reader, self.runner, self.cloud = Reader(), Runner(), Cloud()
        self.job = Job(START, "cloud-1", self.reader, Bench(self.runner, None, self.cloud, self.clock, None))
        self.number = 0

    def take(self, skipped_before: int = 0) -> None:
        self.number += 1 + skipped_before
        frame = Frame(self.arena.take(), 4, 4, "raw", 48)
        self.job.took(Capture(frame, self.number, 1, self.number, self.clock.monotonic()))

    async def settle(self, error: Exception | None) -> None:
        await turns()
        if self.runner.waiting:
            waiting = self.runner.waiting.pop(0)
            waiting.set_exception(error) if error else waiting.set_result(None)
            await turns()

    def check(self) -> None:
        tally = self.job.tally()
        assert tally.captured == tally.processed + tally.skipped + tally.failed
        assert tally.captured + tally.in_flight == self.number


async def turns() -> None:
    for _ in range(6):
        await ManualClock().advance(0)


STEPS = (
    *("take", "take after a gap", "done", "unavailable", "rejected", "superseded", "plan"),
    *("cloud comes", "cloud goes", "disk fills", "disk has room"),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_captured_is_processed_plus_skipped_plus_failed_at_every_moment(script):
    async def live() -> None:
        stage = Stage()
        stage.job.start()
        for step in script:
            match step:
                case "take":
                    stage.take()
                case "take after a gap":
                    stage.take(skipped_before=3)
                case "done":
                    await stage.settle(None)
                case "unavailable":
                    await stage.settle(Unavailable("gone"))
                case "superseded":
                    await stage.settle(Superseded("newer"))
                case "rejected":
                    await stage.settle(Invalid("no"))
                case "plan":
                    stage.job.use(PLAN.replace(epoch=stage.number + 2))
                case "cloud comes" | "cloud goes":
                    stage.cloud.there = step == "cloud comes"
                    stage.cloud.answer()
                case "disk fills" | "disk has room":
                    stage.cloud.full = step == "disk fills"
            stage.check()
        await stage.job.stop()
        await turns()
        tally = stage.job.tally()
        assert tally.in_flight == 0
        assert tally.captured == stage.number == tally.processed + tally.skipped + tally.failed
        assert stage.arena.free == stage.arena.slots
        assert stage.reader.tapped == []
        stage.arena.close()

    asyncio.run(live())


async def test_a_picture_cancelled_before_its_first_step_is_counted_and_gives_its_slot_back():
    stage = Stage()
    stage.job.start()
    stage.take()
    await stage.job.stop()
    await turns()
    assert stage.job.tally().failed == 1
    assert stage.arena.free == stage.arena.slots
    stage.arena.close()


async def test_a_picture_that_gave_way_to_a_newer_one_is_skipped_not_failed():
    stage = Stage()
    stage.job.start()
    stage.take()
    await stage.settle(Superseded("newer"))
    tally = stage.job.tally()
    assert (tally.skipped, tally.failed, tally.in_flight) == (1, 0, 0)
    await stage.job.stop()
    assert stage.arena.free == stage.arena.slots
    stage.arena.close()


async def test_results_that_come_while_the_cloud_is_away_are_kept_a_few_at_a_time_and_once():
    stage = Stage()
    stage.job.start()
    for _ in range(9):
        stage.take()
        await stage.settle(None)
    await stage.clock.advance(5.0)
    assert stage.cloud.loops == list(range(1, 10))
    assert len(stage.cloud.kept) == 2  # the first at once, the others together
    await stage.job.stop()
    stage.arena.close()


async def test_while_the_disk_takes_no_results_pictures_are_skipped_and_none_is_lost():
    stage = Stage()
    stage.cloud.there = stage.cloud.full = True
    stage.job.start()
    for _ in range(RESULTS_WAITING + 20):
        stage.take()
        await stage.settle(None)
    tally = stage.job.tally()
    assert (tally.processed, tally.skipped, tally.in_flight) == (RESULTS_WAITING, 19, 1)
    stage.cloud.full = False
    await stage.clock.advance(5.0)
    await stage.settle(None)
    await stage.clock.advance(1.0)
    assert stage.cloud.loops == list(range(1, RESULTS_WAITING + 2))
    await stage.job.stop()
    stage.arena.close()


async def test_a_job_that_the_cloud_does_not_want_any_more_ends():
    stage = Stage()
    stage.cloud.wanted = False
    stage.job.start()
    stage.take()
    await stage.settle(None)
    assert not stage.job.over
    stage.cloud.answer()
    await stage.clock.advance(1.0)
    assert stage.job.over
    await stage.job.stop()
    stage.arena.close()


async def test_what_was_merely_skipped_is_told_together_and_soon():
    stage = Stage()
    stage.cloud.there = True
    stage.job.start()
    for _ in range(5):
        stage.take(skipped_before=2)
        await turns()
    assert stage.cloud.kept == []
    await stage.clock.advance(TALLY_S)
    await turns()
    assert [progress.tally for progress in stage.cloud.kept] == [stage.job.tally()]
    await stage.clock.advance(4 * TALLY_S)
    await turns()
    assert len(stage.cloud.kept) == 1, "an unchanged tally is not told again"
    await stage.job.stop()
    stage.arena.close()


async def test_a_frame_lost_for_want_of_a_node_is_told_with_its_stage_once():
    stage = Stage()
    stage.cloud.there = True
    stage.job.start()
    for error in (Unavailable("gone"), Invalid("its own fault"), None):
        stage.take()
        await stage.settle(error)
    told = [(failure.plan_epoch, failure.stage) for progress in stage.cloud.kept for failure in progress.failures]
    assert told == [(1, "face_detection")]
    await stage.job.stop()
    stage.arena.close()


AWAY = Placement(node="edge-2", role=StageRole.EDGE)
SAFE = SafePlan(plan=START.plan.replace(epoch=2), after=1.5)


def a_stage_elsewhere(ready: Callable[[str], bool] = lambda _node: True) -> Stage:
    stage = Stage()
    plan = START.plan.replace(flow_mapping={"face_detection": AWAY})
    bench = Bench(stage.runner, None, stage.cloud, stage.clock, None, ready)
    stage.job = Job(START.replace(plan=plan, safe=SAFE), "cloud-1", stage.reader, bench)
    return stage


async def test_endless_retry_without_a_deadline():
    """A frame that is lost elsewhere is lost, and the next one is taken under the safe plan, once."""
    stage = a_stage_elsewhere()
    stage.job.start()
    stage.take()
    await stage.settle(Unavailable("gone"))
    assert stage.job.epoch == SAFE.plan.epoch
    stage.take()
    await stage.settle(Unavailable("gone as well"))
    assert stage.job.epoch == SAFE.plan.epoch
    newer = START.plan.replace(epoch=3)
    stage.job.use(newer, None)
    assert stage.job.epoch == 3
    await stage.job.stop()
    stage.arena.close()


async def test_an_edge_goes_over_to_its_safe_plan_when_the_heartbeats_of_a_peer_stay_away():
    silent: set[str] = set()
    stage = a_stage_elsewhere(lambda node: node not in silent)
    stage.job.start()
    await stage.clock.advance(1.0)
    assert stage.job.epoch == 1
    silent.add("edge-2")
    await stage.clock.advance(1.0)
    await turns()
    assert stage.job.epoch == SAFE.plan.epoch
    await stage.job.stop()
    stage.arena.close()


async def test_a_node_that_goes_is_left_at_once_where_somebody_says_so():
    silent: set[str] = set()
    stage = a_stage_elsewhere(lambda node: node not in silent)
    stage.job.start()
    stage.job.look_around()
    assert stage.job.epoch == 1
    silent.add("edge-2")
    stage.job.look_around()
    assert stage.job.epoch == SAFE.plan.epoch
    await stage.job.stop()
    stage.arena.close()


async def test_the_outcome_comes_with_the_last_result_and_ends_the_job():
    stage = Stage()
    stage.cloud.there = True
    stage.job.start()
    stage.take()
    await turns()
    stage.job.source_ended(None)
    await turns()
    assert all(progress.outcome is None for progress in stage.cloud.kept)
    await stage.settle(None)
    last = stage.cloud.kept[-1]
    assert (last.outcome.state, last.tally.in_flight) == ("finished", 0)
    assert stage.job.over
    await stage.job.stop()
    stage.arena.close()


async def test_an_output_too_large_for_a_result_fails_its_frame_only():
    stage = Stage()
    stage.cloud.there, stage.runner.gives = True, {"bbox": [[0.5, 0.5, 0.5, 0.5]] * 4096}
    stage.job.start()
    stage.take()
    await stage.settle(None)
    stage.runner.gives = {"bbox": []}
    stage.take()
    await stage.settle(None)
    tally = stage.job.tally()
    assert (tally.captured, tally.processed, tally.failed) == (2, 1, 1)
    assert [result.n_loop for progress in stage.cloud.kept for result in progress.results] == [1]
    await stage.job.stop()
    stage.arena.close()


async def test_results_that_the_cloud_cannot_read_are_lost_and_the_job_goes_on():
    stage = Stage()
    stage.cloud.there, stage.cloud.refuses = True, Malformed("too many lists and maps")
    stage.job.start()
    stage.take()
    await stage.settle(None)
    stage.cloud.refuses = None
    stage.take()
    await stage.settle(None)
    await stage.clock.advance(1.0)
    assert not stage.job.over
    assert stage.cloud.loops == [1, 2]
    await stage.job.stop()
    stage.arena.close()


async def test_a_job_whose_query_is_unknown_to_the_cloud_ends():
    stage = Stage()
    stage.cloud.there, stage.cloud.refuses = True, NotFound("no query is called so")
    stage.job.start()
    stage.take()
    await stage.settle(None)
    await stage.clock.advance(1.0)
    assert stage.job.over
    await stage.job.stop()
    stage.arena.close()


async def test_who_waits_for_a_picture_gets_the_next_one_and_nothing_when_none_comes():
    stage = Stage()
    stage.job._compute = Painter()
    with pytest.raises(NotFound):
        await stage.job.picture()
    waiting = asyncio.create_task(stage.job.picture(0, 2.0))
    await turns()
    stage.take()
    await stage.settle(None)
    picture, result = await waiting
    assert (picture, result.n_loop) == (b"drawn", 1)
    late = asyncio.create_task(stage.job.picture(1, 2.0, drawn=False))
    await turns()
    await stage.clock.advance(2.1)
    assert await late is None
    assert stage.job._viewers == []
    await stage.job.stop()


class Painter:
    async def annotate(self, _frame, values, _label) -> bytes:
        return b"drawn" if values is not None else b"plain"


async def test_one_frame_in_flight_is_not_all_there_may_be():
    stage = Stage()
    stage.job.start()
    for _ in range(3):
        stage.take()
        await turns()
    assert len(stage.runner.waiting) == IN_FLIGHT == 2
    assert stage.job.tally().in_flight == 3
    await stage.settle(None)
    await stage.settle(None)
    assert stage.job.tally().processed == 2
    await stage.job.stop()
    await turns()
    stage.arena.close()


async def test_a_stage_that_looks_at_clips_gets_the_newest_pictures_in_a_row():
    place = Placement(node="edge-1", role=StageRole.HOST)
    plan = PLAN.replace(flow_mapping={"helmet_detection": place})
    stage = Stage()
    stage.job = Job(
        START.replace(pipeline=("helmet_detection",), plan=plan),
        "cloud-1",
        stage.reader,
        Bench(stage.runner, None, stage.cloud, stage.clock, None),
    )
    stage.job.start()
    lengths = []
    for _ in range(CLIP + 2):
        stage.take()
        await turns()
        lengths.append(len(stage.runner.clips[-1]))
        await stage.settle(None)
    assert lengths == [*range(1, CLIP + 1), CLIP, CLIP]
    await stage.job.stop()
    await turns()
    stage.arena.close()
