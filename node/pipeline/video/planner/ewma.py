"""The scheduler that corrects a measured knowledge base by what it sees, and is always sure.

The same model and the same choice as the robust one, but a residual is the exponentially weighted mean of what was seen,
nothing is known of the machines' load, and nothing is tried that the query does not need.
"""

from __future__ import annotations

from collections.abc import Mapping

from node.pipeline.stage import SERVICES, ServiceSpec
from node.pipeline.video.planner.accuracy import Curves
from node.pipeline.video.planner.residual import MovingMean
from node.pipeline.video.planner.robust import Robust


class Ewma(Robust):
    """See the module."""

    def __init__(self, services: Mapping[str, ServiceSpec] = SERVICES, curves: Curves | None = None) -> None:
        super().__init__(services, curves, make_stage=MovingMean, make_link=MovingMean, telemetry=False, curious=False)
