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
from collections.abc import Sequence
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
SHOWN: Final = ("robust", "cloud only", "seed PID")
READY_S: Final = 120.0


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

    def __init__(self, folder: Path, runs: int, seconds: float) -> None:
        self._folder = folder
        self._runs = runs
        self._seconds = seconds
        self.simulated: dict[str, float] = {}
        self.real: dict[str, list[float]] = {name: [] for name in PLUG_INS}
        self.first: dict[str, Run] = {}
        self.failovers: dict[str, list[Failover]] = {CLOUD: [], PEER: []}
        self.drop = (seconds / 3, seconds * 2 / 3)
        self.exact = True

    def measure(self) -> None:
        """Runs all; on standard error, how far it is."""
        clip = path(self._folder, "collage.mp4")
        truth = Truth(path(self._folder, "collage.json"), 1, CLIP_FPS)
        with SlowedSystem(clip, self._folder, "robust") as system:
            system.start()
            with system.client() as client:
                until(lambda: settled(client), READY_S)
                profiles = profiles_of(client, NODES)
            known = Known(profiles, truth, picture_kb(clip), self._seconds, self.drop)
            self.simulated = rehearse(known, SEEDS)
            for _ in range(max(self._runs // 2, 1)):
                for victim, found in self.failovers.items():
                    found.append(failover(system, victim))
                    self.exact = self.exact and found[-1].adds_up
                    print(f"{victim} killed: moved in {found[-1].moved_s:.2f} s", file=sys.stderr)
            for _ in range(self._runs):
                for name, scheduler in PLUG_INS.items():
                    system.take_turns(scheduler)
                    self._take(name, race(system, known))

    def tau(self) -> tuple[float, int]:
        """Of the means of the runs."""
        return tau(self.simulated, {name: fmean(values) for name, values in self.real.items()})

    def rows(self) -> list[Row]:
        """What each scheduler was worth, beside its value in the simulation, and every kill."""
        rows = []
        for name, values in self.real.items():
            rows.append(row("real utility", name, values, "utility"))
            rows.append(row("simulated", name, [self.simulated[name]], "utility"))
        for victim, found in self.failovers.items():
            rows.append(row("stages moved", f"{victim} killed", [one.moved_s for one in found], "s"))
            rows.append(row("first answer", f"{victim} killed", [one.answered_s for one in found], "s"))
        return rows

    def bars(self) -> list[Bar]:
        """See performance.md; `tally_exact` is 1 where captured = processed + skipped + failed held at every look."""
        slowest = max(one.moved_s for found in self.failovers.values() for one in found)
        return [
            Bar("rank_tau", self.tau()[0], ">= 0.8"),
            Bar("failover_s", slowest, "<= 1"),
            Bar("tally_exact", float(self.exact), ">= 1"),
        ]

    def picture(self) -> str:
        """An SVG of the first run of a few schedulers."""
        traces = [(name, self.first[name].trace) for name in SHOWN]
        limit, asked = TRACK.constraint.latency, TRACK.constraint.accuracy
        return draw(traces, TRACK, self._seconds, self.drop, f"Real run: latency ≤ {limit} s, accuracy ≥ {asked}")

    def _take(self, name: str, run: Run) -> None:
        self.real[name].append(run.trace.utility(TRACK, self._seconds))
        self.first.setdefault(name, run)
        self.exact = self.exact and run.adds_up
        print(f"{name}: {self.real[name][-1]:.3f}, {self.simulated[name]:.3f} in simulation", file=sys.stderr)


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
    chosen = options.parse_args()
    folder = assets_folder()
    rounds, seconds = (2, 4.0) if chosen.quick else (5, 8.0)
    rows, bars = stream_rows(*uvloop.run(streams(folder, rounds, seconds)))
    if chosen.real:
        real = RealRun(folder, *((1, 12.0) if chosen.quick else (3, 18.0)))
        real.measure()
        rows, bars = [*rows, *real.rows()], [*bars, *real.bars()]
        chosen.svg.write_text(real.picture(), encoding="utf-8")
    show("video", rows, bars, as_json=chosen.json)


if __name__ == "__main__":
    main()
