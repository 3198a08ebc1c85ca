"""A real plot is made, proven, and damaged in every way that is looked for."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plotting import FARMER, POOL, needs_plotter

from node.errors import Conflict, NotAPlot
from node.model.plot import Plotter
from node.pipeline.plot.keys import file_name, from_memo, parse_name
from node.pipeline.plot.log import LogReader
from node.pipeline.plot.plotter import NAME_TAKEN, WRONG_SPEC
from node.pipeline.plot.plotters import ADAPTERS, Order
from node.pipeline.plot.verify import Expected, check_free, verify

pytestmark = needs_plotter
SECRET = "01" * 32
EXPECTED = Expected(18, FARMER, POOL)


def plot(folder: Path, **more: object) -> subprocess.CompletedProcess[bytes]:
    order = Order(
        ksize=18, threads=2, buffer=64, fpk=FARMER, ppk=POOL, memo=POOL + FARMER + SECRET, temp1=str(folder), temp2=str(folder)
    ).replace(**more)
    (folder / "order.json").write_text(json.dumps(order.spec))
    command = ADAPTERS[Plotter.BUILTIN].command(sys.executable, order, folder / "order.json")
    return subprocess.run(command, capture_output=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bytes]]:
    folder = tmp_path_factory.mktemp("plot")
    done = plot(folder)
    assert done.returncode == 0, done.stdout
    yield next(folder.glob("*.plot")), done.stdout
    shutil.rmtree(folder)


@pytest.fixture
def copied(made: tuple[Path, bytes], tmp_path: Path) -> Path:
    return Path(shutil.copy(made[0], tmp_path))


def test_a_plot_is_proven_and_is_the_one_that_was_ordered(made: tuple[Path, bytes]) -> None:
    path, log = made
    proven = verify(path, EXPECTED)
    assert proven.proofs > 0
    assert parse_name(path.name) == (18, proven.plot_id)
    keys = from_memo(bytes.fromhex(POOL + FARMER + SECRET))
    assert proven.plot_id == keys.plot_id.hex()
    reader = LogReader(Plotter.BUILTIN)
    reader.feed(log)
    assert (reader.place.phase, reader.place.unknown) == (4, 0)


def test_a_plot_that_lies_there_is_not_made_again(made: tuple[Path, bytes]) -> None:
    before = made[0].stat().st_mtime_ns
    assert plot(made[0].parent).returncode == NAME_TAKEN
    assert made[0].stat().st_mtime_ns == before


def test_an_order_that_is_none_is_said(tmp_path: Path) -> None:
    done = plot(tmp_path, memo=POOL + FARMER + "ff" * 32)
    assert done.returncode == WRONG_SPEC
    assert b"cannot use the order" in done.stdout


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (Expected(18, POOL, FARMER), "other keys"),
        (Expected(19, FARMER, POOL), "which no plot of k19 has"),
        (Expected(18, FARMER, POOL, memo=POOL + FARMER + "02" * 32), "another memo"),
        (Expected(18, FARMER, POOL, plot_id="ab" * 32), "its log said"),
    ],
)
def test_a_plot_of_another_task_is_refused(made: tuple[Path, bytes], wrong: Expected, text: str) -> None:
    with pytest.raises(NotAPlot, match=text):
        verify(made[0], wrong, 1)


def test_a_name_that_lies_is_refused(copied: Path) -> None:
    other = copied.with_name(copied.name.replace("plot-k18", "plot-k19"))
    with pytest.raises(NotAPlot, match="the name"):
        verify(copied.rename(other), EXPECTED, 1)


def test_damage_is_found(copied: Path) -> None:
    size = copied.stat().st_size
    os.truncate(copied, size // 2)
    with pytest.raises(NotAPlot, match="which no plot"):
        verify(copied, EXPECTED, 1)
    copied.write_bytes(b"x" * size)
    with pytest.raises(NotAPlot, match="cannot be opened"):
        verify(copied, EXPECTED, 1)
    with pytest.raises(NotAPlot, match="cannot be read"):
        verify(copied.with_name("none"), EXPECTED, 1)


def test_a_plot_of_that_id_under_another_name_is_seen(copied: Path) -> None:
    keys = from_memo(bytes.fromhex(POOL + FARMER + SECRET))
    from datetime import UTC, datetime

    check_free(copied.parent, copied.name)
    with pytest.raises(Conflict, match="already"):
        check_free(copied.parent, file_name(18, keys.plot_id, datetime(2001, 1, 1, tzinfo=UTC)))
