"""How is a clip made of real faces whose place in every frame is known?

Cards with a face move on closed paths over a brick wall, each inside a cell of its own, so that they never meet; they come and
go with hard cuts at known frames. Half of them are a still, half a live clip. Where a face is on its card is found once, on the
source picture; where the card is on the frame follows from its path; so the truth needs no detector on the frame itself.

`python -m node.pipeline.video.synthesis FOLDER TARGET` makes the derived assets; `node.assets.fetch` runs it as a child.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from node.assets import path as asset_path
from node.errors import Unavailable
from node.pipeline.video.codec import encode_jpeg, resize
from node.pipeline.video.faces import FaceDetection
from node.pipeline.video.opencv import cv2
from node.pipeline.video.service import Picture
from node.pipeline.video.source import open_source, pictures

WIDTH: Final = 1280
HEIGHT: Final = 720
FPS: Final = 25
FRAMES: Final = 500
CALIBRATION_FRAME: Final = 210  # all seven faces are there
CALIBRATION_SCALE: Final = 1.5  # of 1280 × 720: 1920 × 1080

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Card:
    """A moving face: which picture it shows, how large, in which cell of the frame, on which path, and when.

    `cell` is x0, y0, x1, y1; `turns` counts the swings to the side and up and down in one clip; `seen` are frames [from, to).
    """

    live: bool
    mirrored: bool
    side: int
    cell: tuple[int, int, int, int]
    turns: tuple[int, int]
    seen: Sequence[tuple[int, int]]

    def place(self, frame: int, scale: float) -> tuple[int, int]:
        """The top left corner in pixels of a frame that is `scale` times as large."""
        x0, y0, x1, y1 = self.cell
        turn = 2 * math.pi * frame / FRAMES
        x = x0 + (x1 - x0 - self.side) * (0.5 + 0.48 * math.sin(self.turns[0] * turn + self.side))
        y = y0 + (y1 - y0 - self.side) * (0.5 + 0.48 * math.cos(self.turns[1] * turn + self.side))
        return round(x * scale), round(y * scale)

    def there(self, frame: int) -> bool:
        """Whether the card is on the frame."""
        return any(start <= frame < end for start, end in self.seen)


CARDS: Final = (
    Card(False, False, 300, (0, 0, 430, 380), (2, 3), [(0, FRAMES)]),
    Card(True, False, 290, (430, 0, 860, 380), (3, 2), [(0, FRAMES)]),
    Card(False, True, 230, (860, 0, 1280, 380), (4, 3), [(0, 340), (400, FRAMES)]),
    Card(True, True, 230, (0, 380, 340, 720), (3, 4), [(60, 300), (430, FRAMES)]),
    Card(False, False, 160, (340, 380, 640, 720), (5, 4), [(110, 380)]),
    Card(True, False, 96, (640, 380, 940, 720), (4, 5), [(150, 420)]),
    Card(False, True, 76, (940, 380, 1280, 720), (5, 6), [(190, 300), (350, 460)]),
)


@dataclass(frozen=True, slots=True)
class Portrait:
    """A square picture and the face on it, as fractions of its side."""

    picture: Picture
    face: Box

    def mirrored(self) -> Portrait:
        """The same portrait, left and right exchanged."""
        x0, y0, x1, y1 = self.face
        return Portrait(np.asarray(cv2.flip(self.picture, 1), np.uint8), (1 - x1, y0, 1 - x0, y1))


class Scene:
    """The collage at one scale; draws any of its frames."""

    def __init__(self, folder: Path, scale: float = 1.0) -> None:
        self._scale = scale
        detection = FaceDetection(folder, 0)
        still = _still(asset_path(folder, "astronaut.png"))
        self._still = _portrait(detection, still, (110, 10, 340, 240))
        with open_source(str(asset_path(folder, "carphone.mp4")), loop=False) as clip:
            self._live = [_portrait(detection, picture, (2, 0, 146, 144)) for picture in pictures(clip)]
        wall = _still(asset_path(folder, "brick.png"))
        self._wall = np.asarray(resize(wall, round(WIDTH * scale), round(HEIGHT * scale)) * 0.6, np.uint8)

    def draw(self, frame: int) -> tuple[Picture, list[list[int]]]:
        """One frame, and the box of every face in it."""
        picture, boxes = self._wall.copy(), []
        for card in CARDS:
            if not card.there(frame):
                continue
            portrait = self._shown(card, frame)
            x, y = card.place(frame, self._scale)
            side = round(card.side * self._scale)
            picture[y : y + side, x : x + side] = resize(portrait.picture, side, side)
            x0, y0, x1, y1 = portrait.face
            boxes.append([x + round(x0 * side), y + round(y0 * side), x + round(x1 * side), y + round(y1 * side)])
        return picture, boxes

    def _shown(self, card: Card, frame: int) -> Portrait:
        last = len(self._live) - 1
        swing = (frame + card.side) % (2 * last)
        portrait = self._live[min(swing, 2 * last - swing)] if card.live else self._still  # there and back: no jump
        return portrait.mirrored() if card.mirrored else portrait


def collage(folder: Path, target: Path) -> None:
    """Writes collage.mp4, collage.json (its truth) and calibration.jpg to `target`, from the ingredients in `folder`.

    Truth: `{"width", "height", "fps", "frames": [{"count", "boxes": [[x0, y0, x1, y1], …]}, …]}`, one entry per frame.
    Blocks for a few seconds. The same ingredients and the same OpenCV give the same bytes.

    Raises:
        AssetMissing: an ingredient is not there.
        Unavailable: this OpenCV cannot write the clip.
    """
    scene = Scene(folder)
    truth = list(_write_clip(scene, target / "collage.mp4"))
    document = {"width": WIDTH, "height": HEIGHT, "fps": FPS, "frames": truth}
    (target / "collage.json").write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    still, _ = Scene(folder, CALIBRATION_SCALE).draw(CALIBRATION_FRAME)
    (target / "calibration.jpg").write_bytes(encode_jpeg(still, quality=92))


def _write_clip(scene: Scene, path: Path) -> Iterator[dict[str, object]]:
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")  # the wheels' FFmpeg has no H.264 encoder
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise Unavailable(f"this OpenCV ({cv2.__version__}) cannot write {path.name}: it lacks the mp4v encoder")
    try:
        for frame in range(FRAMES):
            picture, boxes = scene.draw(frame)
            writer.write(picture)
            yield {"count": len(boxes), "boxes": boxes}
    finally:
        writer.release()


def _still(path: Path) -> Picture:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise Unavailable(f"{path.name} cannot be decoded", hint="delete it and run: ecnode assets fetch")
    return np.asarray(picture, np.uint8)


def _portrait(detection: FaceDetection, picture: Picture, cut: tuple[int, int, int, int]) -> Portrait:
    left, top, right, bottom = cut
    square = np.ascontiguousarray(picture[top:bottom, left:right])
    boxes, _ = detection.run({}, {"image": [square]})
    found = boxes["bbox"]
    if not isinstance(found, list) or not found or not isinstance(found[0], list):
        raise Unavailable("an ingredient of the collage shows no face", hint="fetch the assets into an empty folder")
    x0, y0, x1, y1 = (float(str(edge)) / (right - left) for edge in found[0])
    return Portrait(square, (x0, y0, x1, y1))


if __name__ == "__main__":
    collage(Path(sys.argv[1]), Path(sys.argv[2]))
