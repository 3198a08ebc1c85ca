"""How near do the schedulers come to one that knows everything?

A deterministic simulation: for each scenario and seed every scheduler meets the same world, the same noise and the same errors
of its knowledge base. `robust`, `ewma`, `pid`, `cold_start` and `fixed` are the node's own code; the seed's are written anew
with their faults (planning/seed.py). Two tracks: the original's delay (D 0.3, A 0.9) and the true latency (D 0.5, A 0.6).

The bars are means over the seven scenarios of the design; a node that is killed and four queries at once stand beside them.
Recovery is told for the steps that were felt (planning/recovery.py), over all scenarios and both tracks.

`python benchmarks/scheduler.py [--quick] [--seeds 100,101] [--seconds 300] [--json] [--svg FILE]`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from parts.report import Bar, Row, row, show
from planning.baselines import CONTESTANTS, ORACLE
from planning.picture import draw
from planning.recovery import recoveries
from planning.run import TRACKS, Trace, Track, run
from planning.world import ROUND, SCENARIOS, World

from node import heap

HELD_OUT = (100, 101, 102)
OURS, SEED = "robust", "seed PID"
PICTURE_S, DROP = 120.0, (40.0, 80.0)


class Bench:
    """Every contestant in every world."""

    def __init__(self, seeds: Sequence[int], seconds: float) -> None:
        self._seeds = seeds
        self._seconds = seconds
        self._utilities: dict[tuple[str, str, str], list[float]] = {}
        self._decision_s: list[float] = []
        self._switches: list[float] = []
        self._recoveries: list[float] = []

    def measure(self, tell: bool) -> None:
        """Runs all; on standard error, how far it is."""
        for track in TRACKS:
            for scenario in SCENARIOS:
                for seed in self._seeds:
                    self._compare(track, scenario, seed)
                if tell:
                    print(f"{track.name}: {scenario}", file=sys.stderr)

    def rows(self) -> list[Row]:
        """The utility of each contestant in each scenario, as a ratio to the oracle's."""
        found = []
        for track in TRACKS:
            for name in CONTESTANTS:
                whole = self._round(track, name)
                found.append(row(f"{track.name} mean", name, [whole], "utility", whole / self._round(track, ORACLE)))
                for scenario in SCENARIOS:
                    values = self._utilities[track.name, scenario, name]
                    best = fmean(self._utilities[track.name, scenario, ORACLE])
                    found.append(row(f"{track.name} {scenario}", name, values, "utility", fmean(values) / best))
        found.append(row("recovery", OURS, self._recoveries or [0.0], "s"))
        found.append(row("switches", OURS, self._switches, "per minute"))
        found.append(row("decision", OURS, [seconds * 1000 for seconds in self._decision_s], "ms"))
        return found

    def bars(self) -> list[Bar]:
        """See performance.md."""
        ratios = [self._round(track, OURS) / self._round(track, ORACLE) for track in TRACKS]
        against = [self._round(track, OURS) / self._round(track, SEED) for track in TRACKS]
        late = self._recoveries or [0.0]
        return [
            Bar("utility_compat_vs_oracle", ratios[0], ">= 0.97"),
            Bar("utility_latency_vs_oracle", ratios[1], ">= 0.97"),
            Bar("utility_vs_seed_pid", min(against), ">= 2"),
            Bar("recovery_mean_s", fmean(late), "<= 2.5"),
            Bar("recovery_max_s", max(late), "<= 5"),
            Bar("switches_per_minute", fmean(self._switches), "<= 3"),
            Bar("decision_ms", median(self._decision_s) * 1000, "<= 1"),
            Bar("seed_pid_compat_off", abs(self._round(TRACKS[0], SEED) - 0.445), "<= 0.03"),
            Bar("seed_pid_latency_off", abs(self._round(TRACKS[1], SEED) - 0.380), "<= 0.03"),
        ]

    def _compare(self, track: Track, scenario: str, seed: int) -> None:
        traces: dict[str, list[Trace]] = {}
        for name in CONTESTANTS:
            world = World(scenario, seed, self._seconds)
            traces[name] = run(world, name, seed, track, self._seconds)
            utility = fmean(trace.utility(track, self._seconds) for trace in traces[name])
            self._utilities.setdefault((track.name, scenario, name), []).append(utility)
        for trace, best in zip(traces[OURS], traces[ORACLE], strict=True):
            self._decision_s += trace.decision_s
            self._switches.append(len(trace.switches) * 60 / self._seconds)
            self._recoveries += recoveries(trace, best, world.worse_at, track, self._seconds)

    def _round(self, track: Track, name: str) -> float:
        return fmean(value for scenario in ROUND for value in self._utilities[track.name, scenario, name])


def picture(seed: int) -> str:
    """A run of true latency in which the wide-area link drops to a twentieth and comes back."""
    track, traces = TRACKS[1], []
    for name in (OURS, "cloud only", SEED):
        world = World("steady", seed, PICTURE_S)
        world.drop_link(*DROP, mbps=0.8)
        traces.append((name, run(world, name, seed, track, PICTURE_S)[0]))
    return draw(traces, track, PICTURE_S, DROP, "Latency ≤ 0.5 s, accuracy ≥ 0.6")


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="one seed")
    options.add_argument("--seeds", default=",".join(map(str, HELD_OUT)), help="seeds, with commas between")
    options.add_argument("--seconds", type=float, default=300.0, help="of each run, simulated")
    options.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options.add_argument("--svg", type=Path, help="write a picture of a run with a link drop")
    given = options.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    heap.settle()  # as `ecnode up` does
    bench = Bench(seeds[:1] if given.quick else seeds, given.seconds)
    if given.svg is not None:
        given.svg.write_text(picture(seeds[0]), encoding="utf-8")
    bench.measure(tell=not given.json)
    show("scheduler", bench.rows(), bench.bars(), as_json=given.json)


if __name__ == "__main__":
    main()
