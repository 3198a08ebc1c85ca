"""A plot's record, its log's place and what its overlord knows never disagree."""

from __future__ import annotations

import asyncio

import pytest
from scripted import Lab

from node.errors import Conflict, NotFound
from node.model.plot import LogPlace, Plot, PlotState

FOREIGN = "p-" + "7" * 26


async def test_every_step_is_told_once_and_in_order(lab: Lab) -> None:
    id, _ = await lab.running()
    await lab.talent.stop(id)
    await lab.until(id, PlotState.STOPPED)
    assert lab.steps_told(id) == ["received", "pending", "started", "stopping", "stopped"]
    assert [step.number for step in await lab.store.plots.steps(id)] == [1, 2, 3, 4, 5]


async def test_what_a_full_outbox_did_not_take_is_told_with_the_next_step(lab: Lab) -> None:
    id, _ = await lab.running()
    told, ledger = lab.talent.told, lab.talent.ledger
    told.full = True
    await ledger.step(id, "run")
    assert (await lab.plot(id)).state is PlotState.RUNNING
    assert "running" not in lab.steps_told(id)
    told.full = False
    await ledger.note(id, table=2)
    assert lab.steps_told(id) == ["received", "pending", "started", "running"]


async def test_an_end_that_a_full_outbox_did_not_take_is_told_once_there_is_room(lab: Lab) -> None:
    id, _ = await lab.running()
    lab.talent.told.full = True
    await lab.talent.stop(id)
    await lab.until(id, PlotState.STOPPED)
    assert lab.steps_told(id)[-1] == "started"
    lab.talent.told.full = False
    await lab.talent.ledger.tell_late()
    await lab.talent.ledger.tell_late()
    assert lab.steps_told(id) == ["received", "pending", "started", "stopping", "stopped"]


async def test_an_end_that_was_not_told_before_a_restart_is_told_after_it(lab: Lab) -> None:
    id, _ = await lab.running()
    lab.talent.told.full = True
    await lab.talent.stop(id)
    await lab.until(id, PlotState.STOPPED)
    await lab.restart()
    assert lab.steps_told(id) == ["received", "pending", "started", "stopping", "stopped"]
    await lab.restart()
    assert lab.steps_told(id).count("stopped") == 1
    assert not lab.talent.ledger.has(id)


async def test_a_plot_is_taken_in_once_also_by_two_at_the_same_time(lab: Lab) -> None:
    id, _ = await lab.running()
    known = lab.talent.ledger.get(id)
    stale = known.replace(state=PlotState.PENDING, step=2)
    await asyncio.gather(lab.talent.ledger.take_in(stale), lab.talent.ledger.take_in(stale))
    assert lab.talent.ledger.get(id) == known


async def test_of_two_steps_at_the_same_time_the_one_that_comes_too_late_is_refused(lab: Lab) -> None:
    id, _ = await lab.running()
    both = (lab.talent.ledger.step(id, "run"), lab.talent.ledger.step(id, "run"))
    outcome = await asyncio.gather(*both, return_exceptions=True)
    assert [type(one) for one in outcome] == [Plot, Conflict]


async def test_a_note_to_a_plot_that_ends_meanwhile_changes_nothing(lab: Lab) -> None:
    id, _ = await lab.running()
    ledger = lab.talent.ledger
    ended, noted = await asyncio.gather(ledger.step(id, "fail", "lost: x"), ledger.note(id, table=3), return_exceptions=True)
    assert isinstance(noted, NotFound)
    assert isinstance(ended, Plot)
    assert (await lab.plot(id)).table == 0


async def test_a_note_that_is_meant_for_one_state_is_refused_in_another(lab: Lab) -> None:
    id, _ = await lab.running()
    with pytest.raises(Conflict, match="is started, no longer pending"):
        await lab.talent.ledger.note(id, PlotState.PENDING, table=3)


async def test_the_place_in_the_log_is_that_of_the_last_kept_step(lab: Lab) -> None:
    id, _ = await lab.running()
    await lab.talent.ledger.note(id, place=LogPlace(offset=512, phase=1))
    await lab.restart()
    assert lab.talent.ledger.place(id) == LogPlace(offset=512, phase=1)
    with pytest.raises(NotFound, match="no plot"):
        lab.talent.ledger.place(FOREIGN)
