"""The capture process: decodes one source at its own pace and hands the pictures that jobs want to the node.

Each job has a tap: a frame rate, a resolution, an encoding, the epoch of the plan they belong to. A picture is written into a
slot that the node granted to the tap; without a granted slot it is skipped, never waited for. Every wanted picture has a
number, so the node sees from the gaps what was skipped: for want of a slot, or
at the gate, because hardly anything had changed. End of stream and a broken source are messages, not crashes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
from pydantic import JsonValue

from node.clock import SystemClock
from node.errors import EcnodeError
from node.pipeline.video import codec
from node.pipeline.video.motion import Grey, changed_share, small_grey
from node.pipeline.video.service import Picture
from node.pipeline.video.source import Source, open_source
from node.roles.shared.arena import ArenaView
from node.roles.shared.channel import BlockingChannel, Header, Message
from node.roles.shared.processes import Inbox, run_child

BEHIND_S: Final = 0.5  # a file further behind its own time than this goes on from now instead of racing after it


@dataclass(frozen=True, slots=True)
class Gate:
    """A picture of which less than `share` has changed within `hold` seconds is skipped; 0 lets every one pass."""

    share: float
    hold: float


@dataclass(slots=True)
class _Tap:
    """What one job wants of the source; `number` counts the pictures meant for it, with a `credit` of 1 it takes the next."""

    job: str
    epoch: int = 0
    fps: int = 1
    width: int = 0
    height: int = 0
    encoding: str = "raw"
    number: int = 0
    credit: float = 1.0
    slots: deque[int] = field(default_factory=deque)
    shown: Grey | None = None
    shown_at: float = float("-inf")

    def wants_next(self, share: float) -> bool:
        """Whether it takes the next picture of the source, of which it takes `share`."""
        self.credit += share
        if not self.width or self.credit < 1.0:
            return False
        self.credit = min(self.credit - 1.0, 1.0)
        return True


class _Capture:
    def __init__(self, channel: BlockingChannel, arena: ArenaView, source: Source, gate: Gate, most_fps: float | None) -> None:
        self._channel = channel
        self._gate = gate
        self._arena = arena
        self._source = source
        self._most_fps = most_fps or float("inf")
        self._taps: dict[str, _Tap] = {}
        self._clock = SystemClock()

    def obey(self, message: Message) -> None:
        command = cast(dict[str, Any], message.header)
        tap = self._taps.setdefault(command["job"], _Tap(command["job"]))
        match command["op"]:
            case "tap":
                tap.epoch, tap.fps, tap.encoding = command["epoch"], command["fps"], command["encoding"]
                tap.width, tap.height = command["width"], command["height"]
            case "grant":
                tap.slots.append(command["slot"])
            case "untap":
                del self._taps[tap.job]
                self._channel.send({"op": "untapped", "job": tap.job})

    def run(self, inbox: Inbox) -> None:
        """Reads the source to its end."""
        period = 1.0 / self._source.fps
        due = self._clock.monotonic()
        used: Picture | None = None
        while True:
            wait = 0.0 if self._source.live else max(0.0, due - self._clock.monotonic())
            for message in inbox.take(wait):
                self.obey(message)
            if not self._source.live and self._clock.monotonic() < due:
                continue
            takers = [tap for tap in self._taps.values() if tap.wants_next(min(tap.fps, self._most_fps) * period)]
            picture: Picture | None = None
            if any(tap.slots for tap in takers):
                picture = used = self._source.read(used)
                if picture is None:
                    return
            elif not self._source.skip():
                return
            now = self._clock.monotonic()
            due = due + period if now - due < BEHIND_S else now + period
            small = small_grey(picture) if picture is not None and self._gate.share else None
            for tap in takers:
                tap.number += 1
                if picture is not None and tap.slots and self._passes(tap, small, now):
                    self._hand_over(tap, picture, now)

    def _passes(self, tap: _Tap, small: Grey | None, now: float) -> bool:
        """Whether enough has changed since the job's last picture, or that one is too old to hold."""
        if small is None:
            return True
        holds = tap.shown is not None and now - tap.shown_at < self._gate.hold
        if holds and tap.shown is not None and changed_share(tap.shown, small) < self._gate.share:
            return False
        tap.shown, tap.shown_at = small, now
        return True

    def counts(self) -> dict[str, JsonValue]:
        """How many pictures each job's tap has counted."""
        return {tap.job: tap.number for tap in self._taps.values()}

    def _hand_over(self, tap: _Tap, picture: Picture, captured: float) -> None:
        slot = tap.slots.popleft()
        sized = codec.resize(picture, tap.width, tap.height)
        encoded = codec.encode_jpeg(sized) if tap.encoding == "jpeg" else None
        size = len(encoded) if encoded is not None else sized.nbytes
        memory = self._arena.slot(slot, size)
        if encoded is not None:
            memory[:] = encoded
        else:
            np.frombuffer(memory, np.uint8).reshape(sized.shape)[:] = sized
        self._channel.send(
            {
                "op": "frame",
                "job": tap.job,
                "slot": slot,
                "number": tap.number,
                "epoch": tap.epoch,
                "camera_frame": self._source.position,
                "captured": captured,
                "width": tap.width,
                "height": tap.height,
                "encoding": tap.encoding,
                "size": size,
            }
        )


def _capture(channel: BlockingChannel, settings: Header, inbox: Inbox) -> None:
    chosen = cast(dict[str, Any], settings)
    arena = ArenaView(chosen["descriptors"]["arena"], chosen["slots"], chosen["slot_bytes"])
    capture: _Capture | None = None
    try:
        source = open_source(chosen["url"], chosen["loop"])
        capture = _Capture(channel, arena, source, Gate(chosen["gate"], chosen["hold"]), chosen["fps"])
        channel.send({"op": "opened", "fps": source.fps, "width": source.width, "height": source.height, "live": source.live})
        for message in inbox.take(None):
            capture.obey(message)
        capture.run(inbox)
        channel.send({"op": "ended", "counts": capture.counts()})
    except EcnodeError as error:
        counts: dict[str, JsonValue] = capture.counts() if capture else {}
        channel.send({"op": "broken", "reason": error.message, "counts": counts})


if __name__ == "__main__":
    run_child(_capture, Inbox)
