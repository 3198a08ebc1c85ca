"""What may be taken away where a plot was made, and what never."""

from __future__ import annotations

from pathlib import Path

import pytest
from talents import WORKER

from node.errors import Conflict
from node.model.plot import Plot, PlotState, Plotter
from node.roles.talent.places import FOLDER, MARK, Places, places, strays

ID = "p-" + "0" * 26
FINISHED = f"plot-k18-2026-12-01-00-00-{'a' * 64}.plot"
LEFTOVER = f"{FINISHED}.p1.t2.sort_bucket_003.tmp"


@pytest.fixture
def its(tmp_path: Path) -> Places:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    plot = Plot(
        id=ID,
        task_id="0" * 32,
        state=PlotState.PENDING,
        cache1=str(tmp_path / "one"),
        cache2=str(tmp_path / "two"),
        created_at=1.0,
        updated_at=1.0,
    )
    made = places(plot, WORKER, tmp_path / "homes")
    made.make()
    return made


def test_folders_are_private_marked_and_made_twice_without_harm(its: Places) -> None:
    its.make()
    for folder in (its.temp1, its.temp2):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / MARK).read_text() == WORKER
    assert its.temp1.name == its.temp2.name == f"{FOLDER}{ID}"


def test_a_plotters_leftovers_go_and_a_finished_plot_stays(its: Places) -> None:
    (its.temp1 / LEFTOVER).touch()
    (its.temp2 / FINISHED).touch()
    assert its.clean(Plotter.BUILTIN) == (str(its.temp2 / FINISHED),)
    assert not its.temp1.exists()
    assert its.finished_file() == its.temp2 / FINISHED


def test_only_the_file_whose_copy_is_proven_goes(its: Places) -> None:
    other = FINISHED.replace("a" * 64, "b" * 64)
    for name in (FINISHED, other):
        (its.temp2 / name).touch()
    assert its.finished_file() is None, "two files: nobody knows which is meant"
    assert its.clean(Plotter.BUILTIN, proven=FINISHED) == (str(its.temp2 / other),)
    assert its.clean(Plotter.BUILTIN, proven=other) == ()
    assert not its.temp2.exists()


@pytest.mark.parametrize("name", ["wallet.dat", "plot-k18.plot.bak", "subfolder", "link"])
def test_what_no_plotter_makes_is_left_with_its_folder(its: Places, name: str, tmp_path: Path) -> None:
    if name == "subfolder":
        (its.temp1 / name).mkdir()
    elif name == "link":
        (its.temp1 / LEFTOVER).symlink_to(tmp_path / "elsewhere")
        name = LEFTOVER
    else:
        (its.temp1 / name).touch()
    assert its.clean(Plotter.BUILTIN) == (str(its.temp1 / name),)
    assert (its.temp1 / MARK).exists(), "so that a later sweep knows whose it is"


def test_a_folder_of_another_worker_is_not_touched(its: Places) -> None:
    (its.temp1 / MARK).write_text("ff" * 16)
    (its.temp1 / LEFTOVER).touch()
    assert its.clean(Plotter.BUILTIN) == ()
    assert (its.temp1 / LEFTOVER).exists()
    with pytest.raises(Conflict, match="is not this worker's"):
        its.make()


def test_a_link_to_a_folder_is_no_folder_of_ours(its: Places, tmp_path: Path) -> None:
    its.clean(Plotter.BUILTIN)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARK).write_text(WORKER)
    (elsewhere / LEFTOVER).touch()
    its.temp1.symlink_to(elsewhere)
    assert its.clean(Plotter.BUILTIN) == ()
    assert (elsewhere / LEFTOVER).exists()


def test_a_folder_that_cannot_be_removed_keeps_its_mark(its: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something was made in it between the look and the end, as by a process that had not quite gone."""
    real = Path.rmdir

    def late(folder: Path) -> None:
        (folder / LEFTOVER).touch()
        real(folder)

    monkeypatch.setattr(Path, "rmdir", late)
    with pytest.raises(OSError, match="not empty"):
        its.clean(Plotter.BUILTIN)
    monkeypatch.undo()
    assert (its.temp1 / MARK).read_text() == WORKER
    assert its.clean(Plotter.BUILTIN) == ()
    assert not its.temp1.exists()


def test_strays_are_folders_of_this_worker_whose_plots_nobody_knows(its: Places, tmp_path: Path) -> None:
    cache = its.temp1.parent
    (cache / f"{FOLDER}unmarked").mkdir()
    (cache / "photos").mkdir()
    assert list(strays(cache, WORKER, frozenset())) == [ID]
    assert list(strays(cache, WORKER, frozenset({ID}))) == []
    assert list(strays(cache, "ff" * 16, frozenset())) == []
    assert list(strays(tmp_path / "nowhere", WORKER, frozenset())) == []


def test_runs_are_counted_and_not_spelt(its: Places) -> None:
    for number in (1, 2, 10):
        its.run(number).mkdir(parents=True)
    (its.home / "run-x").mkdir()
    assert [path.name for path in its.runs()] == ["run-1", "run-2", "run-10"]
