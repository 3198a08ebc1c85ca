"""What does a user of video queries get, and does the real thing behave as the simulation says?

Without `--real`, on one node with both roles and one worker a core: the frames per second of two head counts at once against
the bare loop (`parts/bare.py`), and how evenly four at once share two cores.

With `--real`, besides: three node processes with real pictures and models, slowed by fixed factors, the cloud behind a narrow
link (`real/`). Every scheduler runs through the node's own plug-in while the link drops, and is ranked against the simulation
of the same set-up; the nodes that a plan needs are killed. `--svg` is a picture of delay and accuracy against their constraints
over a run with that drop.

`python benchmarks/video.py [--real] [--quick] [--json] [--svg FILE]`, with the assets where ECNODE_NODE__ASSETS_DIR says.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Final

import uvloop
from parts.bare import assets_folder, bare_rate, config, cut_clip, node, node_rates
from parts.report import Bar, Row, ratio, row, show
from planning.picture import draw
from real.contest import PLUG_INS, Run, profiles_of, race, tau
from real.failover import Failover, failover
from real.rehearsal import TRACK, Known, rehearse
from real.scene import Truth
from real.system import CLOUD, NODES, PEER, SlowedSystem, settled, until

from node.assets import path

CLIP_FPS: Final = 25.0
SEEDS: Final = range(20, 28)
TWO, FOUR = 2, 4
PARTS: Final = ("streams", "ranks", "kills")
OURS: Final = "robust"
SHOWN: Final = (OURS, "cloud only", "seed PID")
READY_S: Final = 120.0
RUN_S, DROP = 12.0, (4.0, 8.0)  # of each scheduler, and when the link is slow


async def streams(folder: Path, rounds: int, seconds: float) -> tuple[list[float], list[float], list[list[float]]]:
    """Frames per second of two head counts together, of the bare loop, and of each of four, round by round."""
    two, bare, four = list[float](), list[float](), list[list[float]]()
    with tempfile.TemporaryDirectory() as data:
        clip = Path(data) / "clip.mp4"
        await asyncio.to_thread(cut_clip, path(folder, "collage.mp4"), clip)
        async with node(config(folder, Path(data), clip)) as client:
            for _ in range(rounds):
                two.append(sum(await node_rates(client, TWO, seconds)))
                bare.append(await bare_rate(folder, clip, seconds))
            four += [await node_rates(client, FOUR, seconds) for _ in range(max(rounds // 2, 1))]
    return two, bare, four


class RealRun:
    """Everything that is found out with three processes."""

    def __init__(self, folder: Path, runs: int) -> None:
        self._folder = folder
        self._runs = runs
        self.simulated: dict[str, float] = {}
        self.real: dict[str, list[float]] = {name: [] for name in PLUG_INS}
        self.first: dict[str, Run] = {}
        self.failovers: dict[str, list[Failover]] = {CLOUD: [], PEER: []}
        self.exact = True

    def measure(self, parts: Collection[str]) -> None:
        """Ranks and kills, as far as `parts` name them; on standard error, how far it is."""
        clip = path(self._folder, "collage.mp4")
        truth = Truth(path(self._folder, "collage.json"), 1, CLIP_FPS)
        with SlowedSystem(clip, self._folder) as system:
            system.start()
            with system.client() as client:
                until(lambda: settled(client), READY_S)
                profiles = profiles_of(client, NODES)
            if "ranks" in parts:
                known = Known(profiles, truth, picture_kb(clip), RUN_S, DROP)
                self.simulated = rehearse(known, SEEDS)
                for _ in range(self._runs):
                    for name, scheduler in PLUG_INS.items():
                        system.turn(scheduler)
                        self._take(name, race(system, known))
            if "kills" in parts:
                system.turn(PLUG_INS[OURS])
                for _ in range(self._runs):
                    for victim in self.failovers:
                        self._kill(victim, failover(system, victim))

    def rows(self) -> list[Row]:
        """What each scheduler was worth, as a ratio to its value in the simulation, and every kill."""
        rows = []
        for name, simulated in self.simulated.items():
            rows.append(row("real utility", name, self.real[name], "utility"))
            rows.append(row("simulated", name, [simulated], "utility"))
        for victim, found in self.failovers.items():
            if found:
                rows.append(row("stages moved", f"{victim} killed", [one.moved_s for one in found], "s"))
                rows.append(row("first answer", f"{victim} killed", [one.answered_s for one in found], "s"))
        return rows

    def bars(self) -> list[Bar]:
        """See performance.md; `tally_exact` is 1 where captured = processed + skipped + failed held at every look."""
        bars = [Bar("tally_exact", float(self.exact), ">= 1")]
        if self.simulated:
            found, pairs = tau(self.simulated, {name: fmean(values) for name, values in self.real.items()})
            bars += [Bar("rank_tau", found, ">= 0.8"), Bar("rank_pairs", pairs, ">= 10")]
        if moved := [one.moved_s for found in self.failovers.values() for one in found]:
            bars.append(Bar("failover_s", max(moved), "<= 1"))
        return bars

    def picture(self) -> str:
        """An SVG of the first run of a few schedulers."""
        traces = [(name, self.first[name].trace) for name in SHOWN]
        limit, asked = TRACK.constraint.latency, TRACK.constraint.accuracy
        return draw(traces, TRACK, RUN_S, DROP, f"Real run: latency ≤ {limit} s, accuracy ≥ {asked}")

    def _take(self, name: str, run: Run) -> None:
        self.real[name].append(run.trace.utility(TRACK, RUN_S))
        self.first.setdefault(name, run)
        self.exact = self.exact and run.adds_up
        print(f"{name}: {self.real[name][-1]:.3f}, {self.simulated[name]:.3f} in simulation", file=sys.stderr)

    def _kill(self, victim: str, found: Failover) -> None:
        self.failovers[victim].append(found)
        self.exact = self.exact and found.adds_up
        print(f"{victim} killed: stages moved in {found.moved_s:.2f} s, answered in {found.answered_s:.2f} s", file=sys.stderr)


def picture_kb(clip: Path) -> list[float]:
    """KB of the clip's pictures as they travel, at each resolution that it has. Made by a child, which may load OpenCV."""
    program = (
        "import sys; from node.model.video import Resolution; from node.pipeline.video import codec, source\n"
        "picture = source.open_source(sys.argv[1], False).read()\n"
        "for each in list(Resolution)[:3]: print(len(codec.encode_jpeg(codec.resize(picture, *each.size))) / 1000)"
    )
    told = subprocess.run([sys.executable, "-c", program, clip], capture_output=True, check=True, text=True).stdout
    return [float(line) for line in told.split()]


def stream_rows(two: Sequence[float], bare: Sequence[float], four: Sequence[Sequence[float]]) -> tuple[list[Row], list[Bar]]:
    """The rows of one node, and its bars."""
    compared = ratio(two, bare)
    shares = [min(rates) / fmean(rates) for rates in four]
    rows = [
        row("two streams", "node", two, "frames/s", compared),
        row("two streams", "bare", bare, "frames/s"),
        row("four streams", "node", [sum(rates) for rates in four], "frames/s"),
        row("four streams", "least of a fair share", shares, "fraction"),
    ]
    return rows, [Bar("fps_vs_bare", compared, ">= 0.85"), Bar("fair_share_least", median(shares), ">= 0.8")]


def main() -> None:
    """Runs the benchmark; a missed bar is shown, it is no failure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--real", action="store_true", help="three processes besides: ranks, kills, a picture")
    options.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options.add_argument("--svg", type=Path, default=Path("video.svg"), help="where --real draws a run (default: video.svg)")
    options.add_argument("--runs", type=int, help="how often --real repeats everything (default: 3, quick: 1)")
    options.add_argument("--part", choices=PARTS, action="append", help="nothing but this; may be repeated")
    chosen = options.parse_args()
    folder, parts = assets_folder(), chosen.part or (PARTS if chosen.real else PARTS[:1])
    rows, bars = list[Row](), list[Bar]()
    if "streams" in parts:
        rows, bars = stream_rows(*uvloop.run(streams(folder, *((2, 4.0) if chosen.quick else (5, 8.0)))))
    if {"ranks", "kills"} & {*parts}:
        real = RealRun(folder, chosen.runs or (1 if chosen.quick else 3))
        real.measure(parts)
        rows, bars = [*rows, *real.rows()], [*bars, *real.bars()]
        if "ranks" in parts:
            chosen.svg.write_text(real.picture(), encoding="utf-8")
    show("video", rows, bars, as_json=chosen.json)


if __name__ == "__main__":
    main()
