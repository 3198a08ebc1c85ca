"""Progress is a share of time and never goes back."""

import pytest
from plotting import LOGS

from node.model.plot import Plotter
from node.pipeline.plot.lines import At
from node.pipeline.plot.log import LogReader
from node.pipeline.plot.progress import PLOTTER_SHARE, fraction, pace, remaining


@pytest.mark.parametrize("name", ["chiapos_bitfield.txt", "chiapos_without_bitfield.txt", "madmax.txt", "bladebit.txt"])
def test_progress_only_grows(name: str) -> None:
    plotter = {"madmax.txt": Plotter.MADMAX, "bladebit.txt": Plotter.BLADEBIT}.get(name, Plotter.BUILTIN)
    reader, last = LogReader(plotter), 0.0
    shares = pace(18).shares
    for line in (LOGS / name).read_bytes().splitlines(keepends=True):
        for event in reader.feed(line):
            if isinstance(event, At):
                now = fraction(event.phase, event.table, event.part, shares)
                assert now >= last
                last = now
    assert 0.9 < last <= PLOTTER_SHARE


def test_shares_are_learned_from_this_workers_plots() -> None:
    assert pace(18).shares[0] == 0.70
    assert pace(32).shares[0] == 0.44
    learned = pace(18, [(50.0, 10.0, 30.0, 10.0), (150.0, 30.0, 90.0, 30.0)])
    assert learned.shares == (0.5, 0.1, 0.3, 0.1)
    assert learned.total_s == 300.0
    assert pace(18, [(0.0, 0.0, 0.0, 0.0)]).total_s is None


def test_the_end_is_expected_from_history_first_and_from_the_pace_later() -> None:
    assert remaining(0.0, 1.0, None) is None
    assert remaining(0.01, 1.0, 100.0) == pytest.approx(99.0)
    assert remaining(0.5, 60.0, None) == pytest.approx(60.0)
    assert remaining(0.5, 60.0, 100.0) == pytest.approx(55.0)
    assert remaining(1.0, 60.0, 100.0) == 0.0
