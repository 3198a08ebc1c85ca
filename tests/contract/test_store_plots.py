"""Do the file store and the memory store keep the same promises about plots, their times, steps and stops?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.errors import Busy, Conflict, NotFound
from node.model.plot import (
    LogPlace,
    Plot,
    PlotRequest,
    PlotState,
    PlotStop,
    Plotter,
    PlotTime,
    StopState,
    TimeKind,
    time_columns,
)
from node.model.value import new_id
from node.storage import Store, open_store, plots
from node.storage.plots import Change, advance, advance_stop

NOW = 1_700_000_000.0
REQUEST = PlotRequest(ksize=18, name="first")


@pytest.fixture(params=["sqlite:///node.db", "sqlite:///:memory:"], ids=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(request.param, tmp_path, ManualClock())
    yield opened
    await opened.close()


def a_plot(number: int = 1, **changes: object) -> Plot:
    return Plot(
        id=new_id("p", NOW + number),
        task_id=f"{number:032x}",
        state=PlotState.INITIALIZED,
        ksize=18,
        created_at=NOW,
        updated_at=NOW,
    ).replace(**changes)


async def kept(store: Store, plot: Plot | None = None) -> Plot:
    stored, new = await store.plots.write(store.plots.creation(plot or a_plot(), REQUEST, "overlord"))
    assert new
    return stored


async def led(store: Store, plot: Plot, *events: str, **changes: object) -> Plot:
    for event in events:
        after, step = advance(plot, event, NOW + 1, **changes)
        plot = await store.plots.write(store.plots.change(Change(plot, after, (step,))))
    return plot


async def test_a_plot_is_stored_once_however_often_it_is_created(store: Store) -> None:
    plot = await kept(store)
    assert await store.plots.write(store.plots.creation(plot, REQUEST)) == (plot, False)
    assert await store.plots.get(plot.id) == plot
    assert await store.plots.request(plot.id) == REQUEST


async def test_an_id_and_a_task_id_belong_to_one_request(store: Store) -> None:
    plot = await kept(store)
    with pytest.raises(Conflict, match="another request"):
        await store.plots.write(store.plots.creation(plot, REQUEST.replace(ksize=20)))
    with pytest.raises(Conflict, match="task_id"):
        await store.plots.write(store.plots.creation(a_plot(2, task_id=plot.task_id), REQUEST))


async def test_the_two_sides_of_a_node_that_is_both_keep_apart(store: Store) -> None:
    plot = await kept(store)
    with pytest.raises(NotFound):
        await store.orders.get(plot.id)
    await store.orders.write(store.orders.creation(plot, REQUEST))
    await led(store, plot, "receive")
    assert (await store.orders.get(plot.id)).state is PlotState.INITIALIZED


async def test_of_two_changes_of_one_plot_the_later_is_refused(store: Store) -> None:
    plot = await kept(store)
    first, step = advance(plot, "receive", NOW)
    await store.plots.write(store.plots.change(Change(plot, first, (step,))))
    with pytest.raises(Conflict, match="no longer initialized"):
        await store.plots.write(store.plots.change(Change(plot, first, (step,))))
    assert [step.number for step in await store.plots.steps(plot.id)] == [1]


async def test_a_change_its_times_and_the_place_in_the_log_are_kept_together(store: Store) -> None:
    plot = await led(store, await kept(store), "receive", "queue", "start")
    times = (PlotTime(phase=1, table=1, kind=TimeKind.TABLE, seconds=1.5, cpu=98.0),)
    after = plot.replace(phase=1, table=2, progress=0.25, suspended=True)
    await store.plots.write(store.plots.change(Change(plot, after, (), times, LogPlace(offset=4096, phase=1), told=3)))
    assert await store.plots.get(plot.id) == after
    remembered = await store.plots.log(plot.id)
    assert (remembered.overlord, remembered.place.offset, remembered.told) == ("overlord", 4096, 3)
    stale = Change(plot.replace(step=99), after, (), times, LogPlace(offset=9999))
    with pytest.raises(Conflict):
        await store.plots.write(store.plots.change(stale))
    assert (await store.plots.log(plot.id)).place.offset == 4096


async def test_the_status_has_every_time_column_of_the_original_and_null_where_the_log_said_nothing(store: Store) -> None:
    plot = await kept(store)
    times = (
        PlotTime(phase=2, table=7, kind=TimeKind.SCAN, seconds=2.0, cpu=50.0),
        PlotTime(phase=2, table=7, kind=TimeKind.SORT, seconds=1.0, cpu=80.0),
        PlotTime(phase=0, table=0, kind=TimeKind.TOTAL, seconds=9.0, cpu=100.0),
    )
    await store.plots.write(store.plots.change(Change(plot, plot, (), times)))
    told = (await store.plots.status(plot.id)).times
    assert list(told) == [f"{column}_{kind}" for column, _, _ in time_columns() for kind in ("time", "cpu")]
    assert (told["p2_t7_time"], told["p2_t7_cpu"]) == (3.0, pytest.approx(60.0))
    assert (told["total_time"], told["p2_t1_time"], told["p1_t1_cpu"]) == (9.0, None, None)


async def test_a_time_that_is_read_again_replaces_the_one_before(store: Store) -> None:
    plot = await kept(store)
    for seconds in (1.0, 2.0):
        time = PlotTime(phase=1, table=1, kind=TimeKind.TABLE, seconds=seconds)
        await store.plots.write(store.plots.change(Change(plot, plot, (), (time,))))
    assert (await store.plots.status(plot.id)).times["p1_t1_time"] == 2.0


async def test_a_list_is_newest_first_and_goes_on_behind_an_id(store: Store) -> None:
    made = [await kept(store, a_plot(number)) for number in range(1, 6)]
    await led(store, made[0], "receive", "queue", cache1="/a")
    assert [one.id for one in await store.plots.list(limit=2)] == [made[4].id, made[3].id]
    assert [one.id for one in await store.plots.list(limit=9, after=made[3].id)] == [one.id for one in made[2::-1]]
    assert [one.id for one in await store.plots.list(PlotState.PENDING)] == [made[0].id]
    assert [one.id for one in await store.plots.list(cache1="/a")] == [made[0].id]


async def test_a_plot_is_found_by_the_beginning_of_its_id_its_task_id_its_name_and_as_the_last(store: Store) -> None:
    first, second = await kept(store, a_plot(1, name="one")), await kept(store, a_plot(2))
    for ref in (first.id, first.task_id, "one"):
        assert await store.plots.resolve(ref) == first.id
    assert await store.plots.resolve("@last") == second.id
    assert await store.plots.by_task(second.task_id) == second.id
    with pytest.raises(Conflict, match="several"):
        await store.plots.resolve("p-")
    with pytest.raises(NotFound):
        await store.plots.resolve("nobody")


async def test_only_plots_under_way_are_live_and_there_is_a_most_of_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    over = await led(store, await kept(store, a_plot(1)), "receive", "fail")
    live = await kept(store, a_plot(2))
    assert [one.id for one in await store.plots.live()] == [live.id]
    assert over.ended_at == NOW + 1
    monkeypatch.setattr(plots, "LIVE_MOST", 1)
    with pytest.raises(Busy, match="under way"):
        await kept(store, a_plot(3))


async def test_a_stop_is_remembered_for_a_plot_that_nobody_knows_yet(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "STOPS_MOST", 2)
    stops = [PlotStop(plot=new_id("p", NOW), state=StopState.SCHEDULED, created_at=NOW + n, updated_at=NOW) for n in range(3)]
    for stop in stops:
        await store.plots.write(store.plots.setting_stop(stop))
    assert await store.plots.stop(stops[0].plot) is None, "the oldest beyond the most is forgotten"
    moved = advance_stop(stops[2], "receive", NOW + 9)
    await store.plots.write(store.plots.setting_stop(moved))
    assert await store.plots.stop(stops[2].plot) == moved
    assert await store.orders.stop(stops[2].plot) is None


async def test_the_history_has_whole_plots_of_one_size_only(store: Store) -> None:
    for number, phases in ((1, (1, 2, 3, 4)), (2, (1, 2))):
        plot = await led(store, await kept(store, a_plot(number, plotter=Plotter.BUILTIN)), "receive", "queue", "start", "run")
        times = tuple(PlotTime(phase=phase, table=0, kind=TimeKind.TOTAL, seconds=float(phase)) for phase in phases)
        after, step = advance(plot, "finish", NOW)
        await store.plots.write(store.plots.change(Change(plot, after, (step,), times)))
    assert await store.plots.history(18, "builtin") == ((1.0, 2.0, 3.0, 4.0),)
    assert await store.plots.history(32, "builtin") == ()
