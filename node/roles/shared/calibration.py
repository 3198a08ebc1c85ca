"""How long does each service take on this machine, at each resolution?

Measured once after start on one picture with a known number of heads, each stage fed by those before it. The figures travel
with the heartbeat and are the planner's knowledge base.
"""

from __future__ import annotations

import logging
from pathlib import Path
from statistics import median
from typing import Final

from pydantic import JsonValue

from node import assets
from node.clock import Clock
from node.errors import EcnodeError
from node.model.video import Resolution
from node.pipeline.stage import SERVICES
from node.roles.shared.compute_service import ComputeService

log = logging.getLogger(__name__)

PICTURE: Final = "calibration.jpg"
RUNS: Final = 3  # of which the median counts: the first call loads the model
PATIENCE_S: Final = 60.0  # calls of peers that calibrate at the same moment may come first


async def calibrate(compute: ComputeService, folder: Path, clock: Clock) -> None:
    """Measures every service; where one cannot be run this node is given no stages, and its log says why."""
    try:
        picture = assets.path(folder, PICTURE).read_bytes()
        for resolution in Resolution:
            await _calibrate_at(compute, resolution, picture, clock)
    except (OSError, EcnodeError) as error:
        log.error("calibration failed, this node will be given no stages", extra={"reason": str(error)})
    else:
        log.info("calibrated", extra={"services": ", ".join(SERVICES)})


async def _calibrate_at(compute: ComputeService, resolution: Resolution, picture: bytes, clock: Clock) -> None:
    values: dict[str, JsonValue] = {}
    pictures: dict[str, tuple[bytes, ...]] = {"image": (picture,)}
    for name in SERVICES:
        outcomes = [
            await compute.call(name, 0, values, pictures, image_size=resolution.size, deadline=clock.monotonic() + PATIENCE_S)
            for _ in range(RUNS)
        ]
        values |= outcomes[-1].values
        pictures |= outcomes[-1].pictures
        objects = max((len(given) for source, given in pictures.items() if source != "image"), default=0)
        compute.learn(name, resolution, median(outcome.seconds for outcome in outcomes), objects)
