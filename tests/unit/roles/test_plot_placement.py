"""Plots go to talents that have room, and who gets none hears why."""

from __future__ import annotations

from typing import Any

import pytest
from doors import report

from node.model.cluster import Role
from node.model.plot import CacheReport, DestinationReport, DestType, PlotRequest, Plotter, TalentReport
from node.roles.cloud.plot_placement import Candidate, place

GIB = 2**30
CACHE = CacheReport(path="/c", device=1, free_bytes=400 * GIB, reserved_bytes=0, running=0, max_parallel=2)
DEST = DestinationReport(path="/d", type=DestType.LOCAL, free_bytes=400 * GIB, reserved_bytes=0)
REQUEST = PlotRequest(ksize=32)


def talent(name: str, held: int = 0, labels: dict[str, str] | None = None, **changes: Any) -> Candidate:
    told = TalentReport(
        worker_id="a" * 32, plotter=Plotter.BUILTIN, ksize=32, max_parallel=2, caches=(CACHE,), destinations=(DEST,)
    ).replace(**changes)
    return Candidate(report(name, Role.TALENT).replace(talent=told, labels=labels or {}), held)


def test_the_talent_with_the_fewest_plots_for_its_slots_is_taken_then_the_one_with_most_room() -> None:
    assert place(REQUEST, [talent("a", 1), talent("b", 0)])[0] == "b"
    assert place(REQUEST, [talent("a", 1), talent("b", 1, max_parallel=8)])[0] == "b"
    roomier = (CACHE.replace(free_bytes=900 * GIB),)
    assert place(REQUEST, [talent("a"), talent("b", caches=roomier)])[0] == "b"


@pytest.mark.parametrize(
    ("request_", "candidate", "why"),
    [
        (REQUEST.replace(labels={"site": "hq"}), talent("a", labels={"site": "lab"}), "a: its labels are not site=hq"),
        (REQUEST.replace(node="b"), talent("a"), "'b' is no talent that is there"),
        (REQUEST, talent("a", 4), "a: 4 plots wait or run there already"),
        (REQUEST, talent("a", problem="no plotter"), "a: no plotter"),
        (REQUEST.replace(ksize=20), talent("a", plotter=Plotter.BLADEBIT), "a: 'bladebit' makes no k20"),
        (REQUEST.replace(cache1="/x"), talent("a"), "a: it has no temp directory /x"),
        (REQUEST.replace(dest_path="/x"), talent("a"), "a: it has no destination /x"),
        (REQUEST, talent("a", destinations=(DEST.replace(problem="is not mounted"),)), "a: /d: is not mounted"),
        (REQUEST, talent("a", destinations=(DEST.replace(reserved_bytes=390 * GIB),)), "are needed at a destination, 10.0 GiB"),
        (REQUEST, talent("a", caches=(CACHE.replace(free_bytes=GIB),)), "are needed in a temp directory, 1.0 GiB are there"),
    ],
)
def test_who_gets_no_talent_hears_why(request_: PlotRequest, candidate: Candidate, why: str) -> None:
    name, reason = place(request_, [candidate])
    assert name == ""
    assert why in reason


def test_a_temp_directory_that_running_plots_fill_is_no_reason_to_wait_here() -> None:
    full = talent("a", 1, running=1, caches=(CACHE.replace(free_bytes=GIB),))
    assert place(REQUEST, [full])[0] == "a"


def test_without_any_talent_that_is_said() -> None:
    assert place(REQUEST, [Candidate(report("edge-1", Role.EDGE), 0)]) == ("", "no talent is there")
