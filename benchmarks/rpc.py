"""How near is a node's transport to bare sockets, and how far ahead of what is usual?

Every side is two processes, a server and one that asks; all sides take turns in every round, so that the ratios hold while the
machine's speed drifts. Ours is the transport as it ships: typed and validated, CURVE, heartbeats, deadlines. The others carry
the same bytes without security, but where `curve` stands. What each case is, `parts/side.py` says.

`python benchmarks/rpc.py [--quick] [--json]`. grpc and Flask run where `make bench-env` installed them; a missing one is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from parts.report import Bar, Row, ratio, row, show

ROOT: Final = Path(__file__).parent
PEERS: Final = ROOT.parent / ".venv-bench" / "bin" / "python"
ASK_S: Final = 60.0
CASES: Final = {
    "small": ("node_side", "pyzmq_side:sync", "pyzmq_side:async", "pyzmq_side:sync-curve", "grpc_side"),
    "single": ("node_side", "pyzmq_side:sync", "pyzmq_side:async", "grpc_side"),
    "oneway": ("node_side", "pyzmq_side:async"),
    "frame": ("node_side", "pyzmq_side:sync-curve", "pyzmq_side:sync", "grpc_side", "http_side"),
    "big": ("node_side", "pyzmq_side:sync-curve", "pyzmq_side:sync", "grpc_side"),
}
UNIT: Final = dict.fromkeys(CASES, "calls/s") | {"single": "µs", "oneway": "notes/s"}
OURS: Final = "node_side"

Found = Mapping[str, Mapping[str, list[dict[str, float]]]]
"""By case and side, what each round found."""


class Side:
    """A running pair of processes."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        python = PEERS if name.startswith(("grpc", "http")) else Path(sys.executable)
        self._server = stack.enter_context(_running([str(python), str(ROOT / "parts" / "side.py"), name, "serve"]))
        address = _line(self._server).strip()
        self._asker = stack.enter_context(_running([str(python), str(ROOT / "parts" / "side.py"), name, "ask", address]))

    def carry_out(self, case: str, seconds: float) -> dict[str, float]:
        """What the asker found."""
        if self._asker.stdin is None:
            raise RuntimeError("the asker has no input")
        self._asker.stdin.write(f"{case} {seconds}\n")
        self._asker.stdin.flush()
        found: dict[str, float] = json.loads(_line(self._asker))
        return found


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"{' '.join(map(str, process.args))} ended")  # type: ignore[arg-type]
    return line


def missing() -> set[str]:
    """The sides that cannot run here, each named on stderr."""
    found = set()
    for side, package in (("grpc_side", "grpc"), ("http_side", "flask")):
        if (
            not PEERS.exists()
            or subprocess.run([str(PEERS), "-c", f"import {package}"], check=False, capture_output=True).returncode
        ):
            print(f"{package} is not installed: run `make bench-env` to compare with it", file=sys.stderr)
            found.add(side)
    return found


def measure(rounds: int, seconds: float) -> Found:
    """All cases of all sides, in turns."""
    absent = missing()
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for case, names in CASES.items():
        with ExitStack() as stack:
            sides = {name: Side(name, stack) for name in names if name not in absent}
            for side in sides.values():
                side.carry_out(case, seconds / 4)  # warm
            found[case] = {name: [] for name in sides}
            for _ in range(rounds * (3 if case == "single" else 1)):
                for name, side in sides.items():
                    found[case][name].append(side.carry_out(case, seconds / (3 if case == "single" else 1)))
    return found


def report(found: Found) -> tuple[list[Row], list[Bar]]:
    """The table, and what was promised."""

    def values(case: str, side: str, what: str = "rate") -> list[float]:
        return [each[what] for each in found[case][side]]

    rows = []
    for case, sides in found.items():
        what = "p50_us" if case == "single" else "rate"
        for side in sides:
            compared = None if side == OURS else ratio(values(case, OURS, what), values(case, side, what))
            rows.append(row(case, side.replace("_side", ""), values(case, side, what), UNIT[case], compared))
        if case != "oneway":
            rows.append(row(f"{case} p99", "node", values(case, OURS, "p99_us"), "µs"))
    wanted = [
        ("rpc_small_vs_zmq_asyncio", "small", "pyzmq_side:async", "rate", ">= 3"),
        ("rpc_small_vs_grpc_aio", "small", "grpc_side", "rate", ">= 8"),
        ("rpc_small_vs_sync_pyzmq", "small", "pyzmq_side:sync", "rate", ">= 0.8"),
        ("rpc_single_p50_vs_grpc_aio", "single", "grpc_side", "p50_us", "<= 0.6"),
        ("oneway_vs_zmq_asyncio", "oneway", "pyzmq_side:async", "rate", ">= 6"),
        ("frame_100kb_vs_sync_pyzmq", "frame", "pyzmq_side:sync-curve", "rate", ">= 0.8"),
        ("frame_100kb_vs_grpc_aio", "frame", "grpc_side", "rate", ">= 3.5"),
        ("frame_100kb_vs_http_text", "frame", "http_side", "rate", ">= 45"),
        ("big_1mb_vs_sync_pyzmq", "big", "pyzmq_side:sync-curve", "rate", ">= 1.1"),
    ]
    bars = [
        Bar(name, ratio(values(case, OURS, what), values(case, side, what)), bound)
        for name, case, side, what, bound in wanted
        if side in found[case]
    ]
    plain, curve = values("small", "pyzmq_side:sync"), values("small", "pyzmq_side:sync-curve")
    bars.append(Bar("curve_small_vs_plain", median(c / p for c, p in zip(curve, plain, strict=True)), ">= 0.8"))
    return rows, bars


def main() -> None:
    """Runs the benchmark; a missed bar is shown, it is no failure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    rows, bars = report(measure(*((3, 0.6) if chosen.quick else (7, 1.5))))
    show("rpc", rows, bars, as_json=chosen.json)


if __name__ == "__main__":
    main()
