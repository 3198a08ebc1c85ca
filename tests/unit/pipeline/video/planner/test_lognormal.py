"""Is the chance that a sum stays below a limit what drawing it gives?"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.pipeline.video.planner.lognormal import chance_below, time_of

PARTS = st.lists(st.tuples(st.floats(1e-4, 10), st.floats(0, 0.5)), min_size=1, max_size=6)


@pytest.mark.parametrize("limit", [0.25, 0.3, 0.35, 0.5])
def test_it_is_what_drawing_the_parts_gives(limit: float) -> None:
    random, parts = Random(7), [(0.1, 0.2), (0.15, 0.1), (0.05, 0.3)]
    times = [time_of(mean, sigma**2) for mean, sigma in parts]
    mean, variance = sum(time.mean for time in times), sum(time.variance for time in times)
    drawn = [
        sum(random.lognormvariate(0, sigma) * part / (2.718281828 ** (sigma**2 / 2)) for part, sigma in parts)
        for _ in range(20_000)
    ]
    assert chance_below(limit, mean, variance) == pytest.approx(sum(total <= limit for total in drawn) / len(drawn), abs=0.015)


@given(PARTS, st.floats(-1, 100), st.floats(0, 100))
def test_it_is_a_chance_and_grows_with_the_limit(parts: list[tuple[float, float]], limit: float, more: float) -> None:
    times = [time_of(mean, spread) for mean, spread in parts]
    mean, variance = sum(time.mean for time in times), sum(time.variance for time in times)
    assert 0.0 <= chance_below(limit, mean, variance) <= chance_below(limit + more, mean, variance) <= 1.0


def test_what_is_sure_holds_or_does_not() -> None:
    assert chance_below(0.3, 0.29, 0.0) == 1.0
    assert chance_below(0.3, 0.31, 0.0) == 0.0
    assert chance_below(0.0, 0.1, 0.01) == 0.0
