from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.assets import missing
from node.cli.assets import assets as command


def test_list_says_what_is_there_under_which_licence_and_what_a_node_can_do_without(assets: Path) -> None:
    shown = CliRunner().invoke(command, ["list", "--folder", str(assets)])
    assert shown.exit_code == 0
    lines = {line.split()[0]: line for line in shown.output.splitlines()}
    assert "present" in lines["face_mesh"] and "needed" in lines["face_mesh"] and "Apache-2.0" in lines["face_mesh"]
    assert "optional" in lines["centernet.bin"] and "MIT" in lines["centernet.bin"]
    assert "optional" in lines["centernet_512.onnx"]


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECNODE_NODE__ASSETS_DIR", str(tmp_path))
    shown = CliRunner().invoke(command, ["list"])
    assert shown.output.count("missing") == len(shown.output.splitlines()) == 16


def test_fetch_on_a_full_folder_does_nothing_but_say_so(assets: Path) -> None:
    if missing(assets, optional=True):
        pytest.skip("npm cannot be had here, so the folder cannot be full")
    done = CliRunner().invoke(command, ["fetch", "--folder", str(assets)])
    assert (done.exit_code, done.output) == (0, f"all 16 assets are in {assets}\n")


def test_fetch_counts_what_could_not_be_had(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in assets.iterdir():
        if not place.name.startswith("centernet"):
            (tmp_path / place.name).symlink_to(place)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    done = CliRunner().invoke(command, ["fetch", "--folder", str(tmp_path)])
    assert done.exit_code == 0
    assert "going on without centernet.json, centernet.bin" in done.output
    assert done.output.endswith(f"10 of 16 assets are in {tmp_path}\n")
