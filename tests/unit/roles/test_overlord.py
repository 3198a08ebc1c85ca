"""Orders are kept, handed to talents, followed and stopped, whoever is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlords import TALENT, Cloud, life_of
from plotting import FARMER, POOL

from node.errors import Conflict, Forbidden, Invalid, NotFound
from node.model.plot import PLOT_LIFE, Plot, PlotAnswer, PlotChange, PlotReport, PlotRequest, PlotState, StopState
from node.model.value import new_id
from node.model.wire.plot import PlotUpdate

MEMO = POOL + FARMER + "03" * 32
REFUSED = PlotAnswer(type="on_create", is_success=False, msg="ppk: is missing")


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    opened = await Cloud.open(tmp_path)
    yield opened
    await opened.close()


async def placed(cloud: Cloud, **request: object) -> Plot:
    """A plot that the talent was given."""
    await cloud.report()
    plot, _ = await cloud.overlord.create(PlotRequest(**request))
    await cloud.until(lambda: cloud.overlord.unplaced == 0)
    return await cloud.store.orders.get(plot.id)


async def running(cloud: Cloud, **request: object) -> tuple[Plot, list[PlotUpdate]]:
    plot = await placed(cloud, **request)
    updates = life_of(plot, "receive", "queue", "start", "run", "finish")
    for update in updates[:4]:
        await cloud.tell(update)
    return plot, updates


async def test_an_order_waits_with_a_reason_and_goes_to_the_talent_that_comes(cloud: Cloud) -> None:
    plot, new = await cloud.overlord.create(PlotRequest(ksize=32))
    assert new
    await cloud.until(lambda: cloud.overlord._live[plot.id].reason)
    assert (await cloud.overlord.get(plot.id)).reason == "no talent is there"
    await cloud.report()
    await cloud.until(lambda: cloud.overlord.unplaced == 0)
    assert [(peer, name) for peer, name, _ in cloud.post.sent] == [(TALENT, "plot.create")]
    stored = await cloud.overlord.get(plot.id)
    assert (stored.node, stored.reason, stored.state) == (TALENT, "", PlotState.INITIALIZED)


async def test_the_same_order_again_is_the_same_plot(cloud: Cloud) -> None:
    request = PlotRequest(task_id="7" * 32, ksize=32)
    first, new = await cloud.overlord.create(request)
    again, fresh = await cloud.overlord.create(request)
    assert (new, fresh, again.id) == (True, False, first.id)
    with pytest.raises(Conflict, match="another request"):
        await cloud.overlord.create(request.replace(ksize=33))
    with pytest.raises(Invalid, match="no node 'talent-9' has joined"):
        await cloud.overlord.create(PlotRequest(node="talent-9"))


async def test_what_a_full_outbox_did_not_take_is_handed_out_later(cloud: Cloud) -> None:
    cloud.post.full = True
    await cloud.report()
    plot, _ = await cloud.overlord.create(PlotRequest())
    await cloud.until(lambda: "too much waits" in cloud.overlord._live[plot.id].reason)
    cloud.post.full = False
    await cloud.until(lambda: cloud.overlord.unplaced == 0)
    assert cloud.names_sent() == ["plot.create"]


async def test_orders_of_an_earlier_life_are_handed_out_and_a_drained_talent_gets_none(cloud: Cloud) -> None:
    cloud.drained = frozenset({TALENT})
    await cloud.report()
    await cloud.overlord.create(PlotRequest())
    await cloud.restart()
    await cloud.clock.advance(1.0)
    assert cloud.overlord.unplaced == 1
    cloud.drained = frozenset()
    await cloud.report()
    await cloud.until(lambda: cloud.overlord.unplaced == 0)


async def test_an_order_that_its_talent_refuses_outright_has_failed(cloud: Cloud) -> None:
    plot = await placed(cloud)
    cloud.post.mail[0].say(REFUSED)
    await cloud.until(lambda: plot.id not in cloud.overlord._live)
    failed = await cloud.overlord.get(plot.id)
    assert (failed.state, failed.reason) == (PlotState.FAILED, "refused: ppk: is missing")


async def test_updates_are_followed_and_keep_what_only_the_overlord_knows(cloud: Cloud) -> None:
    plot, updates = await running(cloud, name="mine", memo=MEMO)
    bare = updates[4].plot.replace(name="", memo=None, task_id="9" * 32, created_at=7.0)
    await cloud.tell(updates[4].replace(plot=bare))
    ended = await cloud.overlord.get(plot.id)
    assert (ended.state, ended.name, ended.memo, ended.task_id) == (PlotState.FINISHED, "mine", MEMO, plot.task_id)
    assert [step.number for step in await cloud.overlord.steps(plot.id)] == [1, 2, 3, 4, 5]
    assert cloud.overlord.count(*PlotState) == 0


async def test_only_the_talent_that_has_a_plot_tells_of_it(cloud: Cloud) -> None:
    plot = await placed(cloud)
    (update, *_) = life_of(plot, "receive")
    with pytest.raises(Forbidden, match="is not made by 'talent-2'"):
        await cloud.tell(update, "talent-2")
    with pytest.raises(NotFound):
        await cloud.tell(update.replace(plot=update.plot.replace(id=new_id("p", 1.0))))


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), ending=st.sampled_from(["finish", "fail"]))
def test_updates_in_any_order_and_number_never_take_anything_back(
    seed: int, ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def story() -> None:
        cloud = await Cloud.open(tmp_path_factory.mktemp("cloud"))
        try:
            plot = await placed(cloud)
            updates = life_of(plot, "receive", "queue", "start", "run", ending)
            chance = random.Random(seed)
            shuffled = [*chance.choices(updates, k=8), updates[-1], *chance.choices(updates, k=4)]
            before, ends = plot, 0
            for update in shuffled:
                after = await cloud.tell(update)
                assert after.step >= before.step
                ends += after.state in PLOT_LIFE.terminal and before.state not in PLOT_LIFE.terminal
                before = after
            assert ends == 1
            assert before.state is updates[-1].plot.state
        finally:
            await cloud.close()

    asyncio.run(story())


async def test_a_plot_that_no_talent_has_is_stopped_at_once(cloud: Cloud) -> None:
    plot, _ = await cloud.overlord.create(PlotRequest())
    assert (await cloud.overlord.stop(plot.id)).msg == "it had no talent yet"
    assert (await cloud.overlord.get(plot.id)).state is PlotState.STOPPED
    assert (await cloud.overlord.stop(plot.id)).msg == "it is stopped"
    await cloud.report()
    await cloud.clock.advance(1.0)
    assert cloud.post.sent == []


async def test_a_stop_goes_to_the_talent_and_moves_with_its_plot(cloud: Cloud) -> None:
    plot, _ = await running(cloud)
    asked = asyncio.create_task(cloud.overlord.stop(plot.id))
    await cloud.until(lambda: "plot.stop" in cloud.names_sent())
    cloud.post.mail[-1].say(PlotAnswer(type="on_stop", is_success=True, msg="it is being stopped"))
    assert (await asked).msg == "it is being stopped"
    for update in life_of(plot, "receive", "queue", "start", "run", "stop", "end")[4:]:
        await cloud.tell(update)
    stop = await cloud.store.orders.stop(plot.id)
    assert stop is not None
    assert stop.state is StopState.STOPPED


async def test_a_stop_before_its_create_ends_the_order_as_stopped(cloud: Cloud) -> None:
    id = new_id("p", cloud.clock.wall())
    assert "not known yet" in (await cloud.overlord.stop(id)).msg
    plot, _ = await cloud.overlord.create(PlotRequest(id=id))
    assert plot.state is PlotState.STOPPED
    assert cloud.overlord.unplaced == 0
    with pytest.raises(NotFound):
        await cloud.overlord.stop("nobody")


async def test_a_stop_that_was_not_taken_is_sent_again_after_a_restart(cloud: Cloud) -> None:
    plot, _ = await running(cloud)
    await cloud.store.orders.write(lambda it: cloud.overlord._accept_stop(plot.id, it))
    await cloud.restart()
    await cloud.until(lambda: "plot.stop" in cloud.names_sent())


async def test_a_talent_that_is_away_is_said_beside_its_plots_and_they_can_be_given_up(cloud: Cloud) -> None:
    plot, updates = await running(cloud)
    with pytest.raises(Conflict, match=f"'{TALENT}' is there"):
        await cloud.overlord.give_up(plot.id)
    await cloud.clock.advance(60.0)
    away = await cloud.overlord.get(plot.id)
    assert away.reason.startswith(f"'{TALENT}' is not heard of")
    assert f"ecnode plots give-up {plot.id}" in away.reason
    assert away.state is PlotState.RUNNING
    await cloud.overlord.give_up(plot.id)
    given_up = await cloud.overlord.get(plot.id)
    assert given_up.state is PlotState.FAILED
    assert given_up.reason == f"lost: '{TALENT}' was not heard of any more, and the plot was given up"
    assert cloud.names_sent()[-1] == "plot.stop", "if it comes back after all, it stops the plot"
    await cloud.tell(updates[4])
    assert (await cloud.overlord.get(plot.id)).state is PlotState.FAILED
    with pytest.raises(Conflict, match="is failed"):
        await cloud.overlord.give_up(plot.id)


async def test_a_plot_of_a_removed_member_is_given_up_without_a_word_to_it(cloud: Cloud) -> None:
    plot, _ = await running(cloud)
    await cloud.clock.advance(60.0)
    cloud.members.clear()
    await cloud.overlord.give_up(plot.id)
    assert cloud.names_sent() == ["plot.create"]


async def test_an_update_renames_and_answers_also_where_the_talent_is_away(cloud: Cloud) -> None:
    plot, _ = await running(cloud)
    await cloud.there.stop()
    renamed = await cloud.overlord.update(plot.id, PlotChange(name="second farm"))
    assert (renamed.name, renamed.id) == ("second farm", plot.id)
    assert (await cloud.overlord.get("second farm")).id == plot.id


async def test_the_newest_progress_is_that_of_the_heartbeat(cloud: Cloud) -> None:
    plot, _ = await running(cloud)
    await cloud.report(plots=(PlotReport(id=plot.id, state=PlotState.RUNNING, phase=2, table=5, progress=0.7, eta_s=9.0),))
    told = await cloud.overlord.get(plot.id)
    assert (told.progress, told.phase, told.table, told.eta_s) == (0.7, 2, 5, 9.0)
