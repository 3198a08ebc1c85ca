"""What do the newest results say about a query, and how good can a configuration be?

Pure figures: the runtime of a query from a window of results, and the model of accuracy that planners share. What stages gave
may come from another node, so that nothing in an output is taken for a number before it was looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, sqrt
from statistics import fmean, pstdev
from typing import Final

from pydantic import JsonValue

from node.model.video import Resolution, Result, Runtime
from node.pipeline.stage import ServiceSpec

WINDOW: Final = 30  # results
STABLE_BELOW: Final = 0.3  # standard deviation of the object count
HEIGHT_OF_SCALE: Final = 1080
DEFAULT_OBJECT_PX: Final = 200.0  # width of an object at 1080p until one was seen
MOST_OBJECTS: Final = 10_000  # in one picture: whoever claims more does not count
MOST_FPS: Final = 1000.0
MOST_PX: Final = 1e5  # how far from the origin a corner of a box can lie
MOST_AREA: Final = 1e7  # of an object in px² at 1080p: four pictures of 16:9
SPEED_PX_S: Final = 150.0  # how fast objects move at 1080p; a walker in a room


def objects_of(result: Result) -> int:
    """How many objects a result speaks of, at most `MOST_OBJECTS`."""
    boxes = [found for name, found in result.output.items() if name == "bbox" or name.endswith("_bbox")]
    lists = [found for found in boxes if isinstance(found, list)]
    if lists:  # branches that both give boxes have theirs under names of their own
        return min(sum(map(len, lists)), MOST_OBJECTS)
    counts = result.output.get("count_result")
    if not isinstance(counts, dict):
        return 0
    return min(sum(max(value, 0) for value in counts.values() if isinstance(value, int)), MOST_OBJECTS)


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
        fps=min((len(window) - 1) / span, MOST_FPS) if span > 0 else 0.0,
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
    if not isinstance(boxes, list) or not result.height:
        return 0.0
    areas = [area for box in boxes if (area := _area(box)) is not None]
    return min(fmean(areas) * (HEIGHT_OF_SCALE / result.height) ** 2, MOST_AREA) if areas else 0.0


def _area(box: JsonValue) -> float | None:
    """Pixels inside a box; None for what is no box."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    edges = [float(edge) for edge in box if isinstance(edge, int | float) and -MOST_PX <= edge <= MOST_PX]
    return abs(edges[2] - edges[0]) * abs(edges[3] - edges[1]) if len(edges) == 4 else None


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, floor(share * len(ordered)))]
