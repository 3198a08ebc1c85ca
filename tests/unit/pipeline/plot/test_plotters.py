"""What each plotter is told, and that no secret is among it."""

from pathlib import Path

import pytest
from plotting import FARMER, POOL

from node.errors import Invalid
from node.model.plot import Plot, PlotState, Plotter
from node.pipeline.plot.plotters import ADAPTERS, Order, check_order, find_program, order_of

SECRET = "0f" * 32
ID, TASK = "p-" + "0" * 26, "ab" * 16


def order(**more: object) -> Order:
    given = {"ksize": 32, "threads": 4, "buffer": 3390, "fpk": FARMER, "ppk": POOL, "temp1": "/t1", "temp2": "/t2"}
    return Order.model_validate({**given, **more})


def test_every_plotter_leaves_its_file_in_the_second_folder() -> None:
    for adapter in ADAPTERS.values():
        if adapter.kind is not Plotter.BUILTIN:
            command = adapter.command("/opt/plotter", order(), Path("/spec"))
            assert command[0] == "/opt/plotter"
            assert "/t2" in command[-2:] or "/t2/" in command[-2:] or "/t2" in command[command.index("-d") + 1]
            assert {FARMER, POOL, "4"} <= set(command)


def test_no_secret_is_an_argument() -> None:
    held = order(memo=POOL + FARMER + SECRET)
    for adapter in ADAPTERS.values():
        assert not any(SECRET in word for word in adapter.command("/x", held, Path("/spec")))
    assert held.spec["memo"] == POOL + FARMER + SECRET, "the built-in plotter reads it from a file"


def test_the_built_in_plotter_chooses_a_stripe_that_fits() -> None:
    assert order(ksize=18).spec["stripe_size"] == 8192
    assert order(ksize=20).spec["stripe_size"] == 32768
    assert order(ksize=32).spec["stripe_size"] == 65536


def test_only_its_own_files_are_a_plotters() -> None:
    for name in ("plot-k18-2026-x.plot.p1.t2.sort_bucket_003.tmp", "plot-k18-x.plot", "plot-k18-x.plot.2.tmp"):
        assert ADAPTERS[Plotter.BUILTIN].is_ours(name)
    for name in ("holiday.jpg", "plot.txt", "plot-k18", "notes.tmp"):
        assert not ADAPTERS[Plotter.BUILTIN].is_ours(name)


def test_what_a_plotter_cannot_do_is_refused_by_name() -> None:
    plot = Plot(
        id=ID, task_id=TASK, state=PlotState.RECEIVED, ksize=18, stripe_size=65536, memo=POOL + FARMER + SECRET,
        created_at=0.0, updated_at=0.0, threads=2, buffer=100, fpk=FARMER, ppk=POOL,
    )  # fmt: skip
    with pytest.raises(Invalid) as refused:
        check_order(Plotter.BLADEBIT, plot)
    assert [problem.path for problem in refused.value.problems] == ["ksize", "stripe_size", "memo"]
    check_order(Plotter.BUILTIN, plot.replace(stripe_size=8192))
    assert order_of(plot.replace(stripe_size=None), Path("/a"), Path("/b")).temp2 == "/b"


def test_a_program_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert find_program(Plotter.CHIA, str(tmp_path / "chia")) is None
    (tmp_path / "chia").touch(mode=0o755)
    assert find_program(Plotter.CHIA, str(tmp_path / "chia")) == str(tmp_path / "chia")
