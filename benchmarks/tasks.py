"""What does it cost that a task is remembered, shut in, followed and survives its node?

Ours: a node process over HTTP, each task durable before it is accepted, shut in as far as the machine can.
Theirs: a bare subprocess loop, which forgets everything; task-spooler, huey and Celery over Redis where they are installed
(`make bench-env`, Debian's task-spooler and redis-server); one that is missing is named. All run `/bin/true`, in turns.

`python benchmarks/tasks.py [--quick] [--json]`; the node's folder lies in TMPDIR.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from parts.report import Bar, Row, ratio, row, show
from parts.task_peers import Peer, peers

from node.client import Client
from node.clock import SystemClock
from node.model.task import TASK_LIFE, TaskRequest

CONFIG = """schema = 1
[node]
name = "bench"
roles = ["cloud"]
data_dir = "{folder}/data"
[transport]
listen = "tcp://127.0.0.1:*"
[http]
listen = "127.0.0.1:{port}"
[tasks]
at_once = 128
"""
CLOCK = SystemClock()
PAUSE = threading.Event()
TRUE = "/bin/true"
LINES = "import time\nfor _ in range(60): print(time.time(), flush=True); time.sleep(0.05)\n"


class Bench:
    """One node that is started, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Starts the node; the time at which it said that it is ready."""
        config = self._folder / "node.toml"
        config.write_text(CONFIG.format(folder=self._folder, port=self._port))
        command = [sys.executable, "-m", "node", "up", "--attached", "-c", str(config)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://[\d.]+:(\d+)/api", line):
                self._port = int(found[1])
            if line.startswith("ready in"):
                return CLOCK.monotonic()
        raise RuntimeError("the node did not start")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends the node."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)

    @property
    def pid(self) -> int:
        """The node's process."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> Client:
        """A connection of its own."""
        return Client(f"http://127.0.0.1:{self._port}", (self._folder / "data" / "token").read_text().strip(), 30.0)


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """A node that is ended."""
    node = Bench(folder)
    node.start()
    try:
        yield node
    finally:
        node.end()


def until_done(client: Client, id: str) -> None:
    """Follows a task to its end."""
    for _ in client.follow_task(id):
        pass


def latency(node: Bench, others: Sequence[Peer], rounds: int) -> tuple[list[Row], list[Bar]]:
    """Submit to done of one task after the other, in turns with the bare loop and the peers."""
    ours: list[float] = []
    bare: list[float] = []
    theirs: dict[str, list[float]] = {peer.name: [] for peer in others}
    with node.client() as client:
        for _ in range(rounds):
            began = CLOCK.monotonic()
            until_done(client, client.submit_task(TaskRequest(command=(TRUE,))).id)
            ours.append((CLOCK.monotonic() - began) * 1000)
            began = CLOCK.monotonic()
            subprocess.run([TRUE], check=True)
            bare.append((CLOCK.monotonic() - began) * 1000)
            for peer in others:
                theirs[peer.name].append(peer.one())
        level = str(client.tasks(limit=1).items[0].level)
    compared = ratio(ours, bare)
    rows = [row("submit to done", f"node, {level}", ours, "ms", compared), row("submit to done", "bare loop", bare, "ms")]
    rows += [row("submit to done", name, spent, "ms", ratio(spent, bare)) for name, spent in theirs.items()]
    bars = [Bar("submit_done_vs_bare", compared, "<= 8")]
    return rows, bars + [Bar(f"submit_done_vs_{name}", ratio(ours, spent), "<= 1") for name, spent in theirs.items()]


def throughput(node: Bench, others: Sequence[Peer], count: int) -> tuple[list[Row], list[Bar]]:
    """Many tasks at once from eight callers, and what they leave behind in the node."""
    with node.client() as client:
        before = footprint(node.pid)

        def some(_: int) -> None:
            with node.client() as own:
                for _ in range(count // 8):
                    own.submit_task(TaskRequest(command=(TRUE,)))

        began = CLOCK.monotonic()
        with ThreadPoolExecutor(8) as callers:
            list(callers.map(some, range(8)))
        while any(client.tasks(state, limit=1).items for state in TASK_LIFE.states if state not in TASK_LIFE.terminal):
            PAUSE.wait(0.02)
        ours = count / (CLOCK.monotonic() - began)
        after = footprint(node.pid)
    began = CLOCK.monotonic()
    for _ in range(count):
        subprocess.run([TRUE], check=True)
    bare = count / (CLOCK.monotonic() - began)
    rows = [
        row("throughput", "node", [ours], "tasks/s", ours / bare),
        row("throughput", "bare loop", [bare], "tasks/s"),
        *(row("throughput", peer.name, [rate := peer.many(count)], "tasks/s", rate / bare) for peer in others),
        row("left behind", "descriptors", [after[0] - before[0]], "more"),
        row("left behind", "zombies", [after[1]], ""),
        row("left behind", "memory", [after[2] - before[2]], "MiB more"),
    ]
    return rows, [Bar("throughput_vs_bare", ours / bare, ">= 0.45"), Bar("zombies", after[1], "<= 0")]


def footprint(pid: int) -> tuple[int, int, float]:
    """Open descriptors, children that nobody has reaped, and MiB in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    children = subprocess.run(["ps", "--ppid", str(pid), "-o", "stat="], check=False, capture_output=True, text=True).stdout
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), children.count("Z"), resident


def log_line(node: Bench, followers: int) -> tuple[list[Row], list[Bar]]:
    """From the print of a line to its follower."""
    late: list[float] = []
    with node.client() as client:
        task = client.submit_task(TaskRequest(script=LINES))

    def follow() -> None:
        with node.client() as own:
            for event in own.follow_task(task.id):
                now = CLOCK.wall()
                if event.event == "log":
                    late.extend((now - float(line)) * 1000 for line in str(event.data["text"]).split())

    threads = [threading.Thread(target=follow) for _ in range(followers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p95 = quantiles(late, n=20)[-1]
    return [row("log line", f"{followers} followers", late, "ms")], [Bar("log_p95_ms", p95, "<= 100")]


def readoption(node: Bench, count: int) -> tuple[list[Row], list[Bar]]:
    """Running tasks found again after a kill of the node: same processes, none lost, none doubled."""
    with node.client() as client:
        ids = [client.submit_task(TaskRequest(command=("sleep", "120"))).id for _ in range(count)]
        wait_running(client, count)
        shims = identities(node, ids)
    node.end(signal.SIGKILL)
    ready = node.start()
    with node.client() as client:
        wait_running(client, count)
        took = CLOCK.monotonic() - ready
        same = float(identities(node, ids) == shims)
        for id in ids:
            client.stop_task(id)
        for id in ids:
            until_done(client, id)
    rows = [row("re-adoption", f"{count} running tasks", [took * 1000], "ms after ready")]
    return rows, [Bar(f"readopt_{count}_s", took, "<= 1"), Bar("readopted_are_the_same", same, ">= 1")]


def identities(node: Bench, ids: Sequence[str]) -> list[str]:
    """The processes that hold the tasks."""
    return [(node._folder / "data" / "tasks" / id / "1.1" / "identity").read_text() for id in ids]


def wait_running(client: Client, count: int) -> None:
    """Returns once so many programs run."""
    while not re.search(rf"^\w*tasks_running {float(count)}$", client.metrics(), re.MULTILINE):
        PAUSE.wait(0.01)


def main() -> int:
    """Runs all cases; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-tasks-") as name:
        with bench(Path(name)) as node:
            with peers(Path(name)) as (others, missing):
                found = [
                    latency(node, others, 20 if chosen.quick else 100),
                    throughput(node, others, 200 if chosen.quick else 1000),
                ]
            found += [log_line(node, 10 if chosen.quick else 50), readoption(node, 20 if chosen.quick else 100)]
        for sentence in missing:
            print(sentence, file=sys.stderr)
        rows = [each for part in found for each in part[0]]
        bars = [each for part in found for each in part[1]]
    show("tasks", rows, bars, as_json=chosen.json)
    return 0 if all(bar.holds for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
