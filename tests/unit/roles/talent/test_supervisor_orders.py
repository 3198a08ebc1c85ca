"""Orders of events that a supervisor meets once in a thousand plots."""

from __future__ import annotations

import asyncio

from scripted import Lab

from node.errors import ChildLost
from node.model.plot import PlotState
from node.model.process import Facts

SIGTERM = 15


async def test_a_plot_whose_stop_is_being_kept_is_not_started(lab: Lab) -> None:
    """Once it was: its plotter then ran for nobody, and left its folder behind."""
    told = lab.talent.told
    told.held_back = "stop"
    id = await lab.created()
    stopping = asyncio.create_task(lab.talent.supervisor.stop(id))
    await told.reached.wait()
    scheduled = asyncio.create_task(lab.talent.supervisor._schedule())
    await lab.clock.advance(0.0)
    told.released.set()
    await asyncio.gather(stopping, scheduled)
    assert (await lab.until(id, PlotState.STOPPED)).reason == ""
    assert not lab.runner.of(id)
    assert lab.left() == []


async def test_a_stop_between_the_start_of_a_plotter_and_its_record_ends_it(lab: Lab) -> None:
    told = lab.talent.told
    told.held_back = "start"
    id, _ = await lab.talent.create()
    await told.reached.wait()
    (run,) = lab.runner.of(id)
    stopping = asyncio.create_task(lab.talent.supervisor.stop(id))
    await lab.clock.advance(0.0)
    told.released.set()
    await stopping
    await lab.until(id, PlotState.STOPPED)
    assert run.facts == Facts(signal=SIGTERM)
    assert lab.left() == []


async def test_a_stop_of_an_earlier_life_waits_until_its_plotter_is_found(lab: Lab) -> None:
    id, run = await lab.running()
    await lab.talent.die()
    lab.talent = lab._life()
    await lab.talent.ledger.load()
    stopping = asyncio.create_task(lab.talent.supervisor.stop(id))
    await lab.clock.advance(1.0)
    assert (await lab.plot(id)).state is PlotState.STARTED
    await lab.talent.start()
    await stopping
    await lab.until(id, PlotState.STOPPED)
    assert run.stops == 1


async def test_a_start_that_nobody_confirmed_is_not_followed_by_a_second_one(lab: Lab) -> None:
    lab.runner.refusals, lab.runner.late = [ChildLost("no answer in time")], True
    id, run = await lab.running()
    assert lab.runner.of(id) == [run]
    run.finish_file(lab.folder(id))
    run.end(Facts(code=0))
    await lab.until(id, PlotState.FINISHED)
    assert lab.left() == []


async def test_a_plot_that_cannot_be_started_says_why_and_starts_later(lab: Lab) -> None:
    lab.runner.refusals = [ChildLost("no process could be made")]
    id, _ = await lab.talent.create()
    waiting = await lab.talent.until(id, lambda plot: plot.reason)
    assert waiting.reason == "no process could be made"
    assert (await lab.until(id, PlotState.STARTED)).reason == ""


async def test_one_plot_that_cannot_be_started_keeps_no_other_from_it(lab: Lab) -> None:
    foreign = "p-" + "0" * 26
    folder = lab.folder(foreign)
    folder.mkdir()
    (folder / "somebody's").touch()
    await lab.talent.create(foreign)
    waiting = await lab.talent.until(foreign, lambda plot: plot.reason)
    assert "is not this worker's" in waiting.reason
    other, _ = await lab.running()
    assert (await lab.talent.stop(foreign)).is_success
    await lab.until(foreign, PlotState.STOPPED)
    assert sorted(lab.left()) == sorted([folder.name, lab.folder(other).name])
    assert (folder / "somebody's").exists()


async def test_a_suspended_plotter_goes_on_and_can_be_stopped(lab: Lab) -> None:
    id, run = await lab.running()
    assert (await lab.talent.supervisor.suspend(id, suspended=True)).suspended
    assert run.suspended
    assert not (await lab.talent.supervisor.suspend(id, suspended=False)).suspended
    assert not run.suspended
    await lab.talent.supervisor.suspend(id, suspended=True)
    await lab.talent.stop(id)
    assert not (await lab.until(id, PlotState.STOPPED)).suspended


async def test_a_slot_that_falls_free_is_taken_without_waiting(lab: Lab) -> None:
    lab.config = lab.config.model_copy(update={"max_parallel": 1})
    await lab.restart()
    _, first = await lab.running()
    second, _ = await lab.talent.create()
    waiting = await lab.talent.until(second, lambda plot: plot.reason)
    assert "1 of 1 plots run here" in waiting.reason
    first.end(Facts(code=1))
    await lab.talent.state(second, PlotState.STARTED)  # no time passes: nothing that waits by the clock can have done it
