"""Real plots under a real talent: they begin, end, are stopped, killed and found again."""

from __future__ import annotations

import os
import signal
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


async def test_a_plot_that_is_created_a_hundred_times_is_made_once(talent: Talent) -> None:
    id, _ = await talent.create()
    for _ in range(99):
        assert (await talent.create(id))[1].is_success
    assert (await talent.over(id)).state is PlotState.FINISHED
    assert len(plots_in(talent.root / "dest")) == 1
    assert len(await talent.store.plots.list()) == 1


async def test_a_plot_that_runs_is_stopped_and_nothing_of_it_is_left(talent: Talent) -> None:
    id, _ = await talent.create()
    running = await talent.state(id, PlotState.RUNNING)
    assert (await talent.stop(id)).is_success
    plot = await talent.over(id)
    assert plot.state is PlotState.STOPPED
    assert talent.left() == []
    assert running.plot_pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(running.plot_pid, 0)


async def test_a_plotter_that_was_interrupted_too_late_has_made_a_plot_all_the_same(talent: Talent) -> None:
    id, _ = await talent.create()
    running = await talent.state(id, PlotState.RUNNING)
    assert running.plot_pid is not None
    os.kill(running.plot_pid, signal.SIGINT)
    assert (await talent.over(id)).state is PlotState.FINISHED
