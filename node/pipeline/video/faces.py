"""Where are the faces in a picture, and which heads are up?

Two services. `FaceDetection` runs YuNet over the whole picture; `FaceAlignment` runs a face mesh over each crop, turns the crop
until the eyes are level, and reads the head's angles from the landmarks. Both run on OpenCV 4.14 and 5.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from node.assets import path as asset_path
from node.errors import Invalid, TooLarge
from node.pipeline.video.codec import check_picture, only_image
from node.pipeline.video.opencv import cv2
from node.pipeline.video.pose import HeadPose, Points, eye_tilt, head_pose, is_up
from node.pipeline.video.service import Picture, Pictures, Values

SCORE_THRESHOLD: Final = 0.6
NMS_THRESHOLD: Final = 0.3
TOP_K: Final = 5000  # candidates before overlap is removed: a limit of 100 loses a quarter of a crowd
MAX_FACES: Final = 128  # the most probable ones; half of what one message may carry in pictures
MAX_PIXELS: Final = 1920 * 1080  # the largest picture of a plan; a network keeps about 64 bytes for each pixel once it has run
MAX_DETECTORS: Final = 6  # four resolutions and two odd sizes; each costs about 20 MB once it has run
MIN_SIDE: Final = 16

MESH_SIDE: Final = 192
MESH_WINDOW: Final = 1.5  # sides of a face box that the mesh was trained to see
CROP_WINDOW: Final = MESH_WINDOW * math.sqrt(2)  # so that the mesh's window stays inside the crop at any tilt
MAX_CROP: Final = 256
MAX_PASSES: Final = 3
LEVEL_DEGREES: Final = 2.0
_MESH_VALUES: Final = 468 * 3

Box = NDArray[np.float32]


class FaceDetection:
    """`image` → `bbox`, `prob` and one square crop per face in `faces`, the most probable face first."""

    def __init__(self, assets: Path, model_id: int) -> None:
        _only_model(model_id, "face_detection")
        self._model = str(asset_path(assets, "yunet"))
        # One detector per picture size: in OpenCV 4.14 a network that was fed another size before returns garbage.
        self._detectors: OrderedDict[tuple[int, int], cv2.FaceDetectorYN] = OrderedDict()

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        del values  # a detector needs nothing but the picture
        picture = only_image(pictures, "face_detection")
        height, width = picture.shape[:2]
        if width * height > MAX_PIXELS:
            raise TooLarge(f"a picture of {width} × {height}", hint=f"face_detection takes at most {MAX_PIXELS} pixels")
        if min(width, height) < MIN_SIDE:
            raise Invalid(f"a picture of {width} × {height} is too small: each side needs {MIN_SIDE} pixels")
        found = self._detect(picture)
        bbox: list[JsonValue] = [_inside(face[:4], width, height) for face in found]
        prob: list[JsonValue] = [round(float(face[14]), 4) for face in found]
        return {"bbox": bbox, "prob": prob}, {"faces": [crop_face(picture, face[:4]) for face in found]}

    def _detect(self, picture: Picture) -> Sequence[Box]:
        size = (picture.shape[1], picture.shape[0])
        detector = self._detectors.pop(size, None)
        if detector is None:
            detector = cv2.FaceDetectorYN.create(self._model, "", size, SCORE_THRESHOLD, NMS_THRESHOLD, TOP_K)
        self._detectors[size] = detector
        if len(self._detectors) > MAX_DETECTORS:
            self._detectors.popitem(last=False)
        _, found = detector.detect(picture)
        if found is None:
            return ()
        order = np.argsort(-found[:, 14], kind="stable")[:MAX_FACES]
        return [np.asarray(found[row], np.float32) for row in order]


class FaceAlignment:
    """`faces` and `bbox` → `pose`, one (yaw, pitch, roll) per face, and `count_result`: how many heads are up."""

    def __init__(self, assets: Path, model_id: int) -> None:
        _only_model(model_id, "face_alignment")
        self._net = cv2.dnn.readNetFromTFLite(str(asset_path(assets, "face_mesh")))
        self._output = list(self._net.getUnconnectedOutLayersNames())

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        bbox, faces = values.get("bbox"), pictures.get("faces", ())
        if not isinstance(bbox, list) or len(bbox) != len(faces):
            raise Invalid(f"face_alignment takes one box per face; there are {len(faces)} faces")
        if len(faces) > MAX_FACES:
            raise Invalid(f"face_alignment takes at most {MAX_FACES} faces, not {len(faces)}")
        poses = [self._pose(face) for face in faces]
        up = sum(is_up(pose.yaw, pose.pitch) for pose in poses)
        rounded: list[JsonValue] = [[round(angle, 1) for angle in pose] for pose in poses]
        return {"count_result": {"up": up, "total": len(poses)}, "pose": rounded}, {}

    def _pose(self, face: Picture) -> HeadPose:
        check_picture(face)
        tilt = 0.0
        for _ in range(MAX_PASSES):  # on a tilted head the mesh sees only part of the tilt, so look again, upright
            points = self._landmarks(face, tilt)
            rest = eye_tilt(points)
            tilt += rest
            if abs(rest) < LEVEL_DEGREES:
                break
        yaw, pitch, _ = head_pose(points)
        return HeadPose(yaw, pitch, (tilt + 180.0) % 360.0 - 180.0)

    def _landmarks(self, face: Picture, tilt: float) -> Points:
        height, width = face.shape[:2]
        scale = MESH_SIDE * CROP_WINDOW / MESH_WINDOW / min(width, height)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), tilt, scale)
        matrix[:, 2] += ((MESH_SIDE - width) / 2, (MESH_SIDE - height) / 2)
        upright = cv2.warpAffine(face, matrix, (MESH_SIDE, MESH_SIDE))
        self._net.setInput(cv2.dnn.blobFromImage(upright, 1 / 255, (MESH_SIDE, MESH_SIDE), swapRB=True))
        outputs = self._net.forward(self._output)
        points = next(output for output in outputs if output.size == _MESH_VALUES)  # 4.14 also lists the face flag
        return np.asarray(points, np.float32).reshape(-1, 3)


def crop_face(picture: Picture, box: Box) -> Picture:
    """A square around the face, wide enough to turn it upright, black where it leaves the picture, at most `MAX_CROP` wide."""
    x, y, width, height = (float(value) for value in box)
    window = max(width, height, 1.0) * CROP_WINDOW
    side = max(MIN_SIDE, min(MAX_CROP, round(window)))
    scale = side / window
    matrix = np.array(
        [
            [scale, 0.0, side / 2 - (x + width / 2) * scale],
            [0.0, scale, side / 2 - (y + height / 2) * scale],
        ]
    )
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side)), np.uint8)


def _inside(box: Box, width: int, height: int) -> list[JsonValue]:
    x, y, across, down = (float(value) for value in box)
    left, top = min(max(round(x), 0), width), min(max(round(y), 0), height)
    return [left, top, min(max(round(x + across), left), width), min(max(round(y + down), top), height)]


def _only_model(model_id: int, service: str) -> None:
    if model_id != 0:
        raise Invalid(f"{service} has no model {model_id}", hint="its only model is 0")
