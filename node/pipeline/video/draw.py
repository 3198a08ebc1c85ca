"""What does a reader see of a result: the frame with its boxes, what and how sure each is, where heads point, a line of text?

The output may come from another node, so that its numbers are checked here before they are drawn; what is no box is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from pydantic import JsonValue

from node.pipeline.video.codec import check_picture
from node.pipeline.video.opencv import cv2
from node.pipeline.video.pose import is_up
from node.pipeline.video.service import Picture, Values

MAX_BOXES: Final = 256
MAX_BRANCHES: Final = 8
MAX_LABEL: Final = 120
MAX_NAME: Final = 24  # of what a box shows

Colour: TypeAlias = tuple[int, int, int]
_UP: Final = (80, 200, 60)
_DOWN: Final = (40, 140, 255)
_PLAIN: Final = (230, 180, 40)
_TEXT: Final = (255, 255, 255)
_BAR: Final = (30, 30, 30)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_LINE: Final = cv2.LINE_AA


def annotate(picture: Picture, output: Values, label: str) -> Picture:
    """A copy of the picture with the result drawn into it, and the label on a bar of its own below, so that it hides nothing.

    Boxes of heads that are up are green, of others orange, of faces without a pose and of everything else blue.

    Raises:
        Invalid: `picture` is none.
    """
    check_picture(picture)
    canvas = picture.copy()
    size = max(0.4, picture.shape[0] / 900)  # of the letters: legible at 360p, not huge at 1080p
    for branch in _branches(output):
        _draw(canvas, output, branch, size)
    return np.vstack([canvas, _bar(picture.shape[1], label, size)])


def _branches(output: Values) -> list[str]:
    """What stands before `bbox` in the output: nothing, or the names of the stages of several branches."""
    return [name.removesuffix("bbox") for name in output if name == "bbox" or name.endswith("_bbox")][:MAX_BRANCHES]


def _draw(canvas: Picture, output: Values, branch: str, size: float) -> None:
    """The boxes of one branch."""
    thick = max(2, round(size * 2))
    boxes = _rows(output.get(f"{branch}bbox"), 4)
    chances = _rows([[chance] for chance in _items(output.get(f"{branch}prob"))], 1)
    poses = _rows(output.get("pose") if branch in {"", "face_detection_"} else None, 3)
    names = _items(output.get(f"{branch}label", output.get("label") if branch in {"", "car_detection_"} else None))
    for place, box in enumerate(boxes):
        if box is None:
            continue
        pose = poses[place] if place < len(poses) else None
        chance = chances[place] if place < len(chances) else None
        colour: Colour = _PLAIN if pose is None else _UP if is_up(pose[0], pose[1]) else _DOWN
        left, top, right, bottom = (_pixel(edge) for edge in box)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, thick)
        name = names[place] if place < len(names) else None
        words = [_ascii(name, MAX_NAME)] if isinstance(name, str) else []
        words += [f"{chance[0]:.2f}"] if chance is not None else []
        if words:
            _tag(canvas, (left, top), " ".join(words), colour, size)
        if pose is not None:
            _arrow(canvas, (left, top, right, bottom), pose, thick)


def _tag(canvas: Picture, corner: tuple[int, int], text: str, colour: Colour, size: float) -> None:
    """Dark letters on the box's colour, above the box or, at the upper edge, inside it."""
    (across, down), base = cv2.getTextSize(text, _FONT, size * 0.8, 1)
    left, bottom = corner[0], max(corner[1], down + base)
    cv2.rectangle(canvas, (left, bottom - down - base), (left + across, bottom), colour, -1)
    cv2.putText(canvas, text, (left, bottom - base // 2), _FONT, size * 0.8, _BAR, 1, _LINE)


def _arrow(canvas: Picture, box: tuple[int, int, int, int], pose: Sequence[float], thick: int) -> None:
    """From the middle of the face to where it looks; straight at the camera it is a dot."""
    left, top, right, bottom = box
    yaw, pitch = math.radians(pose[0]), math.radians(pose[1])
    length = max(right - left, bottom - top)
    start = ((left + right) // 2, (top + bottom) // 2)
    end = (start[0] + round(length * math.sin(yaw) * math.cos(pitch)), start[1] - round(length * math.sin(pitch)))
    cv2.circle(canvas, start, 2 * thick, _TEXT, -1, _LINE)
    cv2.arrowedLine(canvas, start, end, _TEXT, thick, _LINE, 0, 0.25)


def _bar(width: int, label: str, size: float) -> Picture:
    """One line of text, shrunk until it fits."""
    text = _ascii(label, MAX_LABEL)
    rim = round(10 * size)
    (across, down), base = cv2.getTextSize(text, _FONT, size, 1)
    fitted = size * min(1.0, (width - 2 * rim) / max(across, 1))
    bar = np.full((down + base + 2 * rim, width, 3), _BAR, np.uint8)
    cv2.putText(bar, text, (rim, rim + down), _FONT, fitted, _TEXT, max(1, round(fitted * 1.5)), _LINE)
    return bar


def _ascii(text: str, length: int) -> str:
    """As much of it as is drawn; OpenCV's font is trusted with ASCII only."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text[:length])


def _items(value: JsonValue) -> list[JsonValue]:
    return value[:MAX_BOXES] if isinstance(value, list) else []


def _rows(value: JsonValue, length: int) -> list[list[float] | None]:
    """Each entry as `length` finite numbers, or None where it is something else, so that places still match."""
    rows: list[list[float] | None] = []
    for entry in _items(value):
        numbers = [float(x) for x in entry if isinstance(x, int | float)] if isinstance(entry, list) else []
        fits = isinstance(entry, list) and len(numbers) == len(entry) == length and all(map(math.isfinite, numbers))
        rows.append(numbers if fits else None)
    return rows


def _pixel(value: float) -> int:
    return round(min(max(value, -32_000.0), 32_000.0))  # OpenCV draws with 16 bits before the point
