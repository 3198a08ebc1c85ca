from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.assets import assets as command


def test_list_says_what_is_there_and_under_which_licence(assets: Path) -> None:
    shown = CliRunner().invoke(command, ["list", "--folder", str(assets)])
    assert shown.exit_code == 0
    (line,) = [line for line in shown.output.splitlines() if line.startswith("face_mesh")]
    assert "present" in line and "Apache-2.0" in line


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECNODE_NODE__ASSETS_DIR", str(tmp_path))
    shown = CliRunner().invoke(command, ["list"])
    assert shown.output.count("missing") == len(shown.output.splitlines()) == 9


def test_fetch_on_a_full_folder_does_nothing_but_say_so(assets: Path) -> None:
    done = CliRunner().invoke(command, ["fetch", "--folder", str(assets)])
    assert (done.exit_code, done.output) == (0, f"all 9 assets are in {assets}\n")
