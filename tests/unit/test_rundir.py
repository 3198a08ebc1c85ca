"""Are running nodes found, and dead or foreign ones not?"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from node import rundir
from node.errors import Forbidden, Invalid
from node.rundir import Running


def node(name: str, *, roles: tuple[str, ...] = ("edge",), started: float = 1.0, pid: int = 0) -> Running:
    return Running(
        name=name,
        roles=roles,
        url="http://127.0.0.1:1",
        token_file="/t",
        data_dir="/d",
        pid=pid or os.getpid(),
        started=started,
    )


def test_a_node_is_announced_found_and_forgotten(tmp_path: Path) -> None:
    place = {"XDG_RUNTIME_DIR": str(tmp_path)}
    target = rundir.announce(node("edge-1"), place)
    assert target == tmp_path / "ecnode" / "edge-1.json"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
    assert rundir.find("edge-1", place) == rundir.find(None, place) == node("edge-1")
    assert rundir.find("edge-2", place) is None
    rundir.forget("edge-1", os.getpid() + 1, place)
    assert rundir.find("edge-1", place) is not None
    rundir.forget("edge-1", os.getpid(), place)
    rundir.forget("edge-1", os.getpid(), place)
    assert rundir.running(place) == ()


def test_a_cloud_comes_first_then_the_newest(tmp_path: Path) -> None:
    place = {"XDG_RUNTIME_DIR": str(tmp_path)}
    for each in (node("a", started=1), node("b", started=3), node("c", roles=("cloud",), started=2)):
        rundir.announce(each, place)
    assert [each.name for each in rundir.running(place)] == ["c", "b", "a"]


def test_the_file_of_a_dead_process_is_passed_over(tmp_path: Path) -> None:
    place = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    rundir.announce(node("gone", pid=process.pid), place)
    assert rundir.running(place) == ()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": 1}', "[" * 70_000])
def test_a_broken_file_is_passed_over(tmp_path: Path, content: str) -> None:
    place = {"XDG_RUNTIME_DIR": str(tmp_path)}
    rundir.announce(node("good"), place)
    (tmp_path / "ecnode" / "bad.json").write_text(content)
    assert [each.name for each in rundir.running(place)] == ["good"]


def test_a_folder_that_others_may_enter_is_not_trusted(tmp_path: Path) -> None:
    place = {"XDG_RUNTIME_DIR": str(tmp_path)}
    rundir.announce(node("edge-1"), place)
    (tmp_path / "ecnode").chmod(0o755)
    assert rundir.running(place) == ()
    with pytest.raises(Forbidden):
        rundir.announce(node("edge-1"), place)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "ecnode" / "edge-1.json").unlink()
    (tmp_path / "ecnode").rmdir()
    (tmp_path / "ecnode").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Forbidden):
        rundir.announce(node("edge-1"), place)


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        rundir.announce(node("../x"), {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_without_a_runtime_folder_the_temporary_one_is_used() -> None:
    assert rundir.folder({}).name == f"ecnode-{os.getuid()}"
    assert rundir.folder({"XDG_RUNTIME_DIR": "/does/not/exist"}).name == f"ecnode-{os.getuid()}"
