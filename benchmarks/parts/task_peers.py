"""Which other task queues are installed here, and how are they asked?"""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from node.clock import SystemClock

PYTHON: Final = Path(__file__).resolve().parents[2] / ".venv-bench" / "bin" / "python"
SIDE: Final = Path(__file__).with_name("task_side.py")
CLOCK: Final = SystemClock()
READY_S: Final = 30.0
TRUE: Final = "/bin/true"


class Peer(ABC):
    """A task queue with two workers."""

    name: str

    @abstractmethod
    def one(self) -> float:
        """Milliseconds from the submit of a task to its end."""

    @abstractmethod
    def many(self, count: int) -> float:
        """Tasks a second."""


class Spooler(Peer):
    """task-spooler: a server in C that a command talks to; it forgets everything with its server."""

    name = "task-spooler"

    def __init__(self, command: str, folder: Path) -> None:
        self._command = command
        self._environment = {**os.environ, "TS_SOCKET": str(folder / "spooler"), "TMPDIR": str(folder)}
        self._call("-S", "2")

    def _call(self, *words: str) -> str:
        done = subprocess.run([self._command, *words], check=False, capture_output=True, text=True, env=self._environment)
        return done.stdout.strip()

    def one(self) -> float:
        began = CLOCK.monotonic()
        self._call("-w", self._call(TRUE))
        return (CLOCK.monotonic() - began) * 1000

    def many(self, count: int) -> float:
        began = CLOCK.monotonic()
        last = [self._call(TRUE) for _ in range(count)][-2:]
        for each in last:  # two at once, in turn: with these all are over
            self._call("-w", each)
        return count / (CLOCK.monotonic() - began)

    def close(self) -> None:
        """Ends its server."""
        self._call("-K")


class Queue(Peer):
    """A queue in Python over Redis; its client is a process of its own, as its worker is."""

    def __init__(self, name: str, place: Path, exits: ExitStack) -> None:
        self.name = f"{name} + Redis"
        begin = [str(PYTHON), str(SIDE), name]
        exits.enter_context(_process([*begin, "serve", str(place)]))
        self._asker = exits.enter_context(_process([*begin, "ask", str(place)]))
        self.one()  # its worker is there

    def one(self) -> float:
        return self._ask("one")

    def many(self, count: int) -> float:
        return self._ask(f"many {count}")

    def _ask(self, order: str) -> float:
        assert self._asker.stdin is not None
        assert self._asker.stdout is not None
        self._asker.stdin.write(f"{order}\n")
        self._asker.stdin.flush()
        return float(self._asker.stdout.readline())


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def peers(folder: Path) -> Iterator[tuple[list[Peer], list[str]]]:
    """Those that are installed, and a sentence for each that is not."""
    found: list[Peer] = []
    missing: list[str] = []
    with ExitStack() as exits:
        spooler = next((path for name in ("tsp", "ts") if (path := shutil.which(name))), None)
        if spooler is None:
            missing.append("task-spooler is not installed (Debian: task-spooler)")
        else:
            found.append(Spooler(spooler, folder))
            exits.callback(found[0].close)  # type: ignore[attr-defined]
        redis = shutil.which("redis-server")
        if redis is None:
            missing.append("redis-server is not installed: neither huey nor Celery is measured")
        else:
            place = folder / "redis"
            exits.enter_context(_process([redis, "--port", "0", "--unixsocket", str(place), "--save", ""]))
            for name in ("huey", "celery"):
                if _importable(name):
                    found.append(Queue(name, place, exits))
                else:
                    missing.append(f"{name} is not installed: make bench-env")
        yield found, missing


def _importable(name: str) -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", f"import {name}, redis"], check=False, capture_output=True).returncode == 0
