"""What moves in a picture, compared with those before it from the same camera?

One service, `MotionDetection`: a picture is made small and grey; what differs from a slowly following background is grown
together into blobs. The backgrounds of a few streams are kept, so that streams that share a worker do not disturb each other.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from node.errors import Invalid
from node.pipeline.video.codec import check_pixels, only_image
from node.pipeline.video.opencv import cv2
from node.pipeline.video.service import Picture, Pictures, Values

WIDTH: Final = 320  # of the picture that is compared: half of 360p's, so that noise of a JPEG is averaged away
FOLLOWS: Final = 0.1  # of the difference, per picture: who stops has been learned after some thirty pictures
DIFFERENCE: Final = 18.0  # grey levels of 256; noise of a coded picture stays below 10
SMALLEST: Final = 0.0008  # share of the picture: a walker at the far end of a street
STREAMS: Final = 8  # backgrounds that one worker keeps, 230 kB each
MAX_BOXES: Final = 128  # the largest ones
_BLUR: Final = (5, 5)
_GROW: Final = np.ones((5, 5), np.uint8)

Grey = NDArray[np.float32]


class MotionDetection:
    """`image` → `bbox` of what moves, the largest first, and in `count_result` how many there are, as `moving`.

    The first picture of a stream, and one of another shape than the one before, is only learned: nothing moves in it.
    """

    def __init__(self, assets: Path, model_id: int) -> None:
        del assets  # it learns from what it sees
        if model_id:
            raise Invalid(f"motion_detection has no model {model_id}", hint="its only model is 0")
        self._backgrounds: OrderedDict[str, Grey] = OrderedDict()

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        picture = only_image(pictures, "motion_detection")
        height, width = picture.shape[:2]
        check_pixels(width, height)
        stream = str(values.get("stream", ""))
        now = small_grey(picture)
        before = self._backgrounds.pop(stream, None)
        if before is None or before.shape != now.shape:
            boxes: list[JsonValue] = []
            self._backgrounds[stream] = now
        else:
            boxes = [*moving(before, now, width, height)]
            cv2.accumulateWeighted(now, before, FOLLOWS)
            self._backgrounds[stream] = before
        if len(self._backgrounds) > STREAMS:
            self._backgrounds.popitem(last=False)
        return {"bbox": boxes, "count_result": {"moving": len(boxes)}}, {}


def small_grey(picture: Picture) -> Grey:
    """The picture in shades of grey, WIDTH wide at most, blurred."""
    height, width = picture.shape[:2]
    across = min(WIDTH, width)
    size = (across, max(1, round(height * across / width)))
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.GaussianBlur(grey, _BLUR, 0), np.float32)


def changed_share(before: Grey, now: Grey) -> float:
    """Which share of a picture differs from another one of its shape; all of it where the shapes differ."""
    return float((np.abs(now - before) > DIFFERENCE).mean()) if before.shape == now.shape else 1.0


def moving(before: Grey, now: Grey, width: int, height: int) -> list[list[JsonValue]]:
    """Boxes [x0, y0, x1, y1], in pixels of a `width` × `height` picture, of what differs, the largest first."""
    mask = (np.abs(now - before) > DIFFERENCE).astype(np.uint8)
    mask = np.asarray(cv2.dilate(mask, _GROW), np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    blobs = sorted((row for row in stats[1:].tolist() if row[4] >= SMALLEST * mask.size), key=lambda row: -row[4])
    across, down = width / mask.shape[1], height / mask.shape[0]
    return [
        [round(x * across), round(y * down), round((x + w) * across), round((y + h) * down)]
        for x, y, w, h, _ in blobs[:MAX_BOXES]
    ]
