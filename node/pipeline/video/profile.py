"""What do the newest results say about a query, and how good can a configuration be?

Pure figures: the runtime of a query from a window of results, and the model of accuracy that planners share. What stages gave
may come from another node, so that nothing in an output is taken for a number before it was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import floor, hypot, prod, sqrt
from statistics import fmean, median, pstdev
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
DEFAULT_SPEED_PX_S: Final = 150.0  # how fast objects move at 1080p until one was seen; a walker in a room
SPEED_LEAST_PX_S, SPEED_MOST_PX_S = 5.0, 5000.0  # what stands still moves by the detector's own trembling
SPEED_WINDOW: Final = 6  # results
SPEED_GAP_S: Final = 0.2  # between two of them: in less time a detector trembles more than things move
SPEED_OBJECTS: Final = 16  # of one result: each is compared with each
SAME_BOX: Final = 0.5  # overlap
COMPARED_OBJECTS: Final = 64  # of one picture: each is compared with each
SAME_OBJECT: Final = 1.5  # widths that an object may move between two results and still be taken for the same


def objects_of(result: Result) -> int:
    """How many objects a result speaks of, at most `MOST_OBJECTS`."""
    return _counted(result.output)


def _counted(output: Mapping[str, JsonValue]) -> int:
    boxes = [found for name, found in output.items() if name == "bbox" or name.endswith("_bbox")]
    lists = [found for found in boxes if isinstance(found, list)]
    if lists:  # branches that both give boxes have theirs under names of their own
        return min(sum(map(len, lists)), MOST_OBJECTS)
    counts = output.get("count_result")
    if not isinstance(counts, dict):
        return 0
    return min(sum(max(value, 0) for value in counts.values() if isinstance(value, int)), MOST_OBJECTS)


def agreement(output: Mapping[str, JsonValue], size: tuple[int, int], held: Result | None) -> tuple[float | None, int]:
    """The fraction of the objects of an output, found in a picture of that size, that a held result has as well; how many.

    Boxes agree where they overlap by half. Where there are none the numbers are compared. None without anything to compare.
    """
    boxes, others = _unit_boxes(output, size), _unit_boxes(held.output, (held.width, held.height)) if held else []
    if boxes and held is not None:
        return sum(any(_overlap(box, other) >= SAME_BOX for other in others) for box in boxes) / len(boxes), len(boxes)
    found = _counted(output)
    if held is None or not found:
        return None, found
    return min(objects_of(held), found) / max(objects_of(held), found), found


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
        obj_speed=_speed(window),
        obj_stable=pstdev(counts) < STABLE_BELOW,
        latency_p50=_quantile(latencies, 0.5),
        latency_p95=_quantile(latencies, 0.95),
        fps=min((len(window) - 1) / span, MOST_FPS) if span > 0 else 0.0,
        stage_ms={stage: fmean(result.stage_ms.get(stage, 0.0) for result in window) for stage in stages},
    )


def found_at(services: Sequence[ServiceSpec], resolution: Resolution) -> float:
    """The fraction of objects that all of the services still get right at a resolution."""
    return prod(service.accuracy[resolution] for service in services)


def held_share(rate: float, camera_fps: float, obj_size: float, obj_speed: float, age: float = 0.0) -> float:
    """The share of camera frames that the newest of `rate` results a second still fits, between 0 and 1.

    A box of width w that moves v px/s keeps an IoU of 0.5 for w / 3v seconds; a result that comes `age` seconds after its
    picture has lost that much of it, though its own frame it always fits. `obj_size` is a mean area in px² and `obj_speed` in
    px/s at 1080p, 0 where unknown.

    Source: video.md, model of accuracy.
    """
    width = sqrt(obj_size) if obj_size > 0 else DEFAULT_OBJECT_PX
    left_s = max(width / (3 * (obj_speed or DEFAULT_SPEED_PX_S)) - age, 0.0)
    return min(1.0, (floor(left_s * camera_fps) + 1) * min(rate, camera_fps) / camera_fps)


def _mean_area(result: Result) -> float:
    boxes = result.output.get("bbox")
    if not isinstance(boxes, list) or not result.height:
        return 0.0
    areas = [area for box in boxes if (area := _area(box)) is not None]
    return min(fmean(areas) * (HEIGHT_OF_SCALE / result.height) ** 2, MOST_AREA) if areas else 0.0


def _speed(window: Sequence[Result]) -> float:
    """The median speed of the objects over the newest results, in px/s at 1080p; 0 where none was seen twice."""
    apart: list[Result] = []
    for result in reversed(window):
        if not apart or apart[-1].captured_at - result.captured_at >= SPEED_GAP_S:
            apart.append(result)
    seen = [(result.captured_at, _centres(result)) for result in reversed(apart[:SPEED_WINDOW])]
    speeds: list[float] = []
    for (before, there), (after, here) in pairwise(seen):
        if there:
            for x, y, width in here:
                moved = min(hypot(x - u, y - v) for u, v, _ in there)
                if moved <= SAME_OBJECT * width:
                    speeds.append(moved / (after - before))
    return max(SPEED_LEAST_PX_S, min(median(speeds), SPEED_MOST_PX_S)) if speeds else 0.0


def _centres(result: Result) -> list[tuple[float, float, float]]:
    """Middle and width of the objects' boxes at 1080p, the first few of them."""
    boxes = result.output.get("bbox")
    if not isinstance(boxes, list) or not result.height or not result.width:
        return []
    across, down = HEIGHT_OF_SCALE * 16 / 9 / result.width, HEIGHT_OF_SCALE / result.height
    found = [edges for box in boxes[:SPEED_OBJECTS] if (edges := _edges(box)) is not None]
    return [((x0 + x1) / 2 * across, (y0 + y1) / 2 * down, abs(x1 - x0) * across) for x0, y0, x1, y1 in found]


def _unit_boxes(output: Mapping[str, JsonValue], size: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    """The boxes of an output in fractions of its picture, the first few of them."""
    boxes = output.get("bbox")
    if not isinstance(boxes, list) or not all(size):
        return []
    found = [edges for box in boxes[:COMPARED_OBJECTS] if (edges := _edges(box)) is not None]
    return [(x0 / size[0], y0 / size[1], x1 / size[0], y1 / size[1]) for x0, y0, x1, y1 in found]


def _overlap(box: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    areas = sum(abs(each[2] - each[0]) * abs(each[3] - each[1]) for each in (box, other))
    return across * down / (areas - across * down)


def _area(box: JsonValue) -> float | None:
    """Pixels inside a box; None for what is no box."""
    edges = _edges(box)
    return None if edges is None else abs(edges[2] - edges[0]) * abs(edges[3] - edges[1])


def _edges(box: JsonValue) -> tuple[float, float, float, float] | None:
    """The four edges of a box; None for what is no box."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    x0, y0, x1, y1 = (float(edge) if isinstance(edge, int | float) and -MOST_PX <= edge <= MOST_PX else None for edge in box)
    return None if x0 is None or y0 is None or x1 is None or y1 is None else (x0, y0, x1, y1)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, floor(share * len(ordered)))]
