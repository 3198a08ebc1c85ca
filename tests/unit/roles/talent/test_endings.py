"""An end is what lies on the disk, and what is taken away after it was proven."""

from __future__ import annotations

import pytest
from scripted import Lab, ScriptedRun

from node.errors import DestinationFull, NotAPlot, Unavailable
from node.model.plot import Failure, PlotState
from node.model.process import Facts
from node.roles.talent.endings import verdict


def file_of(lab: Lab, id: str, run: ScriptedRun) -> str:
    return run.finish_file(lab.folder(id)).name


@pytest.mark.parametrize(
    ("facts", "failure", "text"),
    [
        (Facts(code=1), Failure.PLOTTER_ERROR, "exit code 1, its last words: no memory"),
        (Facts(signal=9), Failure.ABORTED, "the plotter was ended by SIGKILL"),
        (Facts(lost=True), Failure.LOST, "its process has gone, and nobody saw how"),
        (Facts(error="No such file"), Failure.PLOTTER_ERROR, "it could not be started: No such file"),
    ],
)
def test_a_plotter_that_left_no_plot_has_failed_for_a_reason(facts: Facts, failure: Failure, text: str) -> None:
    assert verdict(facts, "no memory") == (failure, text)


@pytest.mark.parametrize("facts", [Facts(code=0), Facts(signal=2), Facts(code=1), Facts(lost=True)])
async def test_a_finished_file_outranks_whatever_the_process_said(lab: Lab, facts: Facts) -> None:
    id, run = await lab.running()
    name = file_of(lab, id, run)
    run.end(facts)
    plot = await lab.until(id, PlotState.FINISHED)
    assert (plot.dest_file_name, plot.progress, plot.proofs) == (name, 1.0, 5)
    assert (lab.root / "dest" / name).exists()
    assert lab.left() == []


async def test_a_stop_that_comes_when_the_file_is_complete_loses_nothing(lab: Lab) -> None:
    id, run = await lab.running()
    name = file_of(lab, id, run)
    await lab.talent.stop(id)
    plot = await lab.until(id, PlotState.FINISHED)
    assert plot.reason == "it was complete when the stop came"
    assert (lab.root / "dest" / name).exists()
    stop = await lab.store.plots.stop(id)
    assert stop is not None
    assert (stop.state, stop.reason) == ("stopped", "the plot is finished")


async def test_a_destination_without_room_is_waited_for_and_says_so(lab: Lab) -> None:
    id, run = await lab.running()
    lab.finisher.faults = [DestinationFull("/dest has no room for 4 bytes") for _ in range(3)]
    file_of(lab, id, run)
    run.end(Facts(code=0))
    waiting = await lab.talent.until(id, lambda plot: plot.reason)
    assert waiting.reason == "the finished file waits: /dest has no room for 4 bytes"
    assert (waiting.state, waiting.phase) == (PlotState.RUNNING, 5)
    assert (await lab.until(id, PlotState.FINISHED)).reason == ""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (DestinationFull("no room"), "dest_full_timeout: no room; the file stays in"),
        (Unavailable("stale file handle"), "aborted: stale file handle; the file stays in"),
        (NotAPlot("a wrong proof"), "verify_failed: a wrong proof; the file stays in"),
    ],
)
async def test_a_file_that_cannot_be_brought_stays_where_it_was_made(lab: Lab, fault: Exception, reason: str) -> None:
    lab.config = lab.config.model_copy(update={"dest_full_timeout": 12.0})
    await lab.restart()
    id, run = await lab.running()
    lab.finisher.faults = [fault] * 9  # type: ignore[list-item]
    name = file_of(lab, id, run)
    run.end(Facts(code=0))
    plot = await lab.until(id, PlotState.FAILED)
    assert plot.reason.startswith(reason)
    assert (lab.folder(id) / name).exists()
    await lab.restart()
    await lab.talent.supervisor.recover()
    assert (lab.folder(id) / name).exists(), "the sweep after a restart takes no finished plot"


async def test_a_kill_between_the_end_and_its_clean_up_leaves_nothing_for_ever(lab: Lab) -> None:
    """The source of a plot that was finished stayed in the temp directory once, for good."""
    id, run = await lab.running()
    name = file_of(lab, id, run)
    content = (lab.folder(id) / name).read_bytes()
    run.end(Facts(code=0))
    await lab.until(id, PlotState.FINISHED)
    lab.folder(id).mkdir()
    (lab.folder(id) / ".ecnode-worker").write_text("ab" * 16)
    (lab.folder(id) / name).write_bytes(content)
    (lab.root / "dest" / name).rename(lab.root / "kept")
    await lab.restart()
    await lab.talent.supervisor.recover()
    assert (lab.folder(id) / name).exists(), "its copy is not there: the source is the last one"
    (lab.root / "kept").rename(lab.root / "dest" / name)
    await lab.restart()
    await lab.talent.supervisor.recover()
    assert lab.left() == []
