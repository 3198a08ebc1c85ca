"""What does a query's camera make worth choosing?"""

from __future__ import annotations

import pytest

from node.model.video import Resolution
from node.pipeline.video.planner.base import ResourceInfo


@pytest.mark.parametrize(
    ("height", "largest"),
    [(0, Resolution.P1080), (240, Resolution.P360), (480, Resolution.P480), (1000, Resolution.P720), (2160, Resolution.P1080)],
)
def test_no_resolution_above_the_cameras_is_worth_choosing(height: int, largest: Resolution) -> None:
    offered = ResourceInfo((), 25.0, height).resolutions()
    assert offered[0] is Resolution.P360
    assert offered[-1] is largest
