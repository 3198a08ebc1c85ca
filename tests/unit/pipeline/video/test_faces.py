from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from node.errors import AssetMissing, Invalid, TooLarge
from node.pipeline.video.codec import decode_jpeg, encode_jpeg, resize
from node.pipeline.video.faces import FaceAlignment, FaceDetection
from node.pipeline.video.opencv import cv2
from node.pipeline.video.pose import is_up
from node.pipeline.video.service import Picture
from node.pipeline.video.source import open_source, pictures
from node.pipeline.video.synthesis import Scene

Box = Sequence[float]


@pytest.fixture(scope="module")
def detection(assets: Path) -> FaceDetection:
    return FaceDetection(assets, 0)


@pytest.fixture(scope="module")
def alignment(assets: Path) -> FaceAlignment:
    return FaceAlignment(assets, 0)


@pytest.fixture(scope="module")
def portrait(assets: Path) -> Picture:
    picture = cv2.imread(str(assets / "astronaut.png"))
    assert picture is not None
    return np.asarray(picture, np.uint8)


@pytest.fixture(scope="module")
def every_fifth(assets: Path) -> list[tuple[Picture, list[Box]]]:
    truth = json.loads((assets / "collage.json").read_text())["frames"]
    with open_source(str(assets / "collage.mp4"), loop=False) as clip:
        return [(picture, truth[clip.position]["boxes"]) for picture in pictures(clip) if clip.position % 5 == 0]


def pose_of(detection: FaceDetection, alignment: FaceAlignment, picture: Picture) -> list[float]:
    values, faces = detection.run({}, {"image": [picture]})
    output, _ = alignment.run(values, faces)
    (pose,) = output["pose"]  # type: ignore[misc,str-unpack]
    return pose  # type: ignore[return-value]


def turned(picture: Picture, degrees: float) -> Picture:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height)), np.uint8)


def overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    both = max(across, 0) * max(down, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area - both)


def test_the_collage_has_three_to_seven_faces_that_never_touch_and_are_wholly_there(assets: Path) -> None:
    document = json.loads((assets / "collage.json").read_text())
    assert (document["width"], document["height"], document["fps"], len(document["frames"])) == (1280, 720, 25, 500)
    counts = {frame["count"] for frame in document["frames"]}
    assert {3, 5, 7} <= counts <= {3, 4, 5, 6, 7}
    for frame in document["frames"]:
        boxes = frame["boxes"]
        assert len(boxes) == frame["count"]
        assert all(0 <= x0 < x1 <= 1280 and 0 <= y0 < y1 <= 720 for x0, y0, x1, y1 in boxes)
        assert all(overlap(a, b) == 0 for place, a in enumerate(boxes) for b in boxes[:place])


def test_the_collage_is_the_same_every_time(assets: Path) -> None:
    (one, boxes), (other, again) = Scene(assets).draw(210), Scene(assets).draw(210)
    assert np.array_equal(one, other)
    assert len(boxes) == 7 and boxes == again


def test_the_count_is_right_on_the_collage_and_the_boxes_are_where_the_faces_are(
    detection: FaceDetection, every_fifth: list[tuple[Picture, list[Box]]]
) -> None:
    assert len(every_fifth) == 100
    right = found = 0
    for picture, truth in every_fifth:
        values, _ = detection.run({}, {"image": [picture]})
        boxes: list[Box] = values["bbox"]  # type: ignore[assignment]
        right += len(boxes) == len(truth)
        found += sum(any(overlap(face, box) >= 0.5 for box in boxes) for face in truth)
    assert right >= 95
    assert found >= 0.98 * sum(len(truth) for _, truth in every_fifth)


@pytest.mark.parametrize(("size", "least"), [((480, 360), 0.85), ((640, 480), 0.95)])
def test_smaller_pictures_still_show_most_faces(
    detection: FaceDetection, every_fifth: list[tuple[Picture, list[Box]]], size: tuple[int, int], least: float
) -> None:
    found = total = 0
    for picture, truth in every_fifth[::4]:
        values, _ = detection.run({}, {"image": [decode_jpeg(encode_jpeg(resize(picture, *size)))]})
        found += len(values["bbox"])  # type: ignore[arg-type]
        total += len(truth)
    assert least <= found / total <= 1.02


def test_the_calibration_picture_has_seven_faces(assets: Path, detection: FaceDetection) -> None:
    picture = decode_jpeg((assets / "calibration.jpg").read_bytes())
    assert picture.shape == (1080, 1920, 3)
    values, faces = detection.run({}, {"image": [picture]})
    assert len(values["bbox"]) == len(faces["faces"]) == 7  # type: ignore[arg-type]


def test_a_face_comes_with_its_box_its_probability_and_a_square_crop(detection: FaceDetection, portrait: Picture) -> None:
    before = portrait.copy()
    values, faces = detection.run({}, {"image": [portrait]})
    (box,), (chance,), (crop,) = values["bbox"], values["prob"], faces["faces"]  # type: ignore[misc,str-unpack]
    assert overlap(box, (178, 63, 268, 176)) > 0.9  # type: ignore[arg-type]
    assert 0.9 < chance <= 1.0  # type: ignore[operator]
    assert crop.shape[0] == crop.shape[1] <= 256 and crop.dtype == np.uint8
    assert np.array_equal(portrait, before)
    assert json.loads(json.dumps(values)) == values


def test_sizes_may_alternate_on_one_detector(detection: FaceDetection, portrait: Picture) -> None:
    sizes = [(512, 512), (300, 400), (640, 480), (512, 512), (333, 333), (96, 96), (800, 600), (640, 480), (1000, 900)]
    counts = [len(detection.run({}, {"image": [resize(portrait, *size)]})[0]["bbox"]) for size in sizes]  # type: ignore[arg-type]
    assert counts == [1] * len(sizes)


def test_a_picture_without_faces_gives_empty_outputs(detection: FaceDetection, alignment: FaceAlignment) -> None:
    values, faces = detection.run({}, {"image": [np.full((360, 480, 3), 90, np.uint8)]})
    assert (values, faces) == ({"bbox": [], "prob": []}, {"faces": []})
    output, given = alignment.run(values, faces)
    assert output == {"count_result": {"up": 0, "total": 0}, "pose": []}
    assert given == {}


def test_roll_follows_the_picture_and_yaw_and_pitch_stay(
    detection: FaceDetection, alignment: FaceAlignment, portrait: Picture
) -> None:
    yaw, pitch, roll = pose_of(detection, alignment, portrait)
    for degrees in (-30, -20, -10, 10, 20, 30):
        other = pose_of(detection, alignment, turned(portrait, degrees))
        assert other[2] == pytest.approx(roll - degrees, abs=3), degrees
        assert other[0] == pytest.approx(yaw, abs=4), degrees
        assert other[1] == pytest.approx(pitch, abs=4), degrees


def test_a_mirror_flips_roll(detection: FaceDetection, alignment: FaceAlignment, portrait: Picture) -> None:
    leaning = turned(portrait, 12)
    yaw, pitch, roll = pose_of(detection, alignment, leaning)
    mirrored = pose_of(detection, alignment, np.asarray(cv2.flip(leaning, 1), np.uint8))
    assert roll < -5 < 5 < mirrored[2]
    assert mirrored[2] == pytest.approx(-roll, abs=3)
    assert mirrored[0] == pytest.approx(-yaw, abs=4)
    assert mirrored[1] == pytest.approx(pitch, abs=4)


def test_a_face_at_the_rim_gets_a_black_border_and_still_a_pose(
    detection: FaceDetection, alignment: FaceAlignment, portrait: Picture
) -> None:
    tight = np.ascontiguousarray(portrait[50:200, 160:290])
    values, faces = detection.run({}, {"image": [tight]})
    assert (faces["faces"][0][0] == 0).all()
    output, _ = alignment.run(values, faces)
    assert output["count_result"] == {"up": 1, "total": 1}


@pytest.mark.parametrize(
    ("yaw", "pitch", "up"), [(0, 0, True), (44, 20, True), (-44, -19, True), (46, 0, False), (0, -21, False), (0, 51, False)]
)
def test_a_head_is_up_within_the_named_limits(yaw: float, pitch: float, up: bool) -> None:
    assert is_up(yaw, pitch) is up


@pytest.mark.parametrize(
    "images", [[], [np.zeros((8, 8, 3), np.uint8)], [np.zeros((64, 64), np.uint8)], [np.zeros((64, 64, 3))]]
)
def test_a_wrong_picture_is_refused(detection: FaceDetection, images: list[Picture]) -> None:
    with pytest.raises(Invalid):
        detection.run({}, {"image": images})


def test_boxes_and_faces_must_match(alignment: FaceAlignment) -> None:
    with pytest.raises(Invalid, match="one box per face"):
        alignment.run({"bbox": [[0, 0, 9, 9]]}, {"faces": []})


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="yunet") as caught:
        FaceDetection(tmp_path, 0)
    assert "ecnode assets fetch" in caught.value.hint


def test_another_model_is_refused(assets: Path) -> None:
    with pytest.raises(Invalid, match="no model 3"):
        FaceDetection(assets, 3)


def test_a_picture_larger_than_any_plan_is_refused_before_it_costs_memory(detection: FaceDetection) -> None:
    with pytest.raises(TooLarge):
        detection.run({}, {"image": [np.zeros((1080, 1921, 3), np.uint8)]})
