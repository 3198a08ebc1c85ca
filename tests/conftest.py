"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from node.assets import fetch

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # a busy machine is no fault


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of models and clips, filled once; later runs find it full."""
    folder = Path(os.environ.get("ECNODE_NODE__ASSETS_DIR", "~/.cache/ecnode/assets")).expanduser()
    fetch(folder, print)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On a user's machine a test may lack a tool and skip with its reason; in CI that reason is a failure."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"in CI every test must run: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _own_run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nodes of this run announce themselves among each other, not beside the nodes that run on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield
