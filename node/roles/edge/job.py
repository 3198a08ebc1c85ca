"""How does one query run on the edge that owns its camera?

Pictures arrive newest-wins in a mailbox of one. At most IN_FLIGHT of them are worked on at a time; each keeps the plan of its
epoch from the first stage to the last, and each stage runs here or on the node that the plan names. Every picture ends as
processed, skipped or failed, and the tally says so at every moment. Results go to the cloud as durable messages, each of
which holds what has come since the one before. While not even the disk of this node takes them, pictures are skipped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pydantic import ValidationError

from node import failpoints
from node.clock import Clock
from node.errors import Conflict, EcnodeError, Forbidden, Invalid, NotFound, Rejected, Superseded, TooLarge, Unavailable
from node.model.video import IN_FLIGHT, Outcome, Plan, Result, SafePlan, Tally
from node.model.wire.job import JOB_PROGRESS, Failure, JobProgress, JobProgressReply, JobStart, JobTrial, JobTrialReply
from node.pipeline.graph import check_graph
from node.pipeline.stage import CLIP, SERVICES
from node.pipeline.video.profile import objects_of
from node.roles.edge.plans import Plans
from node.roles.edge.source_reader import Capture, SourceReader
from node.roles.edge.stage_runner import Run, StageRunner
from node.roles.edge.trials import Trials
from node.roles.shared.compute_service import ComputeService
from node.roles.shared.delivery import Delivery, Receipt
from node.roles.shared.tasks import begin, end

log = logging.getLogger(__name__)

RESULTS_WAITING: Final = 64  # not on the disk yet: two seconds at 30 fps; beyond them no picture is begun
RESULTS_AT_ONCE: Final = 16  # × 20 kB for 256 faces with their poses: a third of what a message may hold
FAILURES_AT_ONCE: Final = 16  # the newest; that a node fails is known after one of them
RETRY_S: Final = 1.0
TALLY_S: Final = 0.5  # how old the cloud's tally may be while no result comes
LINGER_S: Final = 0.25  # for more results, while the cloud owes an answer: four rows a second are enough for one that is away


class _Count:
    """The tally as it grows; `seen` is the newest number of the capture process."""

    def __init__(self) -> None:
        self.seen = self.processed = self.skipped = self.failed = self.waiting = self.bytes_moved = 0

    def tally(self) -> Tally:
        return Tally(
            captured=self.seen - self.waiting,
            processed=self.processed,
            skipped=self.skipped,
            failed=self.failed,
            in_flight=self.waiting,
            bytes_moved=self.bytes_moved,
        )


@dataclass(slots=True)
class _Work:
    """A picture that is worked on."""

    capture: Capture
    run: Run = field(default_factory=Run)
    processed: bool = False
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Bench:
    """What every job of an edge works with; `ready` says of another node whether its heartbeats come."""

    runner: StageRunner
    compute: ComputeService
    delivery: Delivery
    clock: Clock
    trials: Trials
    ready: Callable[[str], bool] = lambda _node: True


class Job:
    """One attempt of one query. `cloud` is the node that asked for it."""

    def __init__(
        self,
        start: JobStart,
        cloud: str,
        reader: SourceReader,
        bench: Bench,
    ) -> None:
        self.query = start.query
        self.attempt = start.attempt
        self._cloud = cloud
        self._graph = check_graph(start.pipeline, start.graph)
        self._reader = reader
        self._runner = bench.runner
        self._compute = bench.compute
        self._delivery = bench.delivery
        self._clock = bench.clock
        self._ready = bench.ready
        self._plans = Plans(bench.runner.here, start.plan, start.safe)
        self._count = _Count()
        clips = any("clip" in SERVICES[stage].needs for stage in self._graph.stages)
        self._clip: deque[bytes] | None = deque(maxlen=CLIP) if clips else None
        self._mailbox: Capture | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._results: deque[Result] = deque()
        self._failures: deque[Failure] = deque(maxlen=FAILURES_AT_ONCE)
        self._at_once = RESULTS_AT_ONCE
        self._loop_number = 0
        self._newest: tuple[Capture, Result] | None = None
        self._viewers: list[asyncio.Future[None]] = []  # no more than a peer may have calls in flight
        self._outcome: Outcome | None = None
        self._stopped = False
        self._news = asyncio.Event()
        self._told = self._progress()
        self._sender: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left to do: stopped, or ended and the cloud knows it."""
        return self._sender is not None and self._sender.done()

    def start(self) -> None:
        """Begins to take pictures."""
        self._sender = begin(self._send_progress(), f"progress of {self.query}")
        self._tap()

    @property
    def epoch(self) -> int:
        """The plan that the next picture is taken under."""
        return self._plans.now.epoch

    def use(self, plan: Plan, safe: SafePlan | None = None) -> None:
        """Takes the next picture under `plan`; one that is not newer changes nothing."""
        if self._plans.use(plan, safe):
            self._tap()

    def _fall_back(self, reason: str) -> None:
        if not self._stopped and self._plans.fall_back():
            log.warning("edge uses its safe plan", extra={"query": self.query, "epoch": self.epoch, "reason": reason})
            self._tap()

    def look_around(self) -> None:
        """Leaves a plan that needs a node which is not there."""
        if away := self._plans.lacks(self._ready):
            self._fall_back(f"no heartbeat of {', '.join(away)}")

    async def stop(self) -> None:
        """Ends the job without an outcome. Harmless when repeated."""
        self._stopped = True
        self._reader.untap(self._key)
        await end(*self._working, self._sender)
        self._drop_waiting()
        self._show()
        if self._newest is not None:
            self._newest[0].frame.lease.release()
            self._newest = None

    async def try_out(self, trials: Trials, wanted: JobTrial) -> JobTrialReply:
        """Runs stages on another picture of its source, for what they take and find; see `Trials.run`."""
        held = self._newest[1] if self._newest is not None else None
        return await trials.run(f"{self._key}/trial", self._reader, wanted, held)

    def tally(self) -> Tally:
        """Where the pictures went so far."""
        return self._count.tally()

    async def picture(self, seen: int = 0, wait: float = 0.0, *, drawn: bool = True) -> tuple[bytes, Result] | None:
        """The newest processed picture as a JPEG, `drawn` with its result in it; None where `wait` passes without one.

        Only one beyond the result number `seen` will do.

        Raises:
            NotFound: nothing was processed yet, and the caller does not wait.
        """
        deadline = self._clock.monotonic() + wait
        while self._newest is None or self._newest[1].n_loop <= seen:
            left = deadline - self._clock.monotonic()
            if left > 0 and not self._stopped and await self._next_kept(left):
                continue
            if self._newest is None and not wait:
                raise NotFound(f"query {self.query} has no processed frame yet")
            return None
        capture, result = self._newest
        if not drawn and capture.frame.encoding == "jpeg":
            return bytes(capture.frame.lease.read(capture.frame.size)), result
        label = (
            f"frame {result.cam_frame_id}  {objects_of(result)} objects  {result.width}x{result.height}  "
            f"{result.latency * 1000:.0f} ms  plan {result.plan_epoch}"
        )
        return await self._compute.annotate(capture.frame, result.output if drawn else None, label), result

    async def _next_kept(self, seconds: float) -> bool:
        """Whether another picture was processed within so many seconds."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._viewers.append(turn)
        try:
            async with self._clock.timeout(seconds):
                await turn
            return True
        except TimeoutError:
            return False
        finally:
            if turn in self._viewers:
                self._viewers.remove(turn)

    # What the source reader tells

    def took(self, capture: Capture) -> None:
        """A new picture: it takes the mailbox, an older one in it is skipped."""
        self.counted(capture.number - 1)
        self._count.seen = capture.number
        self._count.waiting += 1
        self._drop_waiting()
        self._mailbox = capture
        self._work_on()

    def counted(self, number: int) -> None:
        """Pictures that the capture process counted and never sent were skipped there."""
        missing = number - self._count.seen
        if missing > 0:
            self._count.seen = number
            self._count.skipped += missing

    def source_ended(self, reason: str | None) -> None:
        """The last picture was taken: finish those at work, then tell the cloud."""
        self._outcome = Outcome(state="failed", reason=reason) if reason else Outcome(state="finished")
        self._news.set()

    # The work

    @property
    def _key(self) -> str:
        return f"{self.query}/{self.attempt}"

    def _tap(self) -> None:
        coded = self._clip is not None or self._runner.frame_leaves(self._graph.stages, self._plans.now)
        encoding = "jpeg" if coded else "raw"
        self._reader.tap(self._key, self, (self._plans.now.video_conf, self._plans.now.epoch, encoding))

    def _drop_waiting(self) -> None:
        if self._mailbox is not None:
            self._mailbox.frame.lease.release()
            self._mailbox = None
            self._count.waiting -= 1
            self._count.skipped += 1

    def _work_on(self) -> None:
        room = len(self._results) + len(self._working) < RESULTS_WAITING
        if self._mailbox is not None and len(self._working) < IN_FLIGHT and room and not self._stopped:
            work = _Work(self._mailbox)
            self._mailbox = None
            task = begin(self._process(work), f"frame {work.capture.number} of {self.query}")
            self._working.add(task)
            task.add_done_callback(partial(self._worked, work))

    async def _process(self, work: _Work) -> None:
        capture = work.capture
        plan = self._plans.of(capture.epoch)
        deadline = capture.captured + self._plans.life(plan)
        if self._clip is not None:
            work.run.pictures["clip"] = _with_newest(self._clip, capture)
        try:
            await self._runner.run(self.query, self._graph, plan, capture.frame, deadline=deadline, run=work.run)
            result = self._result(capture, plan, work.run)
        except Superseded:
            work.superseded = True
        except EcnodeError as error:
            log.warning("frame failed", extra={"query": self.query, "frame": capture.number, "reason": error.message})
            if isinstance(error, Unavailable) and work.run.stage:
                self._failures.append(Failure(plan_epoch=plan.epoch, stage=work.run.stage))
                if self._plans.leaves(plan, work.run.stage):
                    self._fall_back(error.message)
        else:
            self._keep(capture, result)
            work.processed = True

    def _worked(self, work: _Work, task: asyncio.Task[None]) -> None:
        """Settles the fate of a picture however its task ended, even where it was cancelled before its first step."""
        self._working.discard(task)
        self._count.waiting -= 1
        self._count.bytes_moved += work.run.bytes_moved
        if work.processed:
            self._count.processed += 1
        else:
            if work.superseded:
                self._count.skipped += 1
            else:
                self._count.failed += 1
            work.capture.frame.lease.release()
        self._work_on()
        self._news.set()

    def _result(self, capture: Capture, plan: Plan, run: Run) -> Result:
        """The next result.

        Raises:
            Invalid: a stage gave what no result can hold.
        """
        try:
            result = self._made(capture, plan, run)
        except ValidationError as error:
            raise Invalid(f"a stage gave what no result can hold: {error.errors()[0]['msg']}") from error
        self._loop_number = result.n_loop
        return result

    def _made(self, capture: Capture, plan: Plan, run: Run) -> Result:
        now = self._clock.monotonic()
        # video.md: the summed stage time over the camera frames that this picture stands for; of branches the longest way
        covered = self._reader.fps / min(plan.video_conf.fps, self._reader.fps) + 1
        return Result(
            attempt=self.attempt,
            n_loop=self._loop_number + 1,
            cam_frame_id=capture.camera_frame,
            conf_frame_id=capture.number,
            captured_at=self._clock.wall() - (now - capture.captured),
            latency=now - capture.captured,
            delay=self._graph.longest(run.stage_s) / covered,
            stage_ms={stage: seconds * 1000 for stage, seconds in run.stage_s.items()},
            hop_ms={stage: seconds * 1000 for stage, seconds in run.hop_s.items()},
            direct=tuple(stage for stage in self._graph.stages if stage in run.direct),
            plan=plan.digest(),
            plan_epoch=plan.epoch,
            width=capture.frame.width,
            height=capture.frame.height,
            output=run.values,
        )

    def _keep(self, capture: Capture, result: Result) -> None:
        if self._newest is not None:
            self._newest[0].frame.lease.release()
        self._newest = (capture, result)
        self._results.append(result)
        self._show()

    def _show(self) -> None:
        """Wakes those who wait for a picture; on most frames nobody does."""
        viewers, self._viewers = self._viewers, []
        for turn in viewers:
            if not turn.done():
                turn.set_result(None)

    # The way to the cloud

    async def _send_progress(self) -> None:
        receipt: Receipt[JobProgressReply] | None = None
        while True:
            await self._gather(receipt)
            self.look_around()
            if receipt is not None and receipt.answered and not await self._wanted(receipt):
                break
            progress = self._progress()
            if progress == self._told:
                continue
            failpoints.hit("before_result_sent")
            try:
                receipt = await self._delivery.send(self._cloud, JOB_PROGRESS, progress)
            except EcnodeError as error:
                await self._not_kept(progress, error)
                continue
            receipt.ring(self._news)
            self._kept(progress)
            if progress.outcome is not None:
                await self._wanted(receipt)
                break
        self._stopped = True
        self._reader.untap(self._key)

    async def _gather(self, receipt: Receipt[JobProgressReply] | None) -> None:
        """Waits for something to tell; what comes while the cloud owes an answer, or is but a count, waits for more."""
        try:
            async with self._clock.timeout(TALLY_S):
                await self._news.wait()
            async with self._clock.timeout(LINGER_S):
                while not self._is_urgent(receipt):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    def _is_urgent(self, receipt: Receipt[JobProgressReply] | None) -> bool:
        if len(self._results) >= self._at_once:
            return True
        return bool(self._results or self._failures or self._finished) and (receipt is None or receipt.answered)

    async def _wanted(self, receipt: Receipt[JobProgressReply]) -> bool:
        """What the cloud answered, waiting for it; an answer that cannot come before this process ends changes nothing."""
        try:
            return (await receipt.reply()).wanted
        except Rejected as error:
            log.error("cloud refused the results", extra={"query": self.query, "reason": error.message})
            return not isinstance(error, Conflict | Forbidden | NotFound)  # what one of them holds is lost, the job is not
        except Unavailable:
            return True

    async def _not_kept(self, progress: JobProgress, error: EcnodeError) -> None:
        if isinstance(error, TooLarge) and len(progress.results) > 1:
            self._at_once = len(progress.results) // 2
        elif isinstance(error, TooLarge):
            log.error("result is lost, no message can hold it", extra={"query": self.query, "reason": error.message})
            self._kept(progress)
        else:
            log.warning("results wait", extra={"query": self.query, "reason": error.message})
            await self._clock.sleep(RETRY_S)
        self._news.set()

    def _kept(self, progress: JobProgress) -> None:
        self._told = progress.replace(results=(), failures=())
        for failure in progress.failures:
            if self._failures and self._failures[0] is failure:
                self._failures.popleft()
        for result in progress.results:
            if self._results and self._results[0] is result:
                self._results.popleft()
        if self._results or self._finished:
            self._news.set()
        self._work_on()

    @property
    def _finished(self) -> bool:
        return self._outcome is not None and not self._working and self._mailbox is None

    def _progress(self) -> JobProgress:
        batch = tuple(self._results)[: self._at_once]
        outcome = self._outcome if self._finished and len(batch) == len(self._results) else None
        return JobProgress(
            query=self.query,
            attempt=self.attempt,
            tally=self.tally(),
            results=batch,
            failures=tuple(self._failures),
            outcome=outcome,
        )


def _with_newest(clip: deque[bytes], capture: Capture) -> tuple[bytes, ...]:
    """The clip that this picture, a JPEG, ends."""
    clip.append(bytes(capture.frame.lease.read(capture.frame.size)))
    return tuple(clip)
