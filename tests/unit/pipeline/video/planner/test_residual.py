"""Does a residual follow what changes, and stay where one reading is odd?"""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.pipeline.video.planner.residual import NOISE_LEAST, NOISE_MOST, READING_MOST, LogKalman, MovingMean


def a_filter() -> LogKalman:
    return LogKalman(variance=0.25**2, noise=0.12**2, drift=0.0005, ceiling=0.3**2)


def settled(value: float = 0.0) -> LogKalman:
    found = a_filter()
    for _ in range(30):
        found.read(value)
    return found


def test_one_frame_that_took_far_too_long_locks_no_node_out() -> None:
    found = settled()
    before = found.value
    assert not found.read(log(2.5))
    assert found.value == before
    assert found.read(0.01)
    assert abs(found.value) < 0.05


def test_two_readings_far_off_on_the_same_side_are_believed_at_once() -> None:
    found = settled()
    found.read(log(3.0))
    assert found.read(log(3.0))
    assert found.value > 0.8 * log(3.0)


def test_two_readings_far_off_on_different_sides_are_not_believed() -> None:
    found = settled()
    assert not found.read(log(3.0))
    assert not found.read(-log(3.0))
    assert abs(found.value) < 0.01


def test_what_was_not_seen_for_long_becomes_uncertain_and_returns_to_the_prediction() -> None:
    found = settled(0.5)
    sure, value = found.variance, found.value
    found.age(60.0)
    assert found.variance > sure
    assert 0 < found.value < value
    found.age(1e9)
    assert found.variance == pytest.approx(0.3**2)
    assert found.value == pytest.approx(0.0)


def test_the_noise_is_learned_from_the_readings() -> None:
    calm, wild = a_filter(), a_filter()
    for number in range(400):
        calm.read(0.01 * (-1) ** number)
        wild.read(0.3 * (-1) ** number)
    assert calm.noise == NOISE_LEAST
    assert wild.noise > 4 * calm.noise


@given(st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(float("inf"))), max_size=200), st.floats(0, 1e6))
def test_whatever_is_read_the_estimate_stays_a_number_within_bounds(readings: list[float], pause: float) -> None:
    for found in (a_filter(), MovingMean()):
        for seen in readings:
            found.read(seen)
            assert abs(found.value) <= READING_MOST
            assert 0 < found.variance <= 1.0
            assert NOISE_LEAST <= found.noise <= NOISE_MOST or isinstance(found, MovingMean)
        found.age(pause)
        assert abs(found.value) <= READING_MOST


@given(st.floats(-2.5, 2.5))
def test_it_ends_at_what_it_is_told_again_and_again(value: float) -> None:
    assert settled(value).value == pytest.approx(value, abs=0.05)
