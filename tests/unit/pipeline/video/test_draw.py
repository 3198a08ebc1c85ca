from __future__ import annotations

import numpy as np
import pytest
from pydantic import JsonValue

from node.pipeline.video.draw import annotate

GREY = np.full((480, 640, 3), 128, np.uint8)


def test_boxes_arrows_and_label_are_drawn_on_a_copy() -> None:
    before = GREY.copy()
    output: dict[str, JsonValue] = {"bbox": [[100, 100, 200, 220]], "prob": [0.93], "pose": [[30.0, 10.0, 0.0]]}
    drawn = annotate(GREY, output, "edge-1 480p up 1/1")
    assert np.array_equal(GREY, before)
    assert drawn.shape[1] == 640 and drawn.shape[0] > 480
    assert (drawn[100:220, 98:103] != 128).any(axis=2).all(axis=0).any()  # the left side of the box
    assert (drawn[160, 155:190] > 200).all(axis=1).any()  # the arrow points to the right
    assert drawn[480:].max() > 200 and drawn[480:].min() < 60  # white letters on a dark bar
    assert np.array_equal(drawn[300:480], GREY[300:])


def test_a_head_that_is_down_has_another_colour() -> None:
    up = annotate(GREY, {"bbox": [[100, 100, 200, 220]], "pose": [[0, 0, 0]]}, "")
    down = annotate(GREY, {"bbox": [[100, 100, 200, 220]], "pose": [[0, -40, 0]]}, "")
    assert up[150, 100].tolist() != down[150, 100].tolist()


def test_what_an_object_is_stands_at_its_box() -> None:
    output: dict[str, JsonValue] = {"bbox": [[100, 100, 200, 220]], "prob": [0.5], "label": ["bicycle"]}
    bare = annotate(GREY, {key: value for key, value in output.items() if key != "label"}, "")
    named = annotate(GREY, output, "")
    tags = [np.flatnonzero((drawn[92] != 128).any(axis=1)) for drawn in (bare, named)]
    assert len(tags[1]) > 1.5 * len(tags[0]) > 0
    longest = annotate(GREY, {**output, "label": ["x" * 5000]}, "")
    assert np.array_equal(longest, annotate(GREY, {**output, "label": ["x" * 24]}, ""))


@pytest.mark.parametrize(
    "output",
    [
        {},
        {"bbox": "rubbish", "prob": 3, "pose": None},
        {"bbox": [[1, 2, 3], ["a", 2, 3, 4], None], "prob": ["x"], "pose": [[1]]},
        {"bbox": [[float("nan"), 0, 1, 1], [1e300, -1e300, 1e18, 5]], "pose": [[0, 0, 0], [float("inf"), 0, 0]]},
        {"bbox": [[1, 2, 30, 40]] * 5000},
        {"bbox": [[1, 2, 30, 40]] * 3, "label": [None, {"a": 1}, "标签\n"]},
        {"bbox": [[1, 2, 30, 40]], "label": {"0": "car"}},
    ],
)
def test_an_output_of_a_hostile_node_is_drawn_as_far_as_it_makes_sense(output: dict[str, JsonValue]) -> None:
    drawn = annotate(GREY, output, "naïve 标签 " + "x" * 5000)
    assert drawn.shape[1:] == (640, 3)
