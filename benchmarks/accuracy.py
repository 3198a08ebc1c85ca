"""How much do the services find at each resolution, and how does their time grow with the number of objects?

The figures of `SERVICES` in node/pipeline/stage.py come from here (docs/decisions/0005, 0008 and 0018). Frames of the collage,
and of the street for car_detection, are resized, coded as JPEG and decoded, as a frame is on its way to a worker; what a clip
has not is enlarged. The street has no truth: each model is judged by what it finds at 1080p.

`python benchmarks/accuracy.py [--quick] [--json]`, with the assets where ECNODE_NODE__ASSETS_DIR says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from node.assets import fetch, missing, path
from node.model.video import Resolution
from node.pipeline.video.centernet import SIZES
from node.pipeline.video.codec import decode_jpeg, encode_jpeg, resize
from node.pipeline.video.faces import FaceAlignment, FaceDetection, crop_face
from node.pipeline.video.motion import MotionDetection
from node.pipeline.video.opencv import cv2
from node.pipeline.video.service import Picture
from node.pipeline.video.source import open_source, pictures
from node.pipeline.video.vehicles import CarDetection

SAME_BOX = 0.5  # overlap of two boxes of one face
SAME_POSE = 10.0  # degrees, in each of the three angles

Boxes = Sequence[Sequence[float]]


def overlaps(faces: Boxes, others: Boxes) -> list[int | None]:
    """For every face the place of the box that overlaps it most, or None where none does by half."""
    found: list[int | None] = []
    for x0, y0, x1, y1 in faces:
        shares = []
        for u0, v0, u1, v1 in others:
            both = max(min(x1, u1) - max(x0, u0), 0) * max(min(y1, v1) - max(y0, v0), 0)
            shares.append(both / ((x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both))
        best = max(range(len(shares)), key=shares.__getitem__, default=None)
        found.append(best if best is not None and shares[best] >= SAME_BOX else None)
    return found


class Bench:
    """Both services over the same frames, each judged alone: alignment gets the true boxes, the same at every resolution."""

    def __init__(self, folder: Path, step: int) -> None:
        self._detection, self._alignment = FaceDetection(folder, 0), FaceAlignment(folder, 0)
        truth = json.loads(path(folder, "collage.json").read_text(encoding="utf-8"))["frames"]
        with open_source(str(path(folder, "collage.mp4")), loop=False) as clip:
            self.frames = [(frame, truth[clip.position]["boxes"]) for frame in pictures(clip) if clip.position % step == 0]

    def detect(self, resolution: Resolution) -> dict[str, float]:
        """Share of the true faces found, boxes that belong to none, time for seven faces, and what of it is fixed."""
        found, extra, spent = 0, 0, []
        for frame, truth in self.frames:
            picture, scale = _as_sent(frame, resolution)
            begun = time.process_time()
            values, _ = self._detection.run({}, {"image": [picture]})
            spent.append(time.process_time() - begun)
            boxes = (np.array(values["bbox"], float).reshape(-1, 4) / scale).tolist()
            found += sum(place is not None for place in overlaps(truth, boxes))
            extra += sum(place is None for place in overlaps(boxes, truth))
        total = sum(len(truth) for _, truth in self.frames)
        return {"found": found / total, "false per frame": extra / len(spent), **self._times(spent)}

    def align(self, resolution: Resolution) -> tuple[list[NDArray[np.float64]], dict[str, float]]:
        """The poses of every frame, time for seven faces, and what of it is fixed."""
        poses, spent = [], []
        for frame, truth in self.frames:
            picture, scale = _as_sent(frame, resolution)
            boxes = np.array(truth, float) * scale
            corners = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(np.float32)
            crops = [decode_jpeg(encode_jpeg(crop_face(picture, box))) for box in corners]
            begun = time.process_time()
            output, _ = self._alignment.run({"bbox": boxes.tolist()}, {"faces": crops})
            spent.append(time.process_time() - begun)
            poses.append(np.array(output["pose"], float))
        return poses, self._times(spent)

    def measure(self) -> dict[str, float]:
        """Every figure by its name."""
        best, _ = self.align(Resolution.P1080)
        figures: dict[str, float] = {}
        for resolution in Resolution:
            figures |= {f"face_detection {resolution} {name}": value for name, value in self.detect(resolution).items()}
            poses, times = self.align(resolution)
            apart = np.abs(np.vstack(poses) - np.vstack(best)).max(axis=1)
            figures[f"face_alignment {resolution} agree"] = float((apart <= SAME_POSE).mean())
            figures |= {f"face_alignment {resolution} {name}": value for name, value in times.items()}
        return figures

    def _times(self, spent: Sequence[float]) -> dict[str, float]:
        counts = np.array([len(truth) for _, truth in self.frames])
        few, many = int(counts.min()), int(counts.max())
        least, most = (float(np.median(np.array(spent)[counts == count])) for count in (few, many))
        each = max(0.0, (most - least) / (many - few))
        return {"ms": 1000 * most, "fixed share": max(0.0, 1 - many * each / most)}


class StreetBench:
    """One model of car_detection over frames of the street."""

    def __init__(self, folder: Path, model_id: int, step: int) -> None:
        self._side, self._detection = SIZES[model_id], CarDetection(folder, model_id)
        with open_source(str(path(folder, "bikes.mp4")), loop=False) as clip:
            self._frames = [frame for frame in pictures(clip) if clip.position % step == 0]

    def measure(self) -> dict[str, float]:
        """Share of the objects of 1080p that are found with the same label, objects per frame, time."""
        best, _ = self._detect(Resolution.P1080)
        total = sum(map(len, best))
        figures: dict[str, float] = {}
        for resolution in Resolution:
            found, milliseconds = self._detect(resolution)
            agree = 0
            for sure, frame in zip(best, found, strict=True):
                for label in {each for each, _ in sure}:
                    boxes, others = ([box for each, box in objects if each == label] for objects in (sure, frame))
                    agree += sum(place is not None for place in overlaps(boxes, others))
            name = f"car_detection {self._side} {resolution}"
            figures |= {f"{name} agree": agree / total, f"{name} per frame": sum(map(len, found)) / len(found)}
            figures[f"{name} ms"] = milliseconds
        return figures

    def _detect(self, resolution: Resolution) -> tuple[list[list[tuple[str, list[float]]]], float]:
        """Label and box, in pixels of the clip, of every object of every frame, and the median time."""
        found, spent = [], []
        for frame in self._frames:
            picture, scale = _as_sent(frame, resolution)
            begun = time.process_time()
            values, _ = self._detection.run({}, {"image": [picture]})
            spent.append(time.process_time() - begun)
            boxes = (np.array(values["bbox"], float).reshape(-1, 4) / scale).tolist()
            found.append([(str(label), box) for label, box in zip(values["label"], boxes, strict=True)])
        return found, 1000 * float(np.median(spent))


class MotionBench:
    """motion_detection over whole clips, one picture after the other as it compares them."""

    CLIPS = ("bikes.mp4", "collage.mp4")
    SAME_MOTION = 0.3  # overlap: the edge of a moving thing is where the threshold happens to cut

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most

    def measure(self) -> dict[str, float]:
        """Share of the blobs of 1080p that are found elsewhere too, blobs per picture, time."""
        best, _ = self._detect(Resolution.P1080)
        total = sum(map(len, best))
        figures: dict[str, float] = {"motion_detection blobs": total}
        for resolution in Resolution:
            found, milliseconds = self._detect(resolution)
            agree = sum(
                any(_overlap(box, other) >= self.SAME_MOTION for other in others)
                for boxes, others in zip(best, found, strict=True)
                for box in boxes
            )
            name = f"motion_detection {resolution}"
            figures |= {f"{name} agree": agree / total, f"{name} per frame": sum(map(len, found)) / len(found)}
            figures[f"{name} ms"] = milliseconds
        return figures

    def _detect(self, resolution: Resolution) -> tuple[list[Boxes], float]:
        found: list[Boxes] = []
        spent = []
        for name in self.CLIPS:
            detection = MotionDetection(self._folder, 0)
            with open_source(str(path(self._folder, name)), loop=False) as clip:
                for frame in islice(pictures(clip), self._most):
                    picture, scale = _as_sent(frame, resolution)
                    begun = time.process_time()
                    values, _ = detection.run({"stream": name}, {"image": [picture]})
                    spent.append(time.process_time() - begun)
                    found.append((np.array(values["bbox"], float).reshape(-1, 4) / scale).tolist())
        return found, 1000 * float(np.median(spent))


def _overlap(box: Sequence[float], other: Sequence[float]) -> float:
    (x0, y0, x1, y1), (u0, v0, u1, v1) = box, other
    both = max(min(x1, u1) - max(x0, u0), 0) * max(min(y1, v1) - max(y0, v0), 0)
    return both / ((x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both)


def _as_sent(frame: Picture, resolution: Resolution) -> tuple[Picture, NDArray[np.float64]]:
    """The frame as a worker gets it, and the factors of a box from the clip's pixels to its."""
    factors = np.tile(np.array(resolution.size) / (frame.shape[1], frame.shape[0]), 2)
    return decode_jpeg(encode_jpeg(resize(frame, *resolution.size))), factors


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="every 50th frame instead of every 10th")
    options.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    given = options.parse_args()
    folder = Path(os.environ.get("ECNODE_NODE__ASSETS_DIR", "~/.cache/ecnode/assets")).expanduser()
    fetch(folder, partial(click.echo, err=True))
    figures = Bench(folder, 50 if given.quick else 10).measure()
    figures |= MotionBench(folder, 100 if given.quick else 250).measure()
    if missing(folder, optional=True):
        click.echo("car_detection is left out: its model is not there, because npm cannot be had here", err=True)
    else:
        for model_id in range(len(SIZES)):
            figures |= StreetBench(folder, model_id, 25 if given.quick else 2).measure()
    if given.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, OpenCV {cv2.__version__}"
        results = [{"case": case, "subject": "ecnode", "value": round(value, 4)} for case, value in figures.items()]
        click.echo(json.dumps({"benchmark": "accuracy", "machine": machine, "results": results, "bars": []}))
        return
    for case, value in figures.items():
        click.echo(f"{case:<44}{value:>9.3f}")


if __name__ == "__main__":
    main()
