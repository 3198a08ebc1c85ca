"""People and vehicles on real pictures. The same figures are expected of OpenCV 4.14 and 5."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from node.errors import AssetMissing, Invalid, TooLarge
from node.pipeline.video import vehicles as module
from node.pipeline.video.codec import decode_jpeg, encode_jpeg, resize
from node.pipeline.video.opencv import cv2
from node.pipeline.video.service import Picture, Values
from node.pipeline.video.source import open_source, pictures
from node.pipeline.video.vehicles import MAX_OBJECTS, CarDetection, decode

NOTHING = {"person": 0, "car": 0, "truck": 0, "bus": 0, "motorcycle": 0, "bicycle": 0}
SHOWN = (30, 110, 120, 150, 160, 168, 220, 240)

Box = Sequence[float]
Found = tuple[str, Box, float]


@pytest.fixture(scope="module")
def detection(centernet: Path) -> CarDetection:
    return CarDetection(centernet, 0)


@pytest.fixture(scope="module")
def street(assets: Path) -> dict[int, Picture]:
    with open_source(str(assets / "bikes.mp4"), loop=False) as clip:
        shown = [(clip.position, picture.copy()) for picture in pictures(clip) if clip.position in SHOWN]
    return dict(shown)


def counts(detection: CarDetection, picture: Picture) -> dict[str, int]:
    return detection.run({}, {"image": [picture]})[0]["count_result"]  # type: ignore[return-value]


def objects(values: Values) -> list[Found]:
    return list(zip(values["label"], values["bbox"], values["prob"], strict=True))  # type: ignore[arg-type]


def overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    both = max(across, 0) * max(down, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area - both)


def maps(*peaks: tuple[int, int, int, float], side: int = 8, reach: float = 6.0) -> tuple[module.Floats, module.Floats]:
    """A heat map with these peaks (class, row, column, height), and edges everywhere at the same distance."""
    heat = np.full((6, side, side), 0.01, np.float32)
    for kind, row, column, height in peaks:
        heat[kind, row, column] = height
    return heat, np.full((4, side, side), reach, np.float32)


def test_a_cyclist_and_his_bicycle_are_where_they_are(detection: CarDetection, street: dict[int, Picture]) -> None:
    values, given = detection.run({}, {"image": [street[120]]})
    assert given == {}
    assert values["count_result"] == NOTHING | {"person": 1, "bicycle": 1}
    (person, box, chance), (bicycle, wheels, other) = objects(values)
    assert (person, bicycle) == ("person", "bicycle")
    assert overlap(box, (349, 12, 484, 263)) > 0.97 and chance == pytest.approx(0.335, abs=0.005)
    assert overlap(wheels, (382, 164, 508, 271)) > 0.97 and other == pytest.approx(0.331, abs=0.005)


@pytest.mark.parametrize("model_id", range(4))
def test_every_model_counts_what_the_street_shows(centernet: Path, street: dict[int, Picture], model_id: int) -> None:
    detection = CarDetection(centernet, model_id)
    assert counts(detection, street[30])["person"] == 1
    assert counts(detection, street[110])["person"] == 1
    cars = [counts(detection, street[frame]) for frame in (150, 160, 168)]
    assert all(2 <= count["car"] <= 4 and count["person"] == 0 for count in cars)
    assert counts(detection, street[220]) == counts(detection, street[240]) == NOTHING


def test_the_seven_portraits_of_the_calibration_picture_are_people(detection: CarDetection, assets: Path) -> None:
    picture = decode_jpeg((assets / "calibration.jpg").read_bytes())
    assert counts(detection, picture) == NOTHING | {"person": 7}


def test_a_wall_a_plain_picture_and_noise_show_nobody(detection: CarDetection, assets: Path, picture: Picture) -> None:
    wall = cv2.imread(str(assets / "brick.png"))
    assert wall is not None
    grey = np.full((360, 480, 3), 90, np.uint8)
    for empty in (np.asarray(wall, np.uint8), grey, picture):
        values, _ = detection.run({}, {"image": [empty]})
        assert values == {"bbox": [], "prob": [], "label": [], "count_result": NOTHING}


def test_boxes_chances_labels_and_counts_belong_together(detection: CarDetection, street: dict[int, Picture]) -> None:
    before = street[160].copy()
    values, _ = detection.run({}, {"image": [street[160]]})
    assert np.array_equal(street[160], before)
    assert json.loads(json.dumps(values)) == values
    found = objects(values)
    assert len(found) == sum(values["count_result"].values())  # type: ignore[union-attr]
    chances = [chance for _, _, chance in found]
    assert chances == sorted(chances, reverse=True)
    height, width = street[160].shape[:2]
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for _, (x0, y0, x1, y1), _ in found)


def test_boxes_follow_the_size_of_the_picture(detection: CarDetection, street: dict[int, Picture]) -> None:
    values, _ = detection.run({}, {"image": [street[168]]})
    large, _ = detection.run({}, {"image": [decode_jpeg(encode_jpeg(resize(street[168], 1280, 720)))]})
    (label, box, _), (same, scaled, _) = objects(values)[0], objects(large)[0]
    assert label == same == "car"
    assert overlap([edge * factor for edge, factor in zip(box, (2, 720 / 272) * 2, strict=True)], scaled) > 0.85


def test_a_mirror_moves_the_boxes_to_the_other_side(detection: CarDetection, street: dict[int, Picture]) -> None:
    values, _ = detection.run({}, {"image": [street[168]]})
    mirrored, _ = detection.run({}, {"image": [np.ascontiguousarray(street[168][:, ::-1])]})
    x0, y0, x1, y1 = objects(values)[0][1]
    assert any(overlap((640 - x1, y0, 640 - x0, y1), box) > 0.8 for label, box, _ in objects(mirrored) if label == "car")


def test_sizes_may_alternate_on_one_detector(detection: CarDetection, street: dict[int, Picture]) -> None:
    sizes = [(640, 272), (333, 333), (1280, 720), (640, 272)]
    seen = [detection.run({}, {"image": [resize(street[150], *size)]})[0] for size in sizes]
    assert seen[0] == seen[3]
    assert all(values["count_result"]["car"] >= 2 for values in seen)  # type: ignore[index,call-overload,operator]


def test_a_peak_is_one_object_with_its_edges_around_four_times_its_place() -> None:
    heat, ltrb = maps((1, 3, 5, 0.9), (1, 3, 6, 0.8))  # the second is the slope of the first
    ltrb[:, 3, 5] = (1, 2, 3, 4)
    kinds, chances, boxes = decode(heat, ltrb)
    assert (kinds.tolist(), chances.tolist()) == ([1], [pytest.approx(0.9)])
    assert boxes.tolist() == [[20 - 1, 12 - 2, 20 + 3, 12 + 4]]


def test_what_is_not_probable_enough_is_no_object() -> None:
    kinds, _, boxes = decode(*maps((0, 2, 2, 0.29)))
    assert len(kinds) == len(boxes) == 0


def test_two_readings_of_one_vehicle_are_one_object_and_a_rider_is_another() -> None:
    labels = list(NOTHING)
    car, truck, person, motorcycle = (labels.index(label) for label in ("car", "truck", "person", "motorcycle"))
    kinds, _, _ = decode(*maps((car, 3, 3, 0.6), (truck, 3, 3, 0.7), (person, 3, 3, 0.5), (motorcycle, 3, 3, 0.4)))
    assert kinds.tolist() == [truck, person, motorcycle]


def test_boxes_of_one_class_that_overlap_little_are_kept() -> None:
    kinds, _, _ = decode(*maps((0, 1, 1, 0.9), (0, 1, 3, 0.8), (0, 6, 6, 0.7)))  # the first two share a fifth of their area
    assert len(kinds) == 3
    kinds, _, _ = decode(*maps((0, 1, 1, 0.9), (0, 1, 3, 0.8), reach=30.0))
    assert len(kinds) == 1


def test_a_flood_of_peaks_gives_the_most_probable_ones() -> None:
    heat, ltrb = maps(side=96, reach=1.0)
    heat[:, ::3, ::3] = np.linspace(0.4, 0.9, 6 * 32 * 32, dtype=np.float32).reshape(6, 32, 32)
    _, chances, _ = decode(heat, ltrb)
    assert len(chances) == MAX_OBJECTS
    assert chances[0] == pytest.approx(0.9)


@pytest.mark.parametrize(
    "images", [[], [np.zeros((8, 8, 3), np.uint8)], [np.zeros((64, 64), np.uint8)], [np.zeros((64, 64, 3))]]
)
def test_a_wrong_picture_is_refused(detection: CarDetection, images: list[Picture]) -> None:
    with pytest.raises(Invalid):
        detection.run({}, {"image": images})


def test_a_picture_that_is_too_large_is_refused(detection: CarDetection) -> None:
    huge = np.broadcast_to(np.zeros(3, np.uint8), (8192, 8192, 3))  # no memory behind it
    with pytest.raises(TooLarge):
        detection.run({}, {"image": [huge]})


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="centernet_384") as caught:
        CarDetection(tmp_path, 0)
    assert "ecnode assets fetch" in caught.value.hint


@pytest.mark.parametrize("model_id", [-1, 4])
def test_another_model_is_refused(tmp_path: Path, model_id: int) -> None:
    with pytest.raises(Invalid, match=f"no model {model_id}"):
        CarDetection(tmp_path, model_id)
