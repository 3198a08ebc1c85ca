"""What does it cost that a plot is placed, followed, copied and proven?

Ours: an overlord and a talent on loopback, over HTTP. Theirs: the same plot by chiapos' DiskPlotter in a bare process, a copy
that is synced and not compared. All run in turns; a plot's wall and CPU are those of its process, without copy and proof.

`python benchmarks/plots.py [--quick] [--json] [--pairs N] [--case plot|slot|parser|copy|proof|supervision]`; folders lie
in TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from parts.report import Bar, Row, ratio, row, show

from node.cli.system import FARMER, POOL, LocalSystem
from node.client import Client
from node.clock import SystemClock
from node.model.plot import PLOT_LIFE, PlotRequest, PlotState, PlotStatus, Plotter
from node.pipeline.plot.copying import copy
from node.pipeline.plot.log import LogReader

Found = tuple[list[Row], list[Bar]]
CLOCK = SystemClock()
PAUSE = threading.Event()
SEED = "07" * 32
BUFFER_MIB = 200
PAIRS = 5
TALENT = "talent-1"
BARE = """import json, sys
from chiapos import DiskPlotter
places, keys, rest = json.loads(sys.argv[1])
DiskPlotter().create_plot_disk(*places, *map(bytes.fromhex, keys), *rest)
"""
ENDS_AT_ONCE = "#!/bin/sh\nexit 1\n"
SLEEPS = "#!/bin/sh\nexec sleep 600\n"


class Bench:
    """A cloud and a talent; their folders go with `system`."""

    def __init__(self, system: LocalSystem) -> None:
        self.pid = system.pid(TALENT)
        self.folder = system.log_folder(TALENT).parents[1]
        self._system = system

    def client(self) -> Client:
        """A connection of its own to the cloud."""
        return Client(self._system.url(), self._system.token_file().read_text().strip(), 30.0)

    def facts(self, id: str) -> dict[str, float]:
        """How the process of a plot ended."""
        found: dict[str, float] = json.loads((self.folder / "data" / "plots" / id / "run-1" / "exit").read_text())
        return found

    def cpu_s(self) -> float:
        """CPU seconds of the talent's own process."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def bench(root: Path, *, script: str = "", slots: int = 1) -> Iterator[Bench]:
    """Nodes that are ended; with `script` their plotter is that, not the built-in one."""
    settings = f"max_parallel = {slots}\nchallenges = 1"
    if script:
        command = Path(tempfile.mkdtemp(dir=root)) / "plotter"
        command.write_text(script)
        command.chmod(0o755)
        settings += f'\nplotter = "chia"\ncommand = "{command}"'
    with LocalSystem(0, [], root, talents=1, talent=settings) as system:
        system.start()
        node = Bench(system)
        with node.client() as client:
            while not any(card.report.caches for card in client.talents()):
                PAUSE.wait(0.05)
        yield node


def over(client: Client, id: str) -> PlotStatus:
    """The plot, once it is over."""
    while (plot := client.plot(id)).state not in PLOT_LIFE.terminal:
        PAUSE.wait(0.2)
    return plot


def bare(folder: Path, ksize: int, stripe: int) -> tuple[float, float]:
    """Wall and CPU seconds of a plot that nobody looks after."""
    from node.pipeline.plot.keys import make_keys

    folder.mkdir()
    keys = make_keys(bytes.fromhex(FARMER), bytes.fromhex(POOL), bytes.fromhex(SEED))
    places = [*[str(folder)] * 3, "bare.plot", ksize]
    order = [places, [keys.memo.hex(), keys.plot_id.hex()], [BUFFER_MIB, 0, stripe, 1, False]]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), CLOCK.monotonic()
    with (folder / "log").open("wb") as log:
        subprocess.run([sys.executable, "-P", "-c", BARE, json.dumps(order)], check=True, stdout=log, start_new_session=True)
    wall, after = CLOCK.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(folder)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def plotting(root: Path, *, quick: bool, pairs: int = PAIRS) -> Found:
    """The same plot, of the same keys, under the worker and bare."""
    ksize = 18 if quick else 20
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    memo = POOL + FARMER + secret()
    with bench(root) as node, node.client() as client:
        for number in range(pairs):
            for subject in ("ours", "bare") if number % 2 else ("bare", "ours"):
                if subject == "bare":
                    theirs.append(bare(root / "bare", ksize, 1 << (ksize - 5)))
                    continue
                plot = over(client, client.create_plot(PlotRequest(ksize=ksize, memo=memo, buffer=BUFFER_MIB)).id)
                if plot.state is not PlotState.FINISHED:
                    raise RuntimeError(f"{plot.state}: {plot.reason}")
                facts = node.facts(plot.id)
                ours.append((facts["ended_at"] - facts["started_at"], facts["cpu_s"]))
                (Path(str(plot.dest_path)) / str(plot.dest_file_name)).unlink()
    case = f"k{ksize} plot"
    wall = ratio([one[0] for one in ours], [one[0] for one in theirs])
    cpu = ratio([one[1] for one in ours], [one[1] for one in theirs])
    rows = [
        row(case, "under the worker", [one[0] for one in ours], "s", wall),
        row(case, "bare DiskPlotter", [one[0] for one in theirs], "s"),
        row(f"{case} CPU", "under the worker", [one[1] for one in ours], "s", cpu),
        row(f"{case} CPU", "bare DiskPlotter", [one[1] for one in theirs], "s"),
    ]
    return rows, [Bar("plot_wall_vs_bare", wall, "<= 1.05"), Bar("plot_cpu_vs_bare", cpu, "<= 1.02")]


def secret() -> str:
    """The plot's own key of the seed that both sides use, so that they make the same plot."""
    from node.pipeline.plot.keys import make_keys

    return make_keys(bytes.fromhex(FARMER), bytes.fromhex(POOL), bytes.fromhex(SEED)).memo[96:].hex()


def slots(root: Path, *, quick: bool) -> Found:
    """From the end of a plotter to the start of the next one, with one slot and plotters that end at once."""
    count = 15 if quick else 60
    with bench(root, script=ENDS_AT_ONCE) as node, node.client() as client:
        ids = [client.create_plot(PlotRequest()).id for _ in range(count)]
        for id in ids:
            over(client, id)
        facts = sorted((node.facts(id) for id in ids), key=lambda one: one["started_at"])
    gaps = [(after["started_at"] - before["ended_at"]) * 1000 for before, after in pairwise(facts)]
    p95 = quantiles(gaps, n=20)[-1]
    return [row("freed slot", "to next start", gaps, "ms")], [Bar("slot_to_start_p95_ms", p95, "<= 200")]


def parser(root: Path, *, quick: bool) -> Found:
    """Lines of a real log a second, in the pieces that the log receiver reads, and whether a long log costs more a line."""
    with bench(root) as node, node.client() as client:
        plot = over(client, client.create_plot(PlotRequest()).id)
        content = (node.folder / "data" / "plots" / plot.id / "plot.log").read_bytes()
    times = 20 if quick else 100
    whole = content * times
    rates: list[float] = []
    early: list[float] = []
    late: list[float] = []
    for _ in range(5):
        reader = LogReader(Plotter.BUILTIN)
        halves = [0.0, 0.0]
        for offset in range(0, len(whole), 262_144):
            began = CLOCK.monotonic()
            reader.feed(whole[offset : offset + 262_144])
            halves[offset * 2 >= len(whole)] += CLOCK.monotonic() - began
        rates.append(whole.count(b"\n") / sum(halves))
        early.append(halves[0])
        late.append(halves[1])
    growth, lines = ratio(late, early), whole.count(b"\n")
    rows = [row("log", f"{lines} lines", rates, "lines/s"), row("log", "second half", late, "s", growth)]
    return rows, [Bar("parser_lines_per_s", sorted(rates)[2], ">= 150000"), Bar("parser_second_half", growth, "<= 1.3")]


def copying(root: Path, *, quick: bool) -> Found:
    """A copy that is synced, read again and compared, against one that is synced."""
    size = (64 if quick else 256) * 2**20
    source, dest = root / "source.plot", root / "copies"
    dest.mkdir()
    with source.open("wb") as file:
        for _ in range(size // 2**20):
            file.write(os.urandom(2**20))
        os.fsync(file.fileno())

    def verified() -> None:
        copy(source, dest, linked=False)

    def synced() -> None:
        with source.open("rb") as there, (dest / source.name).open("wb") as file:
            shutil.copyfileobj(there, file, 4 * 2**20)
            file.flush()
            os.fsync(file.fileno())

    def timed(do: Callable[[], None]) -> float:
        began = CLOCK.monotonic()
        do()
        spent = CLOCK.monotonic() - began
        (dest / source.name).unlink()
        return size / 2**20 / spent

    ours, theirs = [], []
    for _ in range(3 if quick else 5):
        ours.append(timed(verified))
        theirs.append(timed(synced))
    compared = ratio(ours, theirs)
    rows = [row("copy", "verified", ours, "MiB/s", compared), row("copy", "copy and fsync", theirs, "MiB/s")]
    return rows, [Bar("copy_vs_fsync", compared, ">= 0.4")]


def proving(root: Path, *, quick: bool) -> Found:
    """Thirty challenges to a k18 plot."""
    from node.pipeline.plot.verify import CHALLENGES, Expected, verify

    with bench(root) as node, node.client() as client:
        plot = over(client, client.create_plot(PlotRequest()).id)
        file = Path(str(plot.dest_path)) / str(plot.dest_file_name)
        spent = []
        for _ in range(3 if quick else 9):
            began = CLOCK.monotonic()
            verify(file, Expected(18, FARMER, POOL), CHALLENGES)
            spent.append(CLOCK.monotonic() - began)
    return [row("proof", f"{CHALLENGES} challenges, k18", spent, "s")], [Bar("proof_s", sorted(spent)[len(spent) // 2], "<= 1")]


def supervision(root: Path, *, quick: bool) -> Found:
    """CPU of the node while twenty plotters run, less what it takes without any."""
    seconds = 5.0 if quick else 20.0
    with bench(root, script=SLEEPS, slots=20) as node, node.client() as client:

        def share() -> float:
            before = node.cpu_s()
            PAUSE.wait(seconds)
            return (node.cpu_s() - before) / seconds

        PAUSE.wait(3.0)
        idle = share()
        ids = [client.create_plot(PlotRequest()).id for _ in range(20)]
        while len(client.plots(PlotState.STARTED, limit=100).items) < 20:
            PAUSE.wait(0.1)
        PAUSE.wait(3.0)
        busy = share()
        for id in ids:
            client.stop_plot(id)
        for id in ids:
            over(client, id)
    rows = [
        row("supervision", "no plot", [idle * 100], "% of a core"),
        row("supervision", "20 plots", [busy * 100], "% of a core"),
    ]
    return rows, [Bar("supervise_20_core_percent", (busy - idle) * 100, "<= 1")]


CASES = {"plot": plotting, "slot": slots, "parser": parser, "copy": copying, "proof": proving, "supervision": supervision}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all cases; exit code 1 where a bar is missed."""
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    given.add_argument("--quick", action="store_true", help="fewer of everything")
    given.add_argument("--json", action="store_true", help="one JSON object on standard output")
    given.add_argument("--pairs", type=int, default=PAIRS, help="of plots under the worker and bare")
    given.add_argument("--case", choices=sorted(CASES), action="append", help="only this; may be repeated")
    chosen = given.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-plots-") as name:
        cases = {**CASES, "plot": partial(plotting, pairs=chosen.pairs)}
        found = [cases[case](Path(name), quick=chosen.quick) for case in chosen.case or CASES]
    rows = [each for part in found for each in part[0]]
    bars = [each for part in found for each in part[1]]
    show("plots", rows, bars, as_json=chosen.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
