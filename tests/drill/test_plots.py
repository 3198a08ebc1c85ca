"""Real plots whose plotter, node, disks and pids meet the worst."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from plotting import needs_plotter
from talents import CLOCK, Talent, plots_in

from node.config.schema import CacheConfig, DestinationConfig
from node.model.plot import PlotState
from node.roles.talent.directories import is_mounted
from node.roles.talent.places import LOG

pytestmark = [needs_plotter, pytest.mark.drill]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
MIB = 2**20


@pytest.fixture
async def talent(tmp_path: Path) -> AsyncIterator[Talent]:
    opened = await Talent.open(tmp_path)
    yield opened
    await opened.close()


@contextmanager
def small_disk(path: Path, mib: int) -> Iterator[Path]:
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path, left: int = 0) -> Path:
    """Takes all room of a disk but `left` bytes, while others may write to it too."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(64 * 1024)):
            pass
    os.truncate(ballast, max(0, ballast.stat().st_size - left))
    return ballast


async def in_phase(talent: Talent, id: str, phase: int) -> int:
    """The pid of the plotter, once it has begun that phase."""
    log, words = talent.supervisor.home(id) / LOG, f"Starting phase {phase}/4"
    running = await talent.until(id, lambda plot: plot.plot_pid)
    async with CLOCK.timeout(60.0):
        while words not in log.read_text():
            await CLOCK.sleep(0.002)
    assert running.plot_pid is not None
    return running.plot_pid


@pytest.mark.parametrize("phase", [1, 2, 3])
async def test_a_plotter_that_is_killed_in_any_phase_fails_its_plot_and_leaves_nothing(talent: Talent, phase: int) -> None:
    id, _ = await talent.create(ksize=20)
    os.kill(await in_phase(talent, id, phase), signal.SIGKILL)
    plot = await talent.over(id)
    assert (plot.state, plot.reason) == (PlotState.FAILED, "aborted: the plotter was ended by SIGKILL")
    assert talent.left() == []
    assert plots_in(talent.root / "dest") == []


@pytest.mark.parametrize("phase", [1, 2, 3, 4])
async def test_a_plot_that_is_stopped_in_any_phase_is_gone_or_whole(talent: Talent, phase: int) -> None:
    id, _ = await talent.create(ksize=20)
    await in_phase(talent, id, phase)
    await talent.stop(id)
    plot = await talent.over(id)
    assert len(plots_in(talent.root / "dest")) == (plot.state is PlotState.FINISHED)
    assert plot.state is PlotState.STOPPED or phase == 4
    assert talent.left() == []


@pytest.mark.parametrize("phase", [1, 2, 3, 4])
async def test_a_node_that_goes_in_any_phase_finds_its_plotter_again(tmp_path: Path, phase: int) -> None:
    first = await Talent.open(tmp_path)
    id, _ = await first.create(ksize=20)
    pid = await in_phase(first, id, phase)
    await first.close()
    second = await Talent.open(tmp_path)
    try:
        plot = await second.over(id)
        assert (plot.state, plot.plot_pid) == (PlotState.FINISHED, pid), plot.reason
        assert [step.number for step in await second.store.plots.steps(id)] == [1, 2, 3, 4, 5]
        assert plot.times["p1_total_time"] is not None
        assert second.left() == []
    finally:
        await second.close()


@needs_root
async def test_a_full_temp_directory_is_told_at_once_and_ends_the_plot_in_the_end(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 100) as small:
        talent = await Talent.open(tmp_path, cache=(CacheConfig(path=small),), stall_timeout=4.0)
        try:
            id, _ = await talent.create(ksize=20)
            await in_phase(talent, id, 1)
            ballast = fill(small, MIB)
            began = CLOCK.monotonic()
            stalled = await talent.until(id, lambda plot: "waits" in plot.reason)
            assert "Retrying in five minutes" in stalled.reason
            took = CLOCK.monotonic() - began
            plot = await talent.over(id)
            assert plot.state is PlotState.FAILED
            assert plot.reason.startswith("plotter_error: no room in its temp directory for")
            assert took < 30.0, "the plotter has to reach the end of the room first"
            ballast.unlink()
            assert talent.left() == []
        finally:
            await talent.close()


@needs_root
async def test_too_small_a_temp_directory_is_no_failure_but_a_reason_to_wait(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 30) as small:
        talent = await Talent.open(tmp_path, cache=(CacheConfig(path=small),))
        try:
            id, _ = await talent.create(ksize=20)
            waiting = await talent.until(id, lambda plot: plot.reason)
            assert waiting.state is PlotState.PENDING
            assert f"are needed in {small}; 30.0 MiB are free" in waiting.reason
        finally:
            await talent.close()


@needs_root
async def test_a_full_destination_is_waited_for_and_the_plot_ends_proven(tmp_path: Path) -> None:
    with small_disk(tmp_path / "dest", 20) as dest:
        talent = await Talent.open(tmp_path)
        try:
            id, _ = await talent.create()
            await in_phase(talent, id, 1)
            ballast = fill(dest, MIB)
            waiting = await talent.until(id, lambda plot: "waits" in plot.reason)
            assert "has no room for" in waiting.reason
            ballast.unlink()
            plot = await talent.over(id)
            assert plot.state is PlotState.FINISHED
            assert len(plots_in(dest)) == 1
            assert not list(dest.glob("*.part*"))
            assert talent.left() == []
        finally:
            await talent.close()


@needs_root
async def test_a_share_that_is_not_mounted_gets_no_plot_until_it_is(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    assert not is_mounted(share), "TMPDIR has to lie on the disk of the system for this"
    talent = await Talent.open(tmp_path, destination=(DestinationConfig(path=share, type="nfs"),))
    try:
        id, _ = await talent.create()
        waiting = await talent.until(id, lambda plot: plot.reason)
        assert "is not mounted: the folder lies on the disk of the system" in waiting.reason
        with small_disk(share, 20):
            plot = await talent.over(id)
            assert (plot.state, plot.dest_type) == (PlotState.FINISHED, "nfs")
            assert len(plots_in(share)) == 1
        assert plots_in(share) == [], "nothing was written beneath the share"
    finally:
        await talent.close()


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


async def test_a_pid_that_belongs_to_somebody_else_now_is_never_signalled(
    tmp_path: Path, innocent: subprocess.Popen[bytes]
) -> None:
    first = await Talent.open(tmp_path)
    id, _ = await first.create(ksize=20)
    await in_phase(first, id, 1)
    (run,) = (first.supervisor.home(id)).glob("run-*")
    await first.close()
    known = json.loads((run / "identity").read_text())
    for pid in (known["pid"], known["main"]):
        os.kill(pid, signal.SIGKILL)
    (run / "identity").write_text(json.dumps({**known, "pid": innocent.pid, "main": innocent.pid, "cgroup": ""}))
    second = await Talent.open(tmp_path)
    try:
        plot = await second.over(id)
        assert plot.state is PlotState.FAILED
        assert plot.reason.startswith("lost: ")
        assert innocent.poll() is None
    finally:
        await second.close()
