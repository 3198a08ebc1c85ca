"""Which people and vehicles are in a picture?

One service, `CarDetection`: a CenterNet looks at the whole picture, squeezed into a square, and gives two maps. Where the first
has a peak, an object of that class has its middle; the second says how far away its edges are. Runs on OpenCV 4.14 and 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from node.assets import path as asset_path
from node.errors import Invalid
from node.pipeline.video.centernet import HEAT, LTRB, SIZES, STRIDE
from node.pipeline.video.codec import check_pixels, only_image
from node.pipeline.video.opencv import cv2
from node.pipeline.video.service import Pictures, Values

SCORE_THRESHOLD: Final = 0.3
NMS_THRESHOLD: Final = 0.5
MAX_OBJECTS: Final = 128  # the most probable ones
MAX_PEAKS: Final = 512  # before overlap is removed; a picture of noise must not cost more than a street
MIN_SIDE: Final = 16

CLASSES: Final = {"person": 0, "car": 2, "truck": 7, "bus": 5, "motorcycle": 3, "bicycle": 1}  # places among COCO's 80
_LABELS: Final = tuple(CLASSES)
_CHANNELS: Final = tuple(CLASSES.values())
# A rider and a bicycle may share a place, a car and a truck may not: those are two readings of one vehicle.
_KIND: Final = np.array([_LABELS.index("car") if label in {"truck", "bus"} else place for place, label in enumerate(_LABELS)])

Floats = NDArray[np.float32]
Places = NDArray[np.intp]


class CarDetection:
    """`image` → `bbox`, `prob` and `label` of people and vehicles, the most probable first, and in `count_result` how many
    there are of each class.

    `model_id` chooses the side of the square that the network sees: 0 is 384, the default; 1, 2 and 3 are 256, 320 and 512.
    """

    def __init__(self, assets: Path, model_id: int) -> None:
        if not 0 <= model_id < len(SIZES):
            raise Invalid(f"car_detection has no model {model_id}", hint=f"its models are 0 to {len(SIZES) - 1}")
        self._side = SIZES[model_id]
        # One network per size, never fed another: OpenCV 4.14 returns garbage after a change.
        self._net = cv2.dnn.readNetFromONNX(str(asset_path(assets, f"centernet_{self._side}.onnx")))

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        del values  # a detector needs nothing but the picture
        picture = only_image(pictures, "car_detection")
        height, width = picture.shape[:2]
        check_pixels(width, height)
        if min(width, height) < MIN_SIDE:
            raise Invalid(f"a picture of {width} × {height} is too small: each side needs {MIN_SIDE} pixels")
        self._net.setInput(cv2.dnn.blobFromImage(picture, 1.0, (self._side, self._side), swapRB=True))
        heat, ltrb = (np.asarray(output, np.float32)[0] for output in self._net.forward([HEAT, LTRB]))
        kinds, chances, boxes = decode(heat[list(_CHANNELS)], ltrb)
        scale = np.array([width, height, width, height], np.float32) / self._side
        limits = np.array([width, height, width, height])
        pixels = np.clip(np.rint(boxes * scale), 0, limits).astype(int)
        return _values(kinds, chances, pixels), {}


def decode(heat: Floats, ltrb: Floats) -> tuple[Places, Floats, Floats]:
    """The objects in a heat map (classes × rows × columns) and a map of edges (4 × rows × columns), the most probable first:
    the place of their class, how probable they are, and x0, y0, x1, y1 in pixels of the network's input.
    """
    kinds, rows, columns = np.nonzero((heat > SCORE_THRESHOLD) & (heat == _highest_around(heat)))
    chances = heat[kinds, rows, columns]
    order = np.argsort(-chances, kind="stable")[:MAX_PEAKS]
    kinds, rows, columns, chances = kinds[order], rows[order], columns[order], chances[order]
    middles = np.stack([columns, rows, columns, rows], axis=1).astype(np.float32) * STRIDE
    boxes = middles + ltrb[:, rows, columns].T * np.array([-1, -1, 1, 1], np.float32)
    kept = _distinct(boxes, _KIND[kinds])
    return kinds[kept], chances[kept], boxes[kept]


def _highest_around(heat: Floats) -> Floats:
    """For every cell the highest value among it and its eight neighbours."""
    _, rows, columns = heat.shape
    wide = np.pad(heat, ((0, 0), (1, 1), (1, 1)))
    across = np.maximum(np.maximum(wide[:, :, :columns], wide[:, :, 1 : columns + 1]), wide[:, :, 2:])
    return np.maximum(np.maximum(across[:, :rows], across[:, 1 : rows + 1]), across[:, 2:])


def _distinct(boxes: Floats, kinds: Places) -> list[int]:
    """The places of the first `MAX_OBJECTS` boxes that no earlier one of their kind overlaps by more than `NMS_THRESHOLD`."""
    left, top, right, bottom = boxes.T
    areas = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    kept: list[int] = []
    for place in range(len(boxes)):
        others = [other for other in kept if kinds[other] == kinds[place]]
        across = np.minimum(right[others], right[place]) - np.maximum(left[others], left[place])
        down = np.minimum(bottom[others], bottom[place]) - np.maximum(top[others], top[place])
        both = np.maximum(across, 0) * np.maximum(down, 0)
        if not (both > NMS_THRESHOLD * (areas[others] + areas[place] - both)).any():
            kept.append(place)
            if len(kept) == MAX_OBJECTS:
                break
    return kept


def _values(kinds: Places, chances: Floats, boxes: NDArray[np.int_]) -> Values:
    labels = [_LABELS[kind] for kind in kinds]
    bbox: list[JsonValue] = [[int(edge) for edge in box] for box in boxes]
    prob: list[JsonValue] = [round(float(chance), 4) for chance in chances]
    label: list[JsonValue] = list(labels)
    return {"bbox": bbox, "prob": prob, "label": label, "count_result": {each: labels.count(each) for each in _LABELS}}
