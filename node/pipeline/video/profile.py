"""What do the newest results say about a query, and how good can a configuration be?

Pure figures: the runtime of a query from a window of results, and the model of accuracy that planners share.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, sqrt
from statistics import fmean, pstdev
from typing import Final

from node.model.video import Resolution, Result, Runtime
from node.pipeline.stage import ServiceSpec

WINDOW: Final = 30  # results
STABLE_BELOW: Final = 0.3  # standard deviation of the object count
HEIGHT_OF_SCALE: Final = 1080
DEFAULT_OBJECT_PX: Final = 200.0  # width of an object at 1080p until one was seen
SPEED_PX_S: Final = 150.0  # how fast objects move at 1080p; a walker in a room


def objects_of(result: Result) -> int:
    """How many objects a result speaks of."""
    boxes = result.output.get("bbox")
    if isinstance(boxes, list):
        return len(boxes)
    counts = result.output.get("count_result")
    return sum(value for value in counts.values() if isinstance(value, int)) if isinstance(counts, dict) else 0


def runtime_of(results: Sequence[Result]) -> Runtime:
    """The figures of the newest WINDOW results, oldest first; all zero where there are none."""
    window = results[-WINDOW:]
    if not window:
        return Runtime()
    counts = [objects_of(result) for result in window]
    latencies = sorted(result.latency for result in window)
    stages = window[-1].stage_ms
    span = max(result.captured_at for result in window) - min(result.captured_at for result in window)
    return Runtime(
        delay=fmean(result.delay for result in window),
        obj_n=float(counts[-1]),
        obj_size=_mean_area(window[-1]),
        obj_stable=pstdev(counts) < STABLE_BELOW,
        latency_p50=_quantile(latencies, 0.5),
        latency_p95=_quantile(latencies, 0.95),
        fps=(len(window) - 1) / span if span > 0 else 0.0,
        stage_ms={stage: fmean(result.stage_ms.get(stage, 0.0) for result in window) for stage in stages},
    )


def accuracy_of(
    services: Sequence[ServiceSpec], resolution: Resolution, fps: float, camera_fps: float, obj_size: float
) -> float:
    """The expected fraction of objects that a held result still gets right, between 0 and 1.

    The services' resolution curves, times the share of camera frames whose held result still overlaps: a box of width w that
    moves v px/s keeps an IoU of 0.5 for w / 3v seconds. `obj_size` is a mean area in px² at 1080p, 0 where unknown.

    Source: video.md, model of accuracy.
    """
    found = 1.0
    for service in services:
        found *= service.accuracy[resolution]
    width = sqrt(obj_size) if obj_size > 0 else DEFAULT_OBJECT_PX
    held_s = width / (3 * SPEED_PX_S)
    return found * min(1.0, (floor(held_s * camera_fps) + 1) * min(fps, camera_fps) / camera_fps)


def _mean_area(result: Result) -> float:
    boxes = result.output.get("bbox")
    if not isinstance(boxes, list) or not boxes or not result.height:
        return 0.0
    areas = [
        abs(float(box[2]) - float(box[0])) * abs(float(box[3]) - float(box[1]))  # type: ignore[arg-type]
        for box in boxes
        if isinstance(box, list) and len(box) == 4
    ]
    return fmean(areas) * (HEIGHT_OF_SCALE / result.height) ** 2 if areas else 0.0


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, floor(share * len(ordered)))]
