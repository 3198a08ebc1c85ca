"""Is a query's accuracy what its golden samples say?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model.video import Resolution, Runtime
from node.pipeline.stage import SERVICES
from node.pipeline.video.planner.accuracy import BIAS_LEAST, BIAS_MOST, Bias, Biased, HeldResults

STAGES = [SERVICES["face_detection"], SERVICES["face_alignment"]]


def test_a_higher_rate_and_a_higher_resolution_are_never_worse() -> None:
    scene = HeldResults().scene(STAGES, 25.0, Runtime(obj_size=5000.0, obj_speed=100.0))
    for small, large in zip(Resolution, list(Resolution)[1:], strict=False):
        assert scene.expected(small, 10.0, 0.0) <= scene.expected(large, 10.0, 0.0)
    assert scene.expected(Resolution.P720, 1.0, 0.0) < scene.expected(Resolution.P720, 10.0, 0.0)
    assert scene.expected(Resolution.P720, 10.0, 0.5) < scene.expected(Resolution.P720, 10.0, 0.0)


def test_a_query_that_does_worse_than_its_curves_is_expected_to_do_worse() -> None:
    bias = Bias()
    for _ in range(20):
        bias.read(0.7, 0.9, 7)
    assert bias.factor == pytest.approx(0.7 / 0.9, abs=0.03)
    scene = HeldResults().scene(STAGES, 25.0, Runtime())
    assert Biased(scene, bias.factor).expected(Resolution.P720, 25.0, 0.0) == pytest.approx(bias.factor, abs=0.01)


def test_one_golden_sample_of_few_objects_says_little() -> None:
    few, many = Bias(), Bias()
    few.read(0.5, 1.0, 2)
    many.read(0.5, 1.0, 50)
    assert 1.0 > few.factor > many.factor


def test_an_empty_scene_and_an_accuracy_of_nothing_say_nothing() -> None:
    bias = Bias()
    bias.read(0.0, 0.9, 0)
    bias.read(1.0, 0.0, 9)
    assert (bias.factor, bias.samples) == (1.0, 0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 500)), max_size=50))
def test_a_bias_stays_within_its_bounds(samples: list[tuple[float, float, int]]) -> None:
    bias = Bias()
    for seen, expected, objects in samples:
        bias.read(seen, expected, objects)
        bias.age(10.0)
        assert BIAS_LEAST <= bias.factor <= BIAS_MOST
