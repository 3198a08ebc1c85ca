"""Spans of time and amounts of memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.config.units import duration, duration_text, size, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2.0),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("14d", 1209600.0),
        ("1.5s", 1.5),
        ("15", 15.0),
        (3, 3.0),
        (0.25, 0.25),
    ],
)
def test_a_span_of_time_becomes_seconds(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 s",
        "s",
        "-1s",
        "1e3",
        "1h30m",
        "2sec",
        "٣s",
        "9" * 40 + "s",
        "2000000d",
        True,
        None,
        [],
        -1,
        float("nan"),
        float("inf"),
    ],
)
def test_what_is_no_span_of_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"span of time|unit|range"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "amount"), [("8MiB", 8 * 2**20), ("256KiB", 2**18), ("1.5GiB", 3 * 2**29), ("10B", 10), ("7", 7), (4096, 4096)]
)
def test_an_amount_becomes_bytes(text: object, amount: int) -> None:
    assert size(text) == amount


@pytest.mark.parametrize("text", ["", "8 MiB", "MiB", "-1B", "0.5B", "9000TiB", "9000000TiB", True, None, {}, -4, 1.5])
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"amount|unit|range|whole"):
        size(text)


def test_a_decimal_unit_is_refused_with_the_binary_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'MiB'"):
        size("8MB")


@settings(deadline=None)  # a busy machine is no fault
@given(st.floats(min_value=1e-6, max_value=1e9))
def test_written_seconds_are_read_back_as_the_same_number(seconds: float) -> None:
    assert duration(duration_text(seconds)) == seconds


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(min_value=0, max_value=2**53))
def test_written_bytes_are_read_back_as_the_same_number(amount: int) -> None:
    assert size(size_text(amount)) == amount


@settings(deadline=None)  # a busy machine is no fault
@given(st.text(max_size=12) | st.integers() | st.floats() | st.booleans() | st.none())
def test_no_value_at_all_raises_anything_but_a_sentence(value: object) -> None:
    for read in (duration, size):
        try:
            found = read(value)
        except ValueError as error:
            assert len(str(error)) > 10
        else:
            assert found >= 0
