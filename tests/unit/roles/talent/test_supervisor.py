"""Real plots under a real talent: they begin, end, are stopped, killed and found again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from plotting import FARMER, POOL, needs_plotter
from talents import Talent, plots_in

from node.model.plot import PlotState

pytestmark = needs_plotter


@pytest.fixture
async def talent(tmp_path: Path) -> AsyncIterator[Talent]:
    opened = await Talent.open(tmp_path)
    yield opened
    await opened.close()


async def test_a_plot_goes_through_its_life_to_a_proven_file(talent: Talent) -> None:
    id, answer = await talent.create()
    assert answer.is_success, answer.msg
    plot = await talent.over(id)
    assert plot.state is PlotState.FINISHED, plot.reason
    (file,) = plots_in(talent.root / "dest")
    assert file.name == plot.dest_file_name
    assert plot.plot_id in file.name
    assert (plot.fpk, plot.ppk, plot.progress) == (FARMER, POOL, 1.0)
    assert talent.left() == []
