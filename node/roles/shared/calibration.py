"""How long does each service take on this machine, at each resolution?

Measured once after start on one picture with a known number of heads, each stage fed by those before it. The figures travel
with the heartbeat and are the planner's knowledge base.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Final

from pydantic import JsonValue

from node import assets
from node.clock import Clock
from node.errors import AssetMissing, EcnodeError
from node.model.video import Resolution
from node.model.wire.compute import StageCall
from node.pipeline.stage import PICTURES, SERVICES
from node.roles.shared.compute_service import ComputeService, Outcome, PictureBlobs

log = logging.getLogger(__name__)

PICTURE: Final = "calibration.jpg"
RUNS: Final = 3  # of which the median counts: the first call loads the model
AGAIN_S: Final = 10.0  # a worker was killed, or the models are being fetched
PATIENCE_S: Final = 60.0  # calls of peers that calibrate at the same moment may come first


async def calibrate(compute: ComputeService, folder: Path, clock: Clock) -> None:
    """Measures every service, again after a pause where that fails; until it succeeds this node is given no stages."""
    while True:
        try:
            picture = assets.path(folder, PICTURE).read_bytes()
            await _measure_all(compute, picture, clock)
            return
        except (OSError, EcnodeError) as error:
            hint = error.hint if isinstance(error, EcnodeError) else ""
            log.error("calibration failed, this node offers nothing yet", extra={"reason": str(error), "hint": hint})
        await clock.sleep(AGAIN_S)


async def _measure_all(compute: ComputeService, picture: bytes, clock: Clock) -> None:
    """Every service at every resolution, each stage fed by those before it.

    A service whose model is not there is left out and never offered. The figures are published together at the end: a planner
    that knew half of them would think the other half impossible.
    """
    seconds: dict[str, dict[Resolution, float]] = {name: {} for name in SERVICES}
    objects = 0
    for resolution in Resolution:
        values: dict[str, JsonValue] = {}
        pictures: dict[str, tuple[bytes, ...]] = {"image": (picture,)}
        for name in tuple(seconds):
            try:
                outcome, spent = await _measure(compute, name, values, pictures, resolution=resolution, clock=clock)
            except AssetMissing as error:
                log.warning("service not offered", extra={"service": name, "reason": error.message})
                del seconds[name]
                continue
            seconds[name][resolution] = spent
            values |= outcome.values
            pictures |= outcome.pictures
        objects = max((len(given) for source, given in pictures.items() if source != "image"), default=0)
    for name, profile in seconds.items():
        compute.learn(name, profile, objects)
    log.info("calibrated", extra={"services": ", ".join(seconds)})


async def _measure(
    compute: ComputeService,
    service: str,
    values: Mapping[str, JsonValue],
    pictures: PictureBlobs,
    *,
    resolution: Resolution,
    clock: Clock,
) -> tuple[Outcome, float]:
    """What the service gives, and the median of its seconds."""
    times = []
    for _ in range(RUNS):
        deadline = clock.monotonic() + PATIENCE_S
        outcome = await compute.call(
            (StageCall(service=service),),
            values,
            pictures,
            wanted=SERVICES[service].gives & PICTURES,
            image_size=resolution.size,
            deadline=deadline,
        )
        times.append(outcome.stage_seconds[0])
    return outcome, median(times)
