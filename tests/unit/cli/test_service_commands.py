"""What unit does a node get, and what happens when it is installed?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from node.cli import run, service

Said = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "node.toml").write_text('schema = 1\n[node]\nroles = ["edge"]\n')
    return tmp_path / "node.toml"


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(service, "UNITS", tmp_path)
    return tmp_path / service.NAME


def a_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    """A systemctl that writes down what it is asked."""
    (tmp_path / "bin").mkdir()
    manager = tmp_path / "bin" / "systemctl"
    manager.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho no such thing >&2\nexit {code}\n')
    manager.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "asked"


def test_the_unit_in_the_tree_is_the_one_that_is_printed() -> None:
    written = (ROOT / "deploy" / service.NAME).read_text()
    assert written == service.TEMPLATE.format(command=service.PLACE, config=service.CONFIG)


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, capsys: Said) -> None:
    analyzer = shutil.which("systemd-analyze")
    if analyzer is None:
        pytest.skip("systemd-analyze is not installed")
    assert run(["service", "unit", "-c", "/srv/one.toml"]) == 0
    text = capsys.readouterr().out
    assert " up -c /srv/one.toml\n" in text
    (tmp_path / service.NAME).write_text(text)
    done = subprocess.run(
        [analyzer, "verify", tmp_path / service.NAME], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_installed_unit_is_enabled(config: Path, units: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = a_manager(tmp_path, monkeypatch, 0)
    assert run(["service", "install", "-c", str(config)]) == 0
    assert units.read_text() == service.unit_of(config)
    assert asked.read_text().splitlines() == ["daemon-reload", "enable --now ecnode.service"]


def test_a_unit_that_somebody_changed_is_replaced_by_force_only(
    config: Path, units: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Said
) -> None:
    a_manager(tmp_path, monkeypatch, 0)
    units.write_text("mine")
    assert run(["service", "install", "-c", str(config)]) == 7
    assert units.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert run(["service", "install", "-c", str(config), "--force"]) == 0


def test_what_the_manager_says_is_told(
    config: Path, units: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Said
) -> None:
    a_manager(tmp_path, monkeypatch, 1)
    assert run(["service", "install", "-c", str(config)]) == 1
    assert "systemctl daemon-reload: no such thing" in capsys.readouterr().err
    assert run(["service", "install", "-c", str(tmp_path / "none.toml")]) == 1
    assert "ecnode init" in capsys.readouterr().err
    assert units.exists()
