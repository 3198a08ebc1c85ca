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
    """Measures every service; where one cannot be run this node is given no stages, and its log says why.

    The figures are published together at the end: a planner that knew half of them would think the other half impossible.
    """
    seconds: dict[str, dict[Resolution, float]] = {name: {} for name in SERVICES}
    objects = 0
    try:
        picture = assets.path(folder, PICTURE).read_bytes()
        for resolution in Resolution:
            values: dict[str, JsonValue] = {}
            pictures: dict[str, tuple[bytes, ...]] = {"image": (picture,)}
            for name in SERVICES:
                times = []
                for _ in range(RUNS):
                    deadline = clock.monotonic() + PATIENCE_S
                    outcome = await compute.call(name, 0, values, pictures, image_size=resolution.size, deadline=deadline)
                    times.append(outcome.seconds)
                seconds[name][resolution] = median(times)
                values |= outcome.values
                pictures |= outcome.pictures
            objects = max((len(given) for source, given in pictures.items() if source != "image"), default=0)
    except (OSError, EcnodeError) as error:
        log.error("calibration failed, this node will be given no stages", extra={"reason": str(error)})
        return
    for name, profile in seconds.items():
        compute.learn(name, profile, objects)
    log.info("calibrated", extra={"services": ", ".join(SERVICES)})
