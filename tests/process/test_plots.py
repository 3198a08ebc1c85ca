"""Plots through the HTTP API of a cloud, made by a talent that is killed and comes back."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from plotting import needs_plotter
from systems import CLOCK, FAST, connect, until

from node.cli.system import FARMER, POOL, LocalSystem
from node.client import Client
from node.errors import Conflict, NotFound
from node.model.plot import PLOT_LIFE, PlotRequest, PlotState, PlotStatus
from node.model.plot_table import COLUMNS
from node.model.value import new_id

pytestmark = needs_plotter
TALENT = "talent-1"


@pytest.fixture(scope="module")
def system(assets: Path) -> Iterator[LocalSystem]:
    with LocalSystem(0, [], assets, pace=FAST, talents=1) as started:
        started.start()
        yield started


@pytest.fixture(scope="module")
def client(system: LocalSystem) -> Iterator[Client]:
    with connect(system) as opened:
        until(lambda: any(card.report.caches for card in opened.talents()))
        yield opened


def ordered(client: Client, **request: object) -> PlotStatus:
    return client.create_plot(PlotRequest(id=new_id("p", CLOCK.wall()), **request))


def over(client: Client, id: str) -> PlotStatus:
    return until(lambda: plot if (plot := client.plot(id)).state in PLOT_LIFE.terminal else None, 60)


def test_several_plots_at_once_end_proven_and_a_stop_before_the_create_ends_one_as_stopped(
    system: LocalSystem, client: Client
) -> None:
    early = new_id("p", CLOCK.wall())
    assert client.stop_plot(early).is_success
    ids = [ordered(client, ksize=18).id for _ in range(3)]
    assert client.create_plot(PlotRequest(id=early, ksize=18)).state is PlotState.STOPPED
    for id in ids:
        plot = over(client, id)
        assert plot.state is PlotState.FINISHED, plot.reason
        assert (plot.fpk, plot.ppk, plot.progress) == (FARMER, POOL, 1.0)
        assert plot.dest_path is not None
        assert plot.dest_file_name is not None
        assert (Path(plot.dest_path) / plot.dest_file_name).stat().st_size == plot.file_bytes
        assert [step.state for step in client.plot_steps(id)] == ["received", "pending", "started", "running", "finished"]
        assert client.plot(plot.task_id).id == id
        assert b"Renamed final file" in client.plot_log(id, tail=True)
    rows = list(csv.DictReader(io.StringIO(client.plots_csv().decode())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["status"] for row in rows] == ["stopped", "finished", "finished", "finished"]
    for method, prefix in (("GET", "/compat/talent"), ("POST", "")):
        row = json.loads(client.ask(method, f"{prefix}/plot/task/status/{plot.task_id}"))
        assert tuple(row) == COLUMNS
        assert row["p1_t1_time"] > 0
    task = "5" * 32
    answer = json.loads(client.ask("POST", "/plot/task/create", {"task_id": task, "ksize": 18}))
    assert answer == {"type": "on_create", "is_success": True, "msg": task}
    assert client.stop_plot(task).is_success
    assert over(client, task).state is PlotState.STOPPED
    with pytest.raises(Conflict):
        client.suspend_plot(ids[0])
    with pytest.raises(NotFound):
        client.stop_plot("nobody")


def test_a_talent_that_is_killed_finds_its_plotter_again_and_the_cloud_hears_the_rest(
    system: LocalSystem, client: Client
) -> None:
    id = ordered(client, ksize=18).id
    running = until(lambda: plot if (plot := client.plot(id)).state is PlotState.RUNNING else None)
    system.kill(TALENT)
    assert running.plot_pid is not None
    os.kill(running.plot_pid, 0)  # the plotter goes on without its node
    system.restart(TALENT)
    plot = over(client, id)
    assert plot.state is PlotState.FINISHED, plot.reason
    assert plot.plot_pid == running.plot_pid
    assert plot.log_pid != running.log_pid
    assert [step.number for step in client.plot_steps(id)] == [1, 2, 3, 4, 5]


def test_a_plotter_that_is_killed_fails_its_plot_and_leaves_nothing(system: LocalSystem, client: Client) -> None:
    id = ordered(client, ksize=18).id
    pid = until(lambda: client.plot(id).plot_pid)
    os.kill(pid, signal.SIGKILL)
    plot = over(client, id)
    assert plot.state is PlotState.FAILED
    assert plot.reason == "aborted: the plotter was ended by SIGKILL"
    until(lambda: not list(Path(plot.cache1 or "").iterdir()))
