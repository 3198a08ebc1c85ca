"""What does motion_detection say moves?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from node.errors import Invalid
from node.pipeline.video.motion import STREAMS, MotionDetection
from node.pipeline.video.service import Picture


def scene(x: int | None = None, *, width: int = 640, height: int = 480) -> Picture:
    """A grey wall with grain, and a white square at `x`."""
    grain = np.random.default_rng(3).integers(90, 110, (height, width, 1), dtype=np.uint8)
    picture = np.repeat(grain, 3, axis=2)
    if x is not None:
        picture[200:280, x : x + 80] = 255
    return picture


def moving(service: MotionDetection, picture: Picture, stream: str = "lobby") -> list[list[int]]:
    values, pictures = service.run({"stream": stream}, {"image": [picture]})
    assert not pictures
    assert values["count_result"] == {"moving": len(values["bbox"])}
    return values["bbox"]


@pytest.fixture
def service(tmp_path: Path) -> MotionDetection:
    return MotionDetection(tmp_path, 0)


def test_nothing_moves_in_the_first_picture_and_in_a_still_scene(service: MotionDetection) -> None:
    assert [moving(service, scene(100)) for _ in range(3)] == [[], [], []]


def test_what_has_come_stands_in_a_box_around_it(service: MotionDetection) -> None:
    moving(service, scene())
    ((x0, y0, x1, y1),) = moving(service, scene(300))
    assert abs(x0 - 300) < 16
    assert abs(x1 - 380) < 16
    assert abs(y0 - 200) < 16
    assert abs(y1 - 280) < 16


def test_what_has_stopped_becomes_part_of_the_scene(service: MotionDetection) -> None:
    moving(service, scene())
    found = [moving(service, scene(300)) for _ in range(60)]
    assert found[0]
    assert not found[-1]


def test_streams_that_share_a_worker_do_not_disturb_each_other(service: MotionDetection) -> None:
    for _ in range(3):
        assert moving(service, scene(), "lobby") == []
        assert moving(service, scene(300), "yard") == []


def test_a_picture_of_another_shape_is_learned_anew(service: MotionDetection) -> None:
    moving(service, scene())
    assert moving(service, scene(300, width=1280, height=720)) == []


def test_no_more_streams_are_remembered_than_there_is_room_for(service: MotionDetection) -> None:
    for number in range(STREAMS + 1):
        moving(service, scene(), str(number))
    assert moving(service, scene(300), "0") == []  # forgotten, and so learned again
    assert moving(service, scene(300), str(STREAMS))


def test_it_has_one_model(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no model 1"):
        MotionDetection(tmp_path, 1)
