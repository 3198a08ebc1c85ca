"""Who reads a source, for which jobs, and who owns the slots that are on their way?

One reader for each source with at least one tap. It starts the capture process with the first tap and ends it with the
last, turns the process's messages into events for the jobs, and keeps count: a number missing in the sequence of a tap's
pictures is a picture that the capture process had to skip. A camera or an address that breaks is opened again, at growing
intervals; its jobs wait, and count on from where they were.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from pydantic import JsonValue

from node.clock import Clock
from node.config import SourceConfig
from node.errors import ChildLost
from node.model.cluster import SourceReport, SourceState
from node.model.video import VideoConf
from node.roles.shared.arena import FrameArena, Lease
from node.roles.shared.channel import Message
from node.roles.shared.compute_service import Frame
from node.roles.shared.processes import Child, Spawner
from node.roles.shared.tasks import begin

log = logging.getLogger(__name__)

GRANTED: Final = 2  # slots that a tap may hold in the capture process: one being written, one ready to be
DEFAULT_FPS: Final = 25.0  # until the source was opened, or where it does not say
LIVE_SCHEMES: Final = frozenset({"http", "https", "rtsp", "rtsps"})
RETRY_FIRST_S: Final = 0.5  # twice as long after each failure: a camera that starts again is back within a minute
RETRY_MOST_S: Final = 15.0
STALL_S: Final = 20.0  # a capture process that says nothing for so long hangs in its decoder


@dataclass(frozen=True, slots=True)
class Capture:
    """One picture taken for a job. `captured` is a time of the clock, `camera_frame` its index in the source."""

    frame: Frame
    number: int
    epoch: int
    camera_frame: int
    captured: float


class Taker(Protocol):
    """A job, as its reader sees it."""

    def took(self, capture: Capture) -> None:
        """A picture; its lease is the taker's now."""

    def counted(self, number: int) -> None:
        """The capture process has counted so many pictures for this job by now."""

    def source_ended(self, reason: str | None) -> None:
        """No more pictures: the end of the stream, or why the source broke."""


Wish = tuple[VideoConf, int, str]
"""What a job wants taken: configuration, epoch of its plan, encoding (`raw` or `jpeg`)."""


@dataclass(slots=True)
class _Tap:
    """`numbers` and `camera_frames` were counted by earlier capture processes, `newest` are the counts of all of them."""

    taker: Taker
    wish: Wish
    told: Wish | None = None
    granted: dict[int, Lease] = field(default_factory=dict)
    numbers: int = 0
    camera_frames: int = 0
    newest: tuple[int, int] = (0, 0)

    def again(self) -> None:
        """Another capture process counts from nought: what it counts is added to what was counted so far."""
        self.told = None
        self.numbers, self.camera_frames = self.newest


@dataclass(frozen=True, slots=True)
class _Told:
    """How a capture process ended: why its source broke, how many pictures came before, whether they had an end."""

    reason: str | None
    pictures: int = 0
    finite: bool = False


class SourceReader:
    """One configured source of this edge."""

    def __init__(self, name: str, config: SourceConfig, spawner: Spawner, arena: FrameArena, clock: Clock) -> None:
        self.name = name
        self._fps = config.fps or 0.0
        self._height = int(config.resolution.rstrip("p")) if config.resolution else 0
        self._config = config
        self._spawner = spawner
        self._arena = arena
        self._clock = clock
        self._taps: dict[str, _Tap] = {}
        self._leaving: dict[str, _Tap] = {}
        self._state = SourceState.IDLE
        self._reason = ""
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        arena.when_freed(self._changed.set)

    @property
    def fps(self) -> float:
        """Pictures per second that it gives."""
        return self._fps or DEFAULT_FPS

    def report(self) -> SourceReport:
        """What the heartbeat says of it."""
        return SourceReport(
            id=self._config.id or 0,
            name=self.name,
            kind=self._config.kind,
            fps=self._fps,
            height=self._height,
            state=self._state,
            reason=self._reason,
        )

    def tap(self, job: str, taker: Taker, wish: Wish) -> None:
        """Takes pictures for `job` from now on, or changes what is taken for it."""
        self._taps.setdefault(job, _Tap(taker, wish)).wish = wish
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = begin(self._read(), f"source {self.name}")

    def untap(self, job: str) -> None:
        """Takes no more pictures for `job`. Harmless when repeated."""
        if (tap := self._taps.pop(job, None)) is not None:
            self._leaving[job] = tap
            self._changed.set()

    async def close(self, reason: str) -> None:
        """As `stop`, and tells the jobs why."""
        self._over(reason)
        await self.stop()

    async def stop(self) -> None:
        """Ends the capture process. Harmless when repeated."""
        for job in list(self._taps):
            self.untap(job)
        if self._task is not None:
            # not cancelled: without taps it is on its way out already, and must see its child to the end
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        pause, broken_at = RETRY_FIRST_S, float("inf")
        while self._taps:
            try:
                told = await self._session()
            except ChildLost as error:
                told = _Told(error.message)
            if told is None:
                continue
            now = self._clock.monotonic()
            if told.pictures:
                pause, broken_at = RETRY_FIRST_S, now
            broken_at = min(broken_at, now)
            may_come_back = is_live(self._config.url) and not told.finite and now - broken_at < self._config.reconnect
            if told.reason is None or not may_come_back:
                self._over(told.reason)
                pause, broken_at = RETRY_FIRST_S, float("inf")
                continue
            self._state, self._reason = SourceState.RETRYING, told.reason
            log.warning("source tried again", extra={"source": self.name, "reason": told.reason, "seconds": pause})
            await self._rest(pause)
            pause = min(2 * pause, RETRY_MOST_S)

    async def _rest(self, seconds: float) -> None:
        """Waits so long, or until nobody wants the source any more."""
        try:
            async with self._clock.timeout(seconds):
                while self._taps:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _over(self, reason: str | None) -> None:
        """Tells those who tap now; who comes while the process is seen to its end gets a process of his own."""
        log.info("source ended", extra={"source": self.name, "reason": reason or "end of stream"})
        self._state = SourceState.BROKEN if reason else SourceState.ENDED
        self._reason = reason or ""
        for job, tap in list(self._taps.items()):
            self.untap(job)
            tap.taker.source_ended(reason)

    async def _session(self) -> _Told | None:
        """Runs one capture process until its source ends or breaks, which it tells, or nobody wants it.

        Raises:
            ChildLost: it could not be started, or took no orders any more.
        """
        if self._state is not SourceState.RETRYING:
            self._state, self._reason = SourceState.OPEN, ""
        settings: dict[str, JsonValue] = {
            "url": self._config.url,
            "loop": self._config.loop,
            "fps": self._config.fps,
            "gate": self._config.gate,
            "hold": self._config.hold,
            "slots": self._arena.slots,
            "slot_bytes": self._arena.slot_bytes,
        }
        child = await self._spawner.spawn(
            "node.roles.edge.capture_child",
            settings,
            name=f"source {self.name}",
            descriptors={"arena": self._arena.descriptor},
        )
        steering = asyncio.create_task(self._steer(child), name=f"steering of {self.name}")
        listening = asyncio.create_task(self._listen(child), name=f"listening to {self.name}")
        try:
            await asyncio.wait({steering, listening}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                return listening.result()
            self._state = SourceState.IDLE
            steering.result()
            return None
        finally:
            for task in (steering, listening):
                task.cancel()
            await asyncio.gather(steering, listening, return_exceptions=True)
            await child.stop()
            self._take_back()

    async def _steer(self, child: Child) -> None:
        """Tells the capture process what the jobs want and grants it slots; returns when no job is left."""
        while self._taps:
            self._changed.clear()
            for job, tap in list(self._leaving.items()):
                if tap.told is not None:
                    tap.told = None
                    await child.send({"op": "untap", "job": job})
            for job, tap in list(self._taps.items()):
                if tap.told != tap.wish:
                    tap.told = tap.wish
                    await child.send(_command(job, tap.wish))
                while len(tap.granted) < GRANTED and (lease := self._arena.take()) is not None:
                    tap.granted[lease.slot] = lease
                    await child.send({"op": "grant", "job": job, "slot": lease.slot})
            await self._changed.wait()

    async def _listen(self, child: Child) -> _Told:
        """Passes the capture process's messages on until the stream ends or breaks."""
        pictures, finite = 0, False
        while True:
            try:
                async with self._clock.timeout(STALL_S):
                    message = await child.receive()
            except TimeoutError:
                message = Message({"op": "broken", "reason": f"no picture for {STALL_S:.0f} s", "counts": {}})
            if message is None:
                message = Message({"op": "broken", "reason": "the capture process died", "counts": {}})
            header = message.header
            match header["op"]:
                case "opened":
                    finite = not header["live"]
                    self._fps = min(self._config.fps or float("inf"), cast(float, header["fps"]))
                    self._height = min(self._height or 1 << 20, cast(int, header["height"]))
                case "frame":
                    pictures += 1
                    self._state, self._reason = SourceState.OPEN, ""
                    self._frame(cast(dict[str, JsonValue], header))
                case "untapped":
                    _release(self._leaving.pop(cast(str, header["job"]), None))
                case "ended" | "broken":
                    for job, number in cast(dict[str, int], header["counts"]).items():
                        if (tap := self._taps.get(job)) is not None:
                            tap.newest = (tap.numbers + number, tap.newest[1])
                            tap.taker.counted(tap.newest[0])
                    return _Told(None if header["op"] == "ended" else cast(str, header["reason"]), pictures, finite)

    def _frame(self, header: Mapping[str, JsonValue]) -> None:
        job, slot = cast(str, header["job"]), cast(int, header["slot"])
        tap = self._taps.get(job)
        if tap is None or (lease := tap.granted.pop(slot, None)) is None:
            return  # the job left while the picture was on its way; `untapped` frees the slot
        frame = Frame(
            lease,
            cast(int, header["width"]),
            cast(int, header["height"]),
            cast(str, header["encoding"]),
            cast(int, header["size"]),
        )
        number, epoch, camera_frame = (cast(int, header[key]) for key in ("number", "epoch", "camera_frame"))
        self._changed.set()
        number, camera_frame = tap.numbers + number, tap.camera_frames + camera_frame
        tap.newest = (number, camera_frame + 1)
        tap.taker.took(Capture(frame, number, epoch, camera_frame, cast(float, header["captured"])))

    def _take_back(self) -> None:
        """Frees the slots of a capture process that has ended."""
        for tap in [*self._taps.values(), *self._leaving.values()]:
            tap.again()
            _release(tap)
        self._leaving.clear()


def is_live(url: str) -> bool:
    """Whether a source may come back by itself: a camera or an address, not a file."""
    return url.isdecimal() or urlsplit(url).scheme.lower() in LIVE_SCHEMES


def _command(job: str, wish: Wish) -> dict[str, JsonValue]:
    conf, epoch, encoding = wish
    width, height = conf.resolution.size
    return {
        "op": "tap",
        "job": job,
        "epoch": epoch,
        "fps": conf.fps,
        "width": width,
        "height": height,
        "encoding": encoding,
    }


def _release(tap: _Tap | None) -> None:
    if tap is not None:
        for lease in tap.granted.values():
            lease.release()
        tap.granted.clear()
