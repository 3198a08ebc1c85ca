"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.assets import fetch


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of models and clips, filled once; later runs find it full."""
    folder = Path(os.environ.get("ECNODE_NODE__ASSETS_DIR", "~/.cache/ecnode/assets")).expanduser()
    fetch(folder, print)
    return folder
