"""How do the directories of this talent stand right now?

All of it blocks, a share whose server is away for long: it runs on a thread. A destination of the type nfs counts only while
something is mounted there, since writing into the folder beneath would fill the disk of the system.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from node.config.schema import DestinationConfig, TalentConfig
from node.model.plot import CacheReport, DestinationReport, DestType, Plot, PlotState, Plotter
from node.pipeline.plot.schedule import Cache, Destination, Running, Snapshot, promises
from node.pipeline.plot.space import needs, used_bytes
from node.roles.talent.places import Places


@dataclass(frozen=True, slots=True)
class Occupied:
    """A plot that runs or is on its way to its destination."""

    plot: Plot
    places: Places
    plotting: bool
    since: float


def survey(config: TalentConfig, occupied: Iterable[Occupied], now: float) -> Snapshot:
    """The directories and what runs in them; blocks. `now` and `Occupied.since` are of one clock."""
    caches = tuple(_cache(str(one.path), one.max_parallel, one.reserve) for one in config.cache)
    dests = tuple(_destination(one) for one in config.destination)
    devices = {cache.path: cache.device for cache in caches}
    ends = {dest.path: dest.device for dest in dests}
    return Snapshot(now, caches, dests, tuple(_running(one, devices, ends) for one in occupied))


def _cache(path: str, max_parallel: int, reserve: int) -> Cache:
    try:
        free, device = _room(path)
    except OSError as error:
        return Cache(path, 0, 0, max_parallel, reserve, f"cannot be used: {error.strerror}")
    if not os.access(path, os.W_OK | os.X_OK):
        return Cache(path, device, free, max_parallel, reserve, "cannot be written")
    return Cache(path, device, free, max_parallel, reserve)


def _destination(config: DestinationConfig) -> Destination:
    path = str(config.path)
    try:
        free, device = _room(path)
        if config.type == "nfs" and not is_mounted(config.path):
            return Destination(path, device, 0, "is not mounted: the folder lies on the disk of the system")
    except OSError as error:
        return Destination(path, 0, 0, f"cannot be used: {error.strerror}")
    if not os.access(path, os.W_OK | os.X_OK):
        return Destination(path, device, free, "cannot be written")
    return Destination(path, device, free)


def is_mounted(path: Path) -> bool:
    """Whether the path is on something that is mounted somewhere below the root."""
    here = path.resolve()
    while not os.path.ismount(here):
        here = here.parent
    return here != here.parent


def _room(path: str) -> tuple[int, int]:
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize, os.stat(path).st_dev  # noqa: PTH116 - beside statvfs, which Path has not


def _running(one: Occupied, devices: dict[str, int], ends: dict[str, int]) -> Running:
    plot = one.plot
    need = needs(plot.plotter or Plotter.BUILTIN, plot.ksize or 0)
    first, second, dest = plot.cache1 or "", plot.cache2 or plot.cache1 or "", plot.dest_path or ""
    left1 = left2 = 0
    if one.plotting:
        used1 = used_bytes(one.places.temp1)
        used2 = used1 if one.places.temp1 == one.places.temp2 else used_bytes(one.places.temp2)
        # in one folder nobody can tell what belongs to which: what is there counts for the first
        left1 = max(0, need.cache1 - used1)
        left2 = need.cache2 if one.places.temp1 == one.places.temp2 else max(0, need.cache2 - used2)
        if one.places.temp1 == one.places.temp2 and used1 > need.cache1:
            left2 = max(0, need.cache2 - (used1 - need.cache1))
    copied = 0 if ends.get(dest) is not None and ends.get(dest) == devices.get(second) else need.dest
    return Running(
        id=plot.id,
        cache1=first,
        cache2=second,
        dest=dest,
        phase=max(plot.phase, 1),
        started_at=one.since,
        will_write1=left1,
        will_write2=left2,
        will_write_dest=copied,
        plotting=one.plotting and plot.state is not PlotState.STOPPING,
    )


def cache_reports(snapshot: Snapshot) -> tuple[CacheReport, ...]:
    """The temp directories as the heartbeat tells of them."""
    promised = promises(snapshot)
    return tuple(
        CacheReport(
            path=cache.path,
            device=cache.device,
            free_bytes=cache.free,
            reserved_bytes=promised.get(cache.device, 0) + cache.reserve,
            running=sum(one.plotting and cache.path in {one.cache1, one.cache2} for one in snapshot.running),
            max_parallel=cache.max_parallel,
        )
        for cache in snapshot.caches
    )


def destination_reports(config: TalentConfig, snapshot: Snapshot) -> tuple[DestinationReport, ...]:
    """The destinations as the heartbeat tells of them."""
    promised = promises(snapshot)
    return tuple(
        DestinationReport(
            path=dest.path,
            type=DestType(settings.type),
            free_bytes=dest.free,
            reserved_bytes=promised.get(dest.device, 0),
            problem=dest.problem,
        )
        for settings, dest in zip(config.destination, snapshot.destinations, strict=True)
    )
