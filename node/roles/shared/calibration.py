"""How long does each service take on this machine, at each resolution?

Measured once after start on one picture with a known number of heads, each stage fed by those before it, unless this machine
has measured the same not long ago (`measured.py`). The figures travel with the heartbeat and are the planner's knowledge base.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import median
from typing import Final

from pydantic import JsonValue

from node import assets
from node.clock import Clock
from node.errors import AssetMissing, EcnodeError
from node.model.video import Resolution
from node.model.wire.compute import StageCall
from node.pipeline.stage import CLIP, PICTURES, SERVICES, SOURCE_GIVES
from node.roles.shared import measured
from node.roles.shared.compute_service import ComputeService, Outcome, PictureBlobs
from node.roles.shared.measured import Profile

log = logging.getLogger(__name__)

PICTURE: Final = "calibration.jpg"
RUNS: Final = 3  # of which the median counts: the first call loads the model
AGAIN_S: Final = 10.0  # a worker was killed, or the models are being fetched
PATIENCE_S: Final = 60.0  # calls of peers that calibrate at the same moment may come first


async def calibrate(compute: ComputeService, folder: Path, clock: Clock) -> None:
    """Recalls or measures every service, again after a pause where that fails; until then this node is given no stages."""
    found = await asyncio.to_thread(measured.recall, folder, clock.wall())
    if found is not None:
        _publish(compute, found)
        log.info("calibration recalled", extra={"services": ", ".join(found)})
        await _warm_up(compute, folder, clock)
        return
    while True:
        try:
            picture = assets.path(folder, PICTURE).read_bytes()
            found = await _measure_all(compute, picture, clock)
            _publish(compute, found)
            log.info("calibrated", extra={"services": ", ".join(found)})
            if not measured.disturbed():
                await asyncio.to_thread(measured.keep, folder, found, clock.wall())
            return
        except (OSError, EcnodeError) as error:
            hint = error.hint if isinstance(error, EcnodeError) else ""
            log.error("calibration failed, this node offers nothing yet", extra={"reason": str(error), "hint": hint})
        await clock.sleep(AGAIN_S)


async def _warm_up(compute: ComputeService, folder: Path, clock: Clock) -> None:
    """Has the models loaded, as measuring would have: on a busy machine the first pictures of a query grew old over it.

    Of a service that has none it is learned why.
    """
    try:
        picture = assets.path(folder, PICTURE).read_bytes()
        await _measure_all(compute, picture, clock, resolutions=(Resolution.P360,), runs=1)
    except (OSError, EcnodeError) as error:
        log.info("models not loaded ahead", extra={"reason": str(error)})


async def measure(compute: ComputeService, folder: Path, clock: Clock, service: str) -> Profile | None:
    """What a service takes now at every resolution, fed by those before it; None where it is not offered.

    Raises:
        AssetMissing: the picture is not there.
        EcnodeError: a call failed.
    """
    picture = await asyncio.to_thread(assets.path(folder, PICTURE).read_bytes)
    return (await _measure_all(compute, picture, clock, services=_with_feeders(service))).get(service)


def _with_feeders(service: str) -> tuple[str, ...]:
    """The service behind those that give what it needs, in the order in which they can run."""
    found, needs = [service], SERVICES[service].needs - SOURCE_GIVES
    for before in reversed(tuple(SERVICES)[: tuple(SERVICES).index(service)]):
        if SERVICES[before].gives & needs:
            found.append(before)
            needs = (needs - SERVICES[before].gives) | (SERVICES[before].needs - SOURCE_GIVES)
    return tuple(reversed(found))


def _publish(compute: ComputeService, found: Mapping[str, Profile]) -> None:
    """All together: a planner that knew half of them would think the other half impossible."""
    for name, profile in found.items():
        compute.learn(name, profile.seconds, profile.objects)


async def _measure_all(
    compute: ComputeService,
    picture: bytes,
    clock: Clock,
    *,
    services: Collection[str] = SERVICES,
    resolutions: Collection[Resolution] = tuple(Resolution),
    runs: int = RUNS,
) -> dict[str, Profile]:
    """Every service at every resolution, each stage fed by those before it; one whose model is not there is left out."""
    seconds: dict[str, dict[Resolution, float]] = {name: {} for name in services}
    objects = 0
    for resolution in resolutions:
        values: dict[str, JsonValue] = {}
        pictures: dict[str, tuple[bytes, ...]] = {"image": (picture,), "clip": (picture,) * CLIP}
        for name in tuple(seconds):
            try:
                outcome, spent = await _measure(compute, name, values, pictures, resolution=resolution, clock=clock, runs=runs)
            except AssetMissing as error:
                log.info("service not offered", extra={"service": name, "reason": error.message, "hint": error.hint})
                compute.lack(name, f"{error.message}; {error.hint}" if error.hint else error.message)
                del seconds[name]
                continue
            seconds[name][resolution] = spent
            values |= outcome.values
            pictures |= outcome.pictures
        objects = max((len(given) for source, given in pictures.items() if source not in SOURCE_GIVES), default=0)
    return {name: Profile(seconds=profile, objects=objects) for name, profile in seconds.items()}


async def _measure(
    compute: ComputeService,
    service: str,
    values: Mapping[str, JsonValue],
    pictures: PictureBlobs,
    *,
    resolution: Resolution,
    clock: Clock,
    runs: int,
) -> tuple[Outcome, float]:
    """What the service gives, and the median of its seconds."""
    times = []
    for _ in range(runs):
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
