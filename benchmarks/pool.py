"""What does it cost to hand a picture to a worker process?

Ours: a slot of the shared ring is filled with the picture (a copy, as the capture process makes one), a worker process reads it
in place and answers. Theirs: `concurrent.futures.ProcessPoolExecutor` with the same picture as an array, which travels through
a pipe. Both have two workers and four pictures in flight, and the same work: the sum of every 64th row and column. They take
turns.

`python benchmarks/pool.py [--quick] [--json]`
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop
from parts.report import Bar, Row, ratio, row, show

from node.clock import SystemClock
from node.model.wire.compute import StageCall
from node.pipeline import catalogue
from node.roles.shared.arena import ArenaView, FrameArena
from node.roles.shared.compute_service import ComputeService, Frame
from node.roles.shared.processes import ProcessSpawner
from node.roles.shared.tasks import begin, end

CLOCK: Final = SystemClock()
WORKERS: Final = 2
IN_FLIGHT: Final = 4
CASES: Final[Mapping[str, tuple[int, int]]] = {"1080p": (1920, 1080), "100 kB": (240, 139)}
SERVICE: Final = "pool_touch"
TABLE: Final[dict[str, Any]] = {
    "implementation": "pool:touch",
    "folder": str(Path(__file__).parent),
    "needs": ["image"],
    "gives": ["total"],
}


def touch(_values: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]]) -> Mapping[str, Any]:
    """The work, as a service."""
    return {"total": look(pictures["image"][0])}


def look(picture: Any) -> int:
    """The work."""
    return int(picture[::64, ::64].sum())


async def ours(compute: ComputeService, arena: FrameArena, view: ArenaView, picture: Any, count: int) -> float:
    """Pictures per second over `count` of them."""
    height, width, _ = picture.shape
    left, total = count, look(picture)

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            lease = arena.take()
            if lease is None:
                raise RuntimeError("the arena is smaller than what is in flight")
            np.frombuffer(view.slot(lease.slot, picture.nbytes), np.uint8)[:] = picture.reshape(-1)
            frame = Frame(lease, width, height, "raw", picture.nbytes)
            found = await compute.call((StageCall(service=SERVICE),), {}, {}, frame=frame, deadline=CLOCK.monotonic() + 30)
            lease.release()
            if found.values["total"] != total:
                raise RuntimeError("a worker saw another picture")

    began = CLOCK.monotonic()
    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
    return count / (CLOCK.monotonic() - began)


async def theirs(pool: ProcessPoolExecutor, picture: Any, count: int) -> float:
    """As `ours`."""
    loop, left, total = asyncio.get_running_loop(), count, look(picture)

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            if await loop.run_in_executor(pool, look, picture) != total:
                raise RuntimeError("a worker saw another picture")

    began = CLOCK.monotonic()
    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
    return count / (CLOCK.monotonic() - began)


async def measure(rounds: int, counts: Mapping[str, int]) -> dict[str, tuple[list[float], list[float]]]:
    """(ours, theirs) of every case, round by round."""
    tables = {SERVICE: TABLE}
    catalogue.install(tables)
    arena = FrameArena(slots=2 * IN_FLIGHT)
    view = ArenaView(arena.descriptor, arena.slots, arena.slot_bytes)
    compute = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, Path(), WORKERS, tables)
    serving = begin(compute.run(), "compute")
    found: dict[str, tuple[list[float], list[float]]] = {case: ([], []) for case in CASES}
    try:
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
            for case, (width, height) in CASES.items():
                picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
                await ours(compute, arena, view, picture, 2 * IN_FLIGHT)  # workers are started by the first calls
                await theirs(pool, picture, 2 * IN_FLIGHT)
                for _ in range(rounds):
                    found[case][0].append(await ours(compute, arena, view, picture, counts[case]))
                    found[case][1].append(await theirs(pool, picture, counts[case] // 4))
    finally:
        await end(serving)
        arena.close()
    return found


def report(found: Mapping[str, tuple[list[float], list[float]]]) -> tuple[list[Row], list[Bar]]:
    """Every case, and the bars."""
    rows: list[Row] = []
    compared = {case: ratio(*both) for case, both in found.items()}
    for case, (mine, other) in found.items():
        rows += [row(case, "ecnode", mine, "calls/s", compared[case]), row(case, "ProcessPoolExecutor", other, "calls/s")]
    return rows, [
        Bar("pool_1080p_vs_process_pool", compared["1080p"], ">= 12"),
        Bar("pool_100kb_vs_process_pool", compared["100 kB"], ">= 2"),
    ]


def main() -> None:
    """Runs the benchmark; a missed bar is shown, it is no failure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    rounds, counts = (3, {"1080p": 400, "100 kB": 1000}) if chosen.quick else (9, {"1080p": 1200, "100 kB": 4000})
    show("pool", *report(uvloop.run(measure(rounds, counts))), as_json=chosen.json)


if __name__ == "__main__":
    main()
