"""What do the commands of plots print, and with which exit code do they end?"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doors import TOKEN
from overlords import TALENT, life_of
from plot_doors import placed, plot_door

from node.cli import run
from node.model.plot import PlotTime, TimeKind
from node.model.plot_table import COLUMNS

__all__ = ["plot_door"]
Said = pytest.CaptureFixture[str]


@pytest.fixture
def ecnode(plot_door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    token = tmp_path / "token"
    token.write_text(TOKEN)
    return lambda *words: run(["--url", plot_door.url, "--token-file", str(token), "plots", *words])


def told(door: Any, id: str, *events: str) -> None:
    """The talent tells of a plot, with the times of its phases."""
    cloud = door.cloud
    plot = door.run(cloud.store.orders.get(id))
    times = tuple(PlotTime(phase=phase, table=0, kind=TimeKind.TOTAL, seconds=2.0 * phase, cpu=90.0) for phase in range(5))
    for update in life_of(plot, *events):
        door.run(cloud.tell(update.replace(times=times)))


def test_plots_are_ordered_and_listed(ecnode: Callable[..., int], capsys: Said) -> None:
    assert ecnode("create", "--ksize", "32", "--count", "2", "--name", "night", "--label", "site=hq") == 0
    assert "follow: ecnode plots list" in capsys.readouterr().err
    assert ecnode("list", "-o", "json") == 0
    plots = json.loads(capsys.readouterr().out)
    assert [(plot["ksize"], plot["name"]) for plot in plots] == [(32, "night")] * 2
    assert ecnode("list", "--state", "finished") == 0
    assert "no plot is finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--ksize", "17"], "18<=x<=50"),
        (["--label", "hq"], "'hq' has no value"),
        (["--fpk", "8f" * 48], "not a point"),
        (["--ksize", "18", "--stripe", "65536"], "8192, the most at k18"),
        (["--talent", "nobody"], "no node 'nobody' has joined"),
    ],
)
def test_an_order_that_does_not_fit_says_why(ecnode: Callable[..., int], capsys: Said, words: list[str], fault: str) -> None:
    assert ecnode("create", *words) != 0
    assert fault in " ".join(capsys.readouterr().err.split())


def test_one_plot_is_shown_with_its_times_and_steps(ecnode: Callable[..., int], plot_door: Any, capsys: Said) -> None:
    id = placed(plot_door, ksize=32)
    told(plot_door, id, "receive", "queue", "start", "run")
    assert ecnode("show", "@last") == 0
    shown = capsys.readouterr().out
    for part in (id, TALENT, "running", "p1_total_time", "90.0 % CPU", "run → running"):
        assert part in shown


def test_a_watch_ends_with_its_plots_and_says_how(ecnode: Callable[..., int], plot_door: Any, capsys: Said) -> None:
    good, bad = placed(plot_door, ksize=32), placed(plot_door, ksize=32)
    told(plot_door, good, "receive", "queue", "start", "run", "finish")
    assert ecnode("watch", good) == 0
    told(plot_door, bad, "receive", "fail")
    assert ecnode("watch", good, bad) == 1
    said = capsys.readouterr()
    assert "1 of 2 finished" in said.err
    assert "failed" in said.out


def test_a_plot_is_stopped_renamed_and_not_given_up_while_its_talent_is_there(
    ecnode: Callable[..., int], plot_door: Any, capsys: Said
) -> None:
    id = placed(plot_door)
    assert ecnode("rename", id, "barn") == 0
    assert "is called barn" in capsys.readouterr().err
    assert ecnode("give-up", "barn") != 0
    assert "ecnode plots stop" in capsys.readouterr().err
    assert ecnode("stop", "barn") == 0
    assert "it is being stopped" in capsys.readouterr().err
    plot_door.run(plot_door.cloud.clock.advance(60.0))
    assert ecnode("give-up", id) == 0
    assert "failed, lost:" in capsys.readouterr().err


def test_directories_phases_and_the_table_are_printed(
    ecnode: Callable[..., int], plot_door: Any, capsys: Said, tmp_path: Path
) -> None:
    id = placed(plot_door, ksize=32)
    told(plot_door, id, "receive", "queue", "start", "run", "finish")
    assert ecnode("dirs") == 0
    shown = capsys.readouterr().out
    assert "/c" in shown
    assert "destination (local)" in shown
    assert ecnode("analyze") == 0
    assert TALENT in capsys.readouterr().out
    assert ecnode("export", str(tmp_path / "plots.csv")) == 0
    capsys.readouterr()
    assert tuple(next(csv.reader(io.StringIO((tmp_path / "plots.csv").read_text())))) == COLUMNS
    assert ecnode("export", "--state", "failed") == 0
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("command", ["suspend", "resume", "logs"])
def test_what_needs_a_talent_says_so_where_it_does_not_answer(
    ecnode: Callable[..., int], capsys: Said, plot_door: Any, command: str
) -> None:
    id = placed(plot_door)
    assert ecnode(command, id) != 0
    assert capsys.readouterr().err
