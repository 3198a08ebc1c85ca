"""Which talent makes a plot, and why does none?

Pure: what the talents last told in, a name or a reason out. A talent gets plots ahead of its free slots, so that a slot that
falls free is taken at once, also while this cloud is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from node.model.cluster import NodeReport
from node.model.plot import CacheReport, PlotRequest, TalentReport
from node.pipeline.plot.plotters import ADAPTERS
from node.pipeline.plot.space import Needs, gib, needs

AHEAD: Final = 2  # plots for each slot: one that runs and one that takes its place
WHYS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """A talent that is there, and how many plots of this cloud it has that are not over."""

    report: NodeReport
    held: int


def place(request: PlotRequest, candidates: Iterable[Candidate]) -> tuple[str, str]:
    """The talent that gets a plot, else nothing and why none does. The same candidates give the same answer."""
    whys: list[str] = []
    fit: list[tuple[float, int, str]] = []
    for one in candidates:
        name, talent = one.report.name, one.report.talent
        if talent is None or (request.node is not None and request.node != name):
            continue
        why = _against(request, one, talent)
        if why:
            whys.append(f"{name}: {why}")
        else:
            fit.append((one.held / talent.max_parallel, -max((_room(cache) for cache in talent.caches), default=0), name))
    if fit:
        return min(fit)[2], ""
    nobody = f"'{request.node}' is no talent that is there" if request.node else "no talent is there"
    return "", "; ".join(whys[:WHYS_SHOWN]) or nobody


def _against(request: PlotRequest, one: Candidate, talent: TalentReport) -> str:
    missing = {key: value for key, value in request.labels.items() if one.report.labels.get(key) != value}
    if missing:
        return f"its labels are not {_labels(missing)}"
    if talent.problem:
        return talent.problem
    ksize = request.ksize or talent.ksize
    if ksize < ADAPTERS[talent.plotter].smallest:
        return f"'{talent.plotter}' makes no k{ksize}"
    if one.held >= AHEAD * talent.max_parallel:
        return f"{one.held} plots wait or run there already"
    return _without_room(request, talent, needs(talent.plotter, ksize))


def _without_room(request: PlotRequest, talent: TalentReport, need: Needs) -> str:
    caches = [cache for cache in talent.caches if request.cache1 in {None, cache.path}]
    ends = [one for one in talent.destinations if request.dest_path in {None, one.path}]
    if not caches:
        return f"it has no temp directory {request.cache1 or ''}".rstrip()
    if not ends:
        return f"it has no destination {request.dest_path or ''}".rstrip()
    usable = [one for one in ends if not one.problem]
    if not usable:
        return f"{ends[0].path}: {ends[0].problem}"
    if not talent.running and max(map(_room, caches)) < need.together:  # what runs there makes room when it ends
        return f"{gib(need.together)} are needed in a temp directory, {gib(max(map(_room, caches)))} are there"
    most = max(max(0, one.free_bytes - one.reserved_bytes) for one in usable)
    return f"{gib(need.dest)} are needed at a destination, {gib(most)} are there" if most < need.dest else ""


def _room(cache: CacheReport) -> int:
    return max(0, cache.free_bytes - cache.reserved_bytes)


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())
