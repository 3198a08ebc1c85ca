"""What the tests of a talent share: one whose plotter and ends are scripted, on a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from scripted import Lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    opened = await Lab.open(tmp_path)
    yield opened
    await opened.close()
