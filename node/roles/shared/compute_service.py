"""Who runs the stages of pipelines on this node?

A bounded queue in front of a few worker processes that are started when there is work and ended when there has been none
for a while. A call whose deadline has passed is dropped unexecuted; a worker that hangs or dies fails only its own call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, cast

from pydantic import JsonValue

from node import assets
from node.clock import Clock
from node.errors import Busy, ChildLost, DeadlineExceeded, EcnodeError, Invalid, NotFound, from_wire
from node.model.cluster import ServiceReport
from node.model.message import COMPUTE_RUN, ComputeReply, ComputeRequest, Pictures
from node.model.video import Resolution
from node.pipeline.stage import SERVICES, ServiceSpec
from node.roles.shared.arena import FrameArena, Lease
from node.roles.shared.channel import Message
from node.roles.shared.processes import Child, Spawner
from node.transport.base import Answer, Blob, Call, Transport

log = logging.getLogger(__name__)

QUEUE: Final = 64  # two seconds of work for two workers at 30 ms a call: more would only grow old
HANG_S: Final = 30.0  # no call takes this long, model loading included: the worker is stuck
IDLE_S: Final = 60.0  # an unused worker gives its 120 MB back
CALIBRATION_RUNS: Final = 3
CALIBRATION_WAIT_S: Final = 60.0  # calls of peers that calibrate at the same moment may come first
CALIBRATION_PICTURE: Final = "calibration.jpg"


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture in the arena. `encoding` is `raw` (BGR) or `jpeg`, `size` its bytes in the slot."""

    lease: Lease
    width: int
    height: int
    encoding: str
    size: int

    def entry(self) -> dict[str, JsonValue]:
        """How a worker is told of it."""
        return {
            "name": "image",
            "slot": self.lease.slot,
            "width": self.width,
            "height": self.height,
            "encoding": self.encoding,
            "bytes": self.size,
        }


PictureBlobs = Mapping[str, Sequence[Blob]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave, with the worker's own time and the time spent waiting for a worker."""

    values: Mapping[str, JsonValue]
    pictures: Mapping[str, tuple[bytes, ...]]
    seconds: float
    wait_seconds: float


@dataclass(slots=True)
class _Work:
    header: dict[str, JsonValue]
    blobs: list[Blob]
    lease: Lease | None
    deadline: float
    queued_at: float
    done: asyncio.Future[tuple[Message, float]]


@dataclass(slots=True)
class _Figures:
    profile: dict[str, float] = field(default_factory=dict)
    objects: int = 0
    waits_ms: deque[float] = field(default_factory=lambda: deque(maxlen=30))
    calls: int = 0
    failures: int = 0


def unpack(pictures: Sequence[Pictures], blobs: Sequence[Blob]) -> dict[str, tuple[Blob, ...]]:
    """The blobs of a message by the name they belong to.

    Raises:
        Invalid: the counts do not add up to the number of blobs.
    """
    if sum(entry.count for entry in pictures) != len(blobs):
        raise Invalid(f"{len(blobs)} pictures came with a message that names {sum(entry.count for entry in pictures)}")
    rest = iter(blobs)
    return {entry.name: tuple(next(rest) for _ in range(entry.count)) for entry in pictures}


class ComputeService:
    """The services of one node. `start` answers the peers' calls too."""

    def __init__(self, spawner: Spawner, arena: FrameArena, clock: Clock, assets_dir: Path, workers: int) -> None:
        self._spawner = spawner
        self._arena = arena
        self._clock = clock
        self._assets = assets_dir
        self._workers = workers
        self._queue: deque[_Work] = deque()
        self._arrived = asyncio.Condition()
        self._figures = {name: _Figures() for name in SERVICES}
        self._tasks: list[asyncio.Task[None]] = []

    def register(self, transport: Transport) -> None:
        """Has peers' calls answered; only before the transport starts."""
        transport.answer(COMPUTE_RUN, self._answer)

    async def start(self) -> None:
        """Starts the workers' keepers (the processes follow on demand) and the calibration."""
        for number in range(self._workers):
            self._tasks.append(asyncio.create_task(self._keep_worker(number), name=f"worker {number}"))
        self._tasks.append(asyncio.create_task(self._calibrate(), name="calibration"))

    async def stop(self) -> None:
        """Ends the workers; calls that wait fail. Harmless when repeated."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        while self._queue:
            _fail(self._queue.popleft(), ChildLost("this node is stopping"))

    @property
    def workers(self) -> int:
        """How many calls can run at once."""
        return self._workers

    def reports(self) -> tuple[ServiceReport, ...]:
        """What the heartbeat says of each service."""
        return tuple(
            ServiceReport(
                name=name,
                models=SERVICES[name].models,
                profile=dict(figures.profile),
                profile_objects=figures.objects,
                queued=len(self._queue),
                wait_ms=median(figures.waits_ms) if figures.waits_ms else 0.0,
                calls=figures.calls,
                failures=figures.failures,
            )
            for name, figures in self._figures.items()
        )

    async def run(
        self,
        service: str,
        model_id: int,
        values: Mapping[str, JsonValue],
        pictures: PictureBlobs,
        *,
        frame: Frame | None = None,
        deadline: float,
    ) -> Outcome:
        """Runs one call of a service. `deadline` is a time of the clock; pictures are JPEG, `frame` is the input `image`.

        Raises:
            Busy: the queue is full.
            DeadlineExceeded: the deadline passed before a worker was free.
            ChildLost: the worker died over it.
            Rejected: the service refused its inputs.
        """
        needs = _spec(service).needs
        figures = self._figures[service]
        entries, blobs = _entries({name: pictures[name] for name in pictures if name in needs}, frame)
        wanted = {name: value for name, value in values.items() if name in needs}
        header = _run_header(service, model_id, wanted, entries)
        figures.calls += 1
        try:
            message, waited = await self._submit(header, blobs, frame, deadline)
        except EcnodeError:
            figures.failures += 1
            raise
        figures.waits_ms.append(waited * 1000)
        return _outcome(message, waited)

    async def annotate(self, frame: Frame, values: Mapping[str, JsonValue], label: str) -> bytes:
        """The frame as a JPEG with what was found drawn into it.

        Raises:
            Busy, DeadlineExceeded, ChildLost: as for `run`.
        """
        entries, blobs = _entries({}, frame)
        header: dict[str, JsonValue] = {"op": "annotate", "values": dict(values), "label": label, "pictures": entries}
        message, _ = await self._submit(header, blobs, frame, self._clock.monotonic() + HANG_S)
        return message.blobs[0]

    async def _submit(
        self, header: dict[str, JsonValue], blobs: list[Blob], frame: Frame | None, deadline: float
    ) -> tuple[Message, float]:
        if len(self._queue) >= QUEUE:
            raise Busy(f"{QUEUE} calls wait for a worker already")
        work = _Work(
            header,
            blobs,
            frame.lease.share() if frame else None,
            deadline,
            self._clock.monotonic(),
            asyncio.get_running_loop().create_future(),
        )
        self._queue.append(work)
        async with self._arrived:
            self._arrived.notify()
        return await work.done

    async def _answer(self, call: Call, request: ComputeRequest) -> Answer[ComputeReply]:
        spec = _spec(request.service)
        pictures = unpack(request.pictures, call.blobs)
        outcome = await self.run(spec.name, request.model_id, request.values, pictures, deadline=call.deadline)
        counts = tuple(Pictures(name=name, count=len(given)) for name, given in outcome.pictures.items())
        reply = ComputeReply(
            values=dict(outcome.values), pictures=counts, seconds=outcome.seconds, wait_seconds=outcome.wait_seconds
        )
        return Answer(reply, tuple(blob for given in outcome.pictures.values() for blob in given))

    async def _keep_worker(self, number: int) -> None:
        child: Child | None = None
        try:
            while True:
                work = await self._next(IDLE_S if child else None)
                try:
                    if work is not None:
                        child = child or await self._spawn(number)
                        await self._serve(child, work)
                        continue
                except ChildLost as error:
                    log.warning("compute worker lost", extra={"worker": number, "reason": error.message})
                    _fail(work, error)
                except asyncio.CancelledError:
                    _fail(work, ChildLost("this node is stopping"))
                    raise
                await _end(child)
                child = None
        finally:
            await _end(child)

    async def _next(self, idle: float | None) -> _Work | None:
        """The oldest call whose deadline has not passed; None after `idle` seconds without one."""
        try:
            async with self._clock.timeout(idle), self._arrived:
                while True:
                    await self._arrived.wait_for(lambda: bool(self._queue))
                    work = self._queue.popleft()
                    if work.done.done() or self._clock.monotonic() >= work.deadline:
                        _fail(work, DeadlineExceeded("the deadline passed before a worker was free"))
                    else:
                        return work
        except TimeoutError:
            return None

    async def _serve(self, child: Child, work: _Work) -> None:
        waited = self._clock.monotonic() - work.queued_at
        try:
            async with self._clock.timeout(HANG_S):
                await child.send(work.header, work.blobs)
                answer = await child.receive()
        except TimeoutError as error:
            raise ChildLost(f"a worker gave no answer for {HANG_S:.0f} s") from error
        if answer is None:
            raise ChildLost("a worker died over a call")
        _release(work)
        if not work.done.done():
            if answer.header["op"] == "error":
                work.done.set_exception(from_wire(str(answer.header["code"]), str(answer.header["message"])))
            else:
                work.done.set_result((answer, waited))

    async def _spawn(self, number: int) -> Child:
        settings: dict[str, JsonValue] = {
            "assets": str(self._assets),
            "slots": self._arena.slots,
            "slot_bytes": self._arena.slot_bytes,
        }
        return await self._spawner.spawn(
            "node.roles.shared.compute_child",
            settings,
            name=f"worker {number}",
            descriptors={"arena": self._arena.descriptor},
        )

    async def _calibrate(self) -> None:
        """Measures every service on the calibration picture at every resolution, each stage fed by those before it."""
        try:
            original = assets.path(self._assets, CALIBRATION_PICTURE).read_bytes()
            for resolution in Resolution:
                await self._calibrate_at(resolution, original)
        except (OSError, EcnodeError) as error:
            log.error("calibration failed, this node will be given no stages", extra={"reason": str(error)})
        else:
            log.info("calibrated", extra={"services": ", ".join(self._figures)})

    async def _calibrate_at(self, resolution: Resolution, original: bytes) -> None:
        width, height = resolution.size
        image: dict[str, JsonValue] = {"name": "image", "count": 1, "width": width, "height": height}
        values: dict[str, JsonValue] = {}
        pictures: dict[str, tuple[bytes, ...]] = {}
        for name, spec in SERVICES.items():
            entries, blobs = _entries({given: pictures[given] for given in pictures if given in spec.needs}, None)
            if "image" in spec.needs:
                entries, blobs = [image, *entries], [original, *blobs]
            wanted = {given: value for given, value in values.items() if given in spec.needs}
            header = _run_header(name, 0, wanted, entries)
            times = []
            for _ in range(CALIBRATION_RUNS):
                message, _ = await self._submit(header, blobs, None, self._clock.monotonic() + CALIBRATION_WAIT_S)
                outcome = _outcome(message, 0.0)
                times.append(outcome.seconds)
            values |= outcome.values
            pictures |= outcome.pictures
            figures = self._figures[name]
            figures.profile[resolution] = median(times)
            figures.objects = max(len(given) for given in pictures.values())


def _spec(name: str) -> ServiceSpec:
    try:
        return SERVICES[name]
    except KeyError:
        raise NotFound(f"no service is called '{name}'", hint=f"there are: {', '.join(SERVICES)}") from None


def _entries(pictures: PictureBlobs, frame: Frame | None) -> tuple[list[JsonValue], list[Blob]]:
    entries: list[JsonValue] = [frame.entry()] if frame else []
    entries += [{"name": name, "count": len(given)} for name, given in pictures.items()]
    return entries, [blob for given in pictures.values() for blob in given]


def _run_header(service: str, model_id: int, values: dict[str, JsonValue], entries: list[JsonValue]) -> dict[str, JsonValue]:
    return {"op": "run", "service": service, "model_id": model_id, "values": values, "pictures": entries}


def _outcome(message: Message, waited: float) -> Outcome:
    header = message.header
    counts = [Pictures.model_validate(entry) for entry in cast(list[object], header["pictures"])]
    pictures = unpack(counts, message.blobs)
    return Outcome(
        values=cast(dict[str, JsonValue], header["values"]),
        pictures={name: tuple(bytes(blob) for blob in given) for name, given in pictures.items()},
        seconds=cast(float, header["seconds"]),
        wait_seconds=waited,
    )


def _release(work: _Work) -> None:
    if work.lease is not None:
        work.lease.release()


def _fail(work: _Work | None, error: EcnodeError) -> None:
    if work is not None:
        _release(work)
        if not work.done.done():
            work.done.set_exception(error)


async def _end(child: Child | None) -> None:
    if child is not None:
        await child.stop()
