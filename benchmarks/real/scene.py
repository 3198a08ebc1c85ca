"""Where are the faces really, and how much of a run's answers is right?

The clip is cut from the collage, whose boxes are known in every frame without a detector. A result stands for its own frame and
for those after it until the next one is taken; what is right of it is the share of the true boxes that one of its boxes covers
with an overlap of at least half, frame by frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, hypot, inf
from pathlib import Path
from statistics import fmean, median
from typing import Final

from planning.run import Frame, Track
from pydantic import JsonValue

from node.model.document import ResultItem

OVERLAP: Final = 0.5
SLACK_S: Final = 0.2  # beyond its time and its limit a result stands for nothing any more
SPEED_FRAMES: Final = 5
PICTURE_AREA: Final = 1920.0 * 1080.0  # the planner's scale

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions of the picture."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of wall time."""

    began: float
    seconds: float

    def has(self, at: float) -> bool:
        """Whether a moment lies in it."""
        return self.began <= at < self.began + self.seconds


class Truth:
    """The boxes of every frame of the clip, shown `fps` times a second, over and over."""

    def __init__(self, collage: Path, every: int, fps: float) -> None:
        told = json.loads(collage.read_text())
        size = told["width"], told["height"]
        self.fps = fps
        self.frames = [unit(frame["boxes"], *size) for frame in told["frames"][::every]]
        self.area = fmean(area(box) for boxes in self.frames for box in boxes) * PICTURE_AREA
        self.speed = self._speed()

    def right(self, boxes: Sequence[Box], frame: int) -> float:
        """The share of what is in a frame that these boxes show."""
        there = self.frames[frame % len(self.frames)]
        return sum(any(overlap(one, box) >= OVERLAP for box in boxes) for one in there) / len(there) if there else 1.0

    def right_for(self, first: int, count: int) -> float:
        """The share that is right over so many frames of a result that was perfect in the first of them."""
        boxes = self.frames[first % len(self.frames)]
        return fmean(self.right(boxes, first + place) for place in range(count))

    def _speed(self) -> float:
        """The median speed of faces in px/s at the planner's scale."""
        moves = []
        for before, after in pairwise(self.frames[::SPEED_FRAMES]):
            for x0, y0, x1, _ in after:
                near = min((hypot((x0 - u0) * 1920, (y0 - v0) * 1080) for u0, v0, _, _ in before), default=inf)
                if near <= (x1 - x0) * 1920:
                    moves.append(near * self.fps / SPEED_FRAMES)
        return median(moves)


def unit(boxes: JsonValue, width: int, height: int) -> list[Box]:
    """Boxes in pixels as fractions of a picture."""
    return [(x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in boxes]


def area(box: Box) -> float:
    """Of the picture."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    both = area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return both / (area(one) + area(other) - both) if both else 0.0


def frames_of(results: Sequence[ResultItem], rates: Mapping[int, float], truth: Truth, track: Track, span: Span) -> list[Frame]:
    """What a real run was worth, as a simulated one is told: frames, what each covers, and which parts nothing covered.

    `rates` are the frame rates of the plans by their epochs.
    """
    slowest = min(rates.values(), default=1.0)
    ordered = sorted(results, key=lambda item: item.captured_at)
    before = [item for item in ordered if item.captured_at < span.began]
    shown = before[-1:] + [item for item in ordered if span.has(item.captured_at)]
    ends = [*(item.captured_at for item in shown[1:]), span.began + span.seconds]
    found = [] if shown else [Frame(0.0, span.seconds, inf, 0.0)]
    for item, end in zip(shown, ends, strict=False):
        at, gone = item.captured_at - span.began, max(span.began - item.captured_at, 0.0)
        covers = end - item.captured_at
        most = 1 / min(rates.get(item.plan_epoch, slowest), truth.fps) + track.limit + SLACK_S
        stands = min(covers, most)
        boxes = unit(item.output["bbox"], item.width, item.height)
        frames = max(ceil(stands * truth.fps - 1e-6), 1)
        right = fmean(truth.right(boxes, item.cam_frame_id + place) for place in range(frames))
        if stands > gone:
            figure = item.latency if track.constraint.latency else item.delay
            found.append(Frame(at + gone, stands - gone, figure, right))
        if covers > most:
            found.append(Frame(max(at + stands, 0.0), covers - max(stands, gone), inf, 0.0))
    return found
