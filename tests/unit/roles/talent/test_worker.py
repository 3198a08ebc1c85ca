"""What a talent answers to creates, stops and questions, and what completes an order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from plotting import FARMER, POOL
from scripted import Lab
from talents import CLOCK, OVERLORD, WORKER

from node.errors import Conflict, NotFound
from node.model.plot import PlotState, StopState
from node.model.value import new_id
from node.model.wire.plot import PlotCached, PlotControl, PlotLogRequest, PlotPending, PlotQuestion
from node.transport.base import Call

MEMO = POOL + FARMER + "03" * 32


def a_call(lab: Lab, seconds: float = 5.0) -> Call:
    return Call(OVERLORD, (), lab.clock.monotonic() + seconds)


async def test_an_order_is_completed_by_the_defaults_of_the_talent(lab: Lab) -> None:
    plot = await lab.plot(await lab.created(name="mine"))
    assert (plot.ksize, plot.threads, plot.buffer, plot.fpk, plot.ppk) == (18, 1, 100, FARMER, POOL)
    assert (plot.name, plot.node, plot.worker_id, plot.plotter) == ("mine", "talent-1", WORKER, "chia")


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ({"cache1": "/nowhere"}, "cache1: /nowhere is no temp directory of this talent (talent.cache)"),
        ({"dest_path": "/nowhere"}, "dest_path: /nowhere is no destination of this talent (talent.destination)"),
        ({"stripe_size": 60_000}, "stripe_size: 60000 is above 8192, the most at k18"),
        ({"memo": MEMO}, "memo: 'chia' would show it to every user of the machine"),
    ],
)
async def test_an_order_that_cannot_be_made_here_fails_and_names_what_does_not_fit(
    lab: Lab, request_: dict[str, Any], fault: str
) -> None:
    id, answer = await lab.talent.create(**request_)
    assert not answer.is_success
    assert fault in answer.msg
    plot = await lab.plot(id)
    assert (plot.state, plot.step) == (PlotState.FAILED, 2)
    assert plot.reason.startswith("refused: ")
    async with CLOCK.timeout(10.0):
        while lab.steps_told(id) != ["received", "failed"]:
            await CLOCK.sleep(0.001)


async def test_a_share_is_no_local_disk(lab: Lab) -> None:
    _, answer = await lab.talent.create(dest_path=str(lab.root / "dest"), dest_type="nfs")
    assert f"dest_type: {lab.root / 'dest'} is local, not nfs" in answer.msg


async def test_without_keys_it_says_where_to_name_them(lab: Lab) -> None:
    lab.config = lab.config.model_copy(update={"defaults": lab.config.defaults.model_copy(update={"fpk": "", "ppk": ""})})
    await lab.restart()
    _, answer = await lab.talent.create()
    assert "fpk: is missing: name it in the request or in talent.defaults.fpk" in answer.msg
    assert "ppk" in answer.msg


async def test_a_stop_before_its_create_ends_the_plot_as_stopped(lab: Lab) -> None:
    id = new_id("p", lab.clock.wall())
    answer = await lab.talent.stop(id)
    assert (answer.is_success, answer.msg) == (True, "the plot is not known yet: it will end as stopped")
    assert (await lab.talent.create(id))[1].is_success
    assert (await lab.plot(id)).state is PlotState.STOPPED
    stop = await lab.store.plots.stop(id)
    assert stop is not None
    assert stop.state is StopState.STOPPED
    assert not lab.runner.runs


async def test_a_stop_at_the_heels_of_its_create_is_carried_out(lab: Lab) -> None:
    """It found no plot under way once, because that was still being taken in, and was forgotten until the next restart."""
    id, _ = await lab.talent.create()
    assert not lab.talent.ledger.has(id)
    assert (await lab.talent.stop(id)).msg == "it is being stopped"
    await lab.until(id, PlotState.STOPPED)
    assert lab.left() == []


@pytest.mark.parametrize("times", [2, 30])
async def test_many_creates_and_stops_of_one_plot_are_one(lab: Lab, times: int) -> None:
    id, run = await lab.running()
    for _ in range(times):
        assert (await lab.talent.create(id))[1].msg == "it is started already"
    for _ in range(times):
        assert (await lab.talent.stop(id)).is_success
    await lab.until(id, PlotState.STOPPED)
    assert lab.runner.of(id) == [run]
    assert lab.steps_told(id).count("stopped") == 1
    assert (await lab.talent.create(id))[1].msg == "it is stopped already"
    assert (await lab.talent.stop(id)).msg == "it is stopped"


async def test_the_same_id_with_another_request_is_refused(lab: Lab) -> None:
    id = await lab.created(ksize=18)
    answer = (await lab.talent.create(id, ksize=20))[1]
    assert not answer.is_success
    assert "belongs to another request" in answer.msg


async def test_a_stop_that_was_kept_is_carried_out_after_a_restart(lab: Lab) -> None:
    id, run = await lab.running()
    await lab.store.plots.write(lambda it: lab.talent.worker.accept_stop(id, it))
    await lab.restart()
    await lab.until(id, PlotState.STOPPED)
    assert run.stops >= 1


async def test_questions_find_plots_by_id_state_and_temp_directory(lab: Lab) -> None:
    lab.config = lab.config.model_copy(update={"max_parallel": 1})
    await lab.restart()
    first, _ = await lab.running()
    second = await lab.created()
    worker, call = lab.talent.worker, a_call(lab)
    assert [one.id for one in (await worker._status(call, PlotQuestion(plot=first))).body.plots] == [first]
    assert [one.id for one in (await worker._status(call, PlotQuestion(state=PlotState.STARTED))).body.plots] == [first]
    assert [one.id for one in (await worker._pending(call, PlotPending())).body.plots] == [second]
    cached = PlotCached(state=PlotState.STARTED, cache1=str(lab.root / "cache"))
    assert [one.id for one in (await worker._cached(call, cached)).body.plots] == [first]
    with pytest.raises(NotFound):
        await worker._status(call, PlotQuestion(plot=new_id("p", 1.0)))


async def test_only_a_plotter_that_runs_can_be_suspended(lab: Lab) -> None:
    id, run = await lab.running()
    worker = lab.talent.worker
    assert (await worker._control(a_call(lab), PlotControl(plot=id, action="suspend"))).body.suspended
    assert run.suspended
    await lab.talent.stop(id)
    await lab.until(id, PlotState.STOPPED)
    with pytest.raises(NotFound):
        await worker._control(a_call(lab), PlotControl(plot=id, action="resume"))
    lab.config = lab.config.model_copy(update={"command": "/nowhere/plotter"})
    await lab.restart()
    waiting = await lab.created()
    with pytest.raises(Conflict, match="no plotter that runs"):
        await lab.talent.worker._control(a_call(lab), PlotControl(plot=waiting, action="suspend"))


async def test_an_update_reads_the_log_to_its_end(lab: Lab) -> None:
    id, _ = await lab.running()
    log = lab.talent.supervisor.home(id) / "plot.log"
    log.write_text("Starting phase 1/4: Forward Propagation into tmp files... now\nComputing table 3\n")
    plot = (await lab.talent.worker._control(a_call(lab), PlotControl(plot=id, action="refresh"))).body
    assert (plot.state, plot.phase, plot.table) == (PlotState.RUNNING, 1, 3)


async def test_a_log_is_given_from_an_offset_its_end_or_when_it_grows(lab: Lab) -> None:
    id, _ = await lab.running()
    log = lab.talent.supervisor.home(id) / "plot.log"
    log.write_bytes(b"0123456789")
    worker = lab.talent.worker
    answer = await worker._log(a_call(lab), PlotLogRequest(plot=id, offset=4, length=3))
    assert (answer.blobs, answer.body.next, answer.body.over) == ((b"456",), 7, False)
    answer = await worker._log(a_call(lab), PlotLogRequest(plot=id, tail=True, length=2))
    assert answer.blobs == (b"89",)
    growing = asyncio.create_task(worker._log(a_call(lab, 60.0), PlotLogRequest(plot=id, offset=10, wait=30.0)))
    await lab.clock.advance(1.0)
    assert not growing.done()
    log.write_bytes(b"0123456789x")
    async with CLOCK.timeout(10.0):
        while not growing.done():
            await lab.clock.advance(0.3)
            await CLOCK.sleep(0.001)
    assert growing.result().blobs == (b"x",)


async def test_the_heartbeat_tells_of_slots_directories_and_plots(lab: Lab) -> None:
    id, _ = await lab.running()
    await lab.talent.supervisor._schedule()
    report = lab.talent.worker.report()
    assert (report.worker_id, report.ksize, report.running, report.pending) == (WORKER, 18, 1, 0)
    assert [(one.path, one.running) for one in report.caches] == [(str(lab.root / "cache"), 1)]
    assert [(one.path, one.problem) for one in report.destinations] == [(str(lab.root / "dest"), "")]
    assert [(one.id, one.state) for one in report.plots] == [(id, PlotState.STARTED)]
