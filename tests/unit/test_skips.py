"""Does a test that cannot run here stay quiet on a user's machine, and fail in CI?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

def test_that_needs_a_tool():
    pytest.skip("no such tool here")

@pytest.mark.xfail(reason="known")
def test_that_is_known_to_fail():
    assert False
"""


@pytest.mark.parametrize(("ci", "code", "closing"), [("", 0, "1 skipped, 1 xfailed"), ("true", 1, "1 failed, 1 xfailed")])
def test_a_skip_is_a_failure_only_in_ci(tmp_path: Path, ci: str, code: int, closing: str) -> None:
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    (tmp_path / "test_skip.py").write_text(SKIPPING)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    environment = {**{name: value for name, value in os.environ.items() if name != "CI"}, **({"CI": ci} if ci else {})}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment, cwd=tmp_path)
    assert ended.returncode == code, ended.stdout
    assert closing in ended.stdout
    assert "no such tool here" in ended.stdout or not ci
