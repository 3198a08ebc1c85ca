"""Who runs the stages of pipelines on this node?"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias, cast

from pydantic import JsonValue

from node.clock import Clock
from node.errors import EcnodeError, Invalid, NotFound
from node.model.cluster import ServiceReport
from node.model.video import Resolution
from node.model.wire.compute import Pictures, StageCall
from node.pipeline.stage import SERVICES, ServiceSpec, inputs_of
from node.roles.shared.arena import FrameArena, Lease
from node.roles.shared.channel import Message
from node.roles.shared.processes import Spawner
from node.roles.shared.worker_pool import HANG_S, WorkerPool
from node.transport.base import Blob

WAITS_KEPT: Final = 30
PictureBlobs: TypeAlias = Mapping[str, Sequence[Blob]]
"""Encoded pictures by the name of the input or output that they belong to."""


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave, with each stage's own time, that of decoding its pictures, and the wait for a worker before all."""

    values: Mapping[str, JsonValue]
    pictures: Mapping[str, tuple[bytes, ...]]
    stage_seconds: tuple[float, ...]
    decode_seconds: float
    wait_seconds: float


@dataclass(slots=True)
class _Figures:
    profile: dict[Resolution, float] = field(default_factory=dict)
    objects: int = 0
    waits_ms: deque[float] = field(default_factory=lambda: deque(maxlen=WAITS_KEPT))
    calls: int = 0
    failures: int = 0


class ComputeService:
    """The services of one node."""

    def __init__(  # noqa: PLR0917 - what it takes to start workers
        self,
        spawner: Spawner,
        arena: FrameArena,
        clock: Clock,
        assets_dir: Path,
        workers: int,
        tables: Mapping[str, JsonValue] = {},
    ) -> None:
        """`tables` are those of the config's `[services]`, for the workers: `catalogue.install` has declared them here."""
        self._clock = clock
        self._pool = WorkerPool(
            spawner,
            clock,
            workers,
            "node.roles.shared.compute_child",
            {"assets": str(assets_dir), "slots": arena.slots, "slot_bytes": arena.slot_bytes, "services": dict(tables)},
            {"arena": arena.descriptor},
        )
        self._figures = {name: _Figures() for name in SERVICES}
        self.lacks: dict[str, str] = {}

    async def run(self) -> None:
        """Serves calls until cancelled; then those that wait fail."""
        await self._pool.run()

    @property
    def workers(self) -> int:
        """How many calls can run at once."""
        return self._pool.workers

    @property
    def queued(self) -> int:
        """How many calls wait for a worker."""
        return self._pool.queued

    def learn(self, service: str, profile: Mapping[Resolution, float], objects: int) -> None:
        """Remembers how many seconds a service takes at each resolution, for so many objects."""
        self.lacks.pop(service, None)
        self._figures[service].profile = dict(profile)
        self._figures[service].objects = objects

    def lack(self, service: str, reason: str) -> None:
        """Remembers why a service is not offered here."""
        self.lacks[service] = reason

    def reports(self) -> tuple[ServiceReport, ...]:
        """What the heartbeat says of the services that this node offers: those that it has measured."""
        return tuple(
            ServiceReport(
                name=name,
                models=SERVICES[name].models,
                cpu=SERVICES[name].cpu,
                memory_mib=SERVICES[name].memory_mib,
                profile=dict(figures.profile),
                profile_objects=figures.objects,
                queued=self._pool.queued_of(name),
                wait_ms=median(figures.waits_ms) if figures.waits_ms else 0.0,
                calls=figures.calls,
                failures=figures.failures,
            )
            for name, figures in self._figures.items()
            if figures.profile
        )

    async def call(
        self,
        stages: Sequence[StageCall],
        values: Mapping[str, JsonValue],
        pictures: PictureBlobs,
        *,
        wanted: Collection[str] = (),
        frame: Frame | None = None,
        image_size: tuple[int, int] | None = None,
        stream: str = "",
        deadline: float,
    ) -> Outcome:
        """Runs stages one after the other in one worker, on those of the inputs that they need.

        Pictures are JPEG; of those that the stages give, the `wanted` ones come back. The input `image` is `frame` where one
        is given; an `image` among the pictures is scaled to `image_size` (width, height) before a stage sees it, and before
        its time is taken. `stream` names the pictures that belong together, for services that remember.

        Raises:
            NotFound: there is no such service.
            Busy, DeadlineExceeded, ChildLost: as `WorkerPool.call` says.
            Rejected: a service refused its inputs.
        """
        needs = inputs_of([_spec(stage.service) for stage in stages])
        entries, blobs = _entries({name: given for name, given in pictures.items() if name in needs}, frame, image_size)
        header: dict[str, JsonValue] = {
            "op": "run",
            "stages": [[stage.service, stage.model_id] for stage in stages],
            "values": {name: value for name, value in values.items() if name in needs},
            "pictures": entries,
            "wanted": list(wanted),
            "stream": stream,
        }
        figures = [self._figures[stage.service] for stage in stages]
        for each in figures:
            each.calls += 1
        try:
            answer, waited = await self._pool.call(
                header, blobs, lease=frame.lease if frame else None, deadline=deadline, kind=stages[0].service
            )
        except EcnodeError:
            for each in figures:
                each.failures += 1
            raise
        figures[0].waits_ms.append(waited * 1000)
        return _outcome(answer, waited)

    async def annotate(self, frame: Frame, values: Mapping[str, JsonValue] | None, label: str) -> bytes:
        """The frame as a JPEG with what was found drawn into it, or as it is where `values` are None.

        Raises:
            Busy, DeadlineExceeded, ChildLost: as `WorkerPool.call` says.
        """
        header: dict[str, JsonValue] = {
            "op": "annotate",
            "values": dict(values) if values is not None else None,
            "label": label,
            "pictures": [frame.entry()],
        }
        answer, _ = await self._pool.call(header, (), lease=frame.lease, deadline=self._clock.monotonic() + HANG_S)
        return answer.blobs[0]


def unpack(pictures: Sequence[Pictures], blobs: Sequence[Blob]) -> dict[str, tuple[Blob, ...]]:
    """The blobs of a message by the name they belong to.

    Raises:
        Invalid: the counts do not add up to the number of blobs.
    """
    named = sum(entry.count for entry in pictures)
    if named != len(blobs):
        raise Invalid(f"{len(blobs)} pictures came with a message that names {named}")
    rest = iter(blobs)
    return {entry.name: tuple(next(rest) for _ in range(entry.count)) for entry in pictures}


def _spec(name: str) -> ServiceSpec:
    try:
        return SERVICES[name]
    except KeyError:
        raise NotFound(f"no service is called '{name}'", hint=f"there are: {', '.join(SERVICES)}") from None


def _entries(
    pictures: PictureBlobs, frame: Frame | None, image_size: tuple[int, int] | None
) -> tuple[list[JsonValue], list[Blob]]:
    """What a worker is told of the pictures, and those that travel with the message."""
    sent = {name: given for name, given in pictures.items() if frame is None or name != "image"}
    entries: list[JsonValue] = [frame.entry()] if frame else []
    for name, given in sent.items():
        entry: dict[str, JsonValue] = {"name": name, "count": len(given)}
        if name == "image" and image_size is not None:
            entry["width"], entry["height"] = image_size
        entries.append(entry)
    return entries, [blob for given in sent.values() for blob in given]


def _outcome(answer: Message, waited: float) -> Outcome:
    counts = [Pictures.model_validate(entry) for entry in cast(list[object], answer.header["pictures"])]
    pictures = unpack(counts, answer.blobs)
    return Outcome(
        values=cast(dict[str, JsonValue], answer.header["values"]),
        pictures={name: tuple(bytes(blob) for blob in given) for name, given in pictures.items()},
        stage_seconds=tuple(cast(list[float], answer.header["stage_seconds"])),
        decode_seconds=cast(float, answer.header["decode_seconds"]),
        wait_seconds=waited,
    )
