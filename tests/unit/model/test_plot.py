"""Which plots are taken at the door, and how do their times become the original's columns?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotting import FARMER, POOL, needs_plotter
from pydantic import ValidationError

from node import g1
from node.model.plot import PLOT_LIFE, PlotRequest, PlotState, PlotTime, TimeKind, largest_stripe, time_columns, wide

SECRET = "03" * 32


def test_keys_are_points_of_the_group_and_nothing_else() -> None:
    assert g1.fault(bytes.fromhex(FARMER)) == ""
    assert g1.fault(bytes.fromhex(POOL)) == ""
    assert "bytes" in g1.fault(b"\x80" * 47)
    assert "compressed" in g1.fault(bytes(48))
    assert "compressed" in g1.fault(b"\xc0" + bytes(47)), "infinity is nobody's key"
    with pytest.raises(ValidationError, match="not a point"):
        PlotRequest(fpk="8f" * 48)
    with pytest.raises(ValidationError):
        PlotRequest(fpk=FARMER.upper())


@needs_plotter
@given(noise=st.binary(min_size=48, max_size=48))
def test_our_judgement_of_keys_is_that_of_the_reference(noise: bytes) -> None:
    from chia_rs import G1Element

    key = bytes([noise[0] & 0x3F | 0x80]) + noise[1:]
    try:
        G1Element.from_bytes(key)
    except ValueError:
        assert g1.fault(key)
    else:
        assert not g1.fault(key)


def test_a_stripe_must_fit_the_size() -> None:
    assert [largest_stripe(k) for k in (18, 20, 21, 32)] == [8192, 32768, 65536, 65536]
    with pytest.raises(ValidationError, match="8192, the most at k18"):
        PlotRequest(ksize=18, stripe_size=65536)
    for ksize in (17, 51):
        with pytest.raises(ValidationError):
            PlotRequest(ksize=ksize)


def test_a_memo_that_is_given_decides_the_keys() -> None:
    PlotRequest(memo=POOL + FARMER + SECRET, fpk=FARMER, ppk=POOL)
    with pytest.raises(ValidationError, match="fpk is not the one"):
        PlotRequest(memo=POOL + FARMER + SECRET, fpk=POOL)


def test_the_wide_view_has_every_time_column_of_the_seed() -> None:
    names = {f"{column}_{what}" for column, _, _ in time_columns() for what in ("time", "cpu")}
    assert len(names) == 2 * (8 + 8 + 7 + 3)
    empty = wide(())
    assert set(empty) == names
    assert set(empty.values()) == {None}
    rows = (
        PlotTime(phase=2, table=6, kind=TimeKind.SCAN, seconds=1.0, cpu=100.0),
        PlotTime(phase=2, table=6, kind=TimeKind.SORT, seconds=3.0, cpu=20.0),
        PlotTime(phase=3, table=1, kind=TimeKind.FIRST, seconds=1.0),
        PlotTime(phase=3, table=1, kind=TimeKind.TABLE, seconds=5.0),
        PlotTime(phase=0, table=0, kind=TimeKind.TOTAL, seconds=0.0, cpu=50.0),
    )
    found = wide(rows)
    assert (found["p2_t6_time"], found["p2_t6_cpu"]) == (4.0, 40.0)
    assert (found["p3_t1_2_time"], found["p3_t1_2_cpu"]) == (5.0, None)
    assert (found["total_time"], found["total_cpu"]) == (0.0, 50.0)


def test_every_state_that_is_not_final_can_be_stopped_and_fail() -> None:
    for state in PlotState:
        events = PLOT_LIFE.events(state)
        assert (state in PLOT_LIFE.terminal) == (not events)
        if state not in PLOT_LIFE.terminal:
            assert "fail" in events
            assert "stop" in events or state is PlotState.STOPPING
