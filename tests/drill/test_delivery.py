"""Both ends of durable traffic are killed at random: what was accepted takes effect once, and soon after the last kill."""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import delivery_end
import pytest

from node.clock import SystemClock
from node.transport.keys import load_or_create

log = logging.getLogger(__name__)

CLOCK = SystemClock()
SEED = 20_261_122
DRAINED_S = 10.0
PATIENCE_S = 3.0
ROOT = Path(__file__).parents[2]


@dataclass
class End:
    """One process and what it leaves on the disk."""

    name: str
    folder: Path
    command: list[str]
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"}
        with (self.folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL, (self.folder / "stderr").read_text()[-2000:]

    def drained(self, seconds: float) -> bool:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(seconds, 0.0))
        return bool(ready) and self.process.stdout.readline() == "drained\n"

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.communicate()  # its standard input closes
            assert self.process.returncode == 0, (self.folder / "stderr").read_text()[-2000:]

    def accepted(self) -> list[int]:
        return [int(line) for line in (self.folder / "accepted").read_text().split()]

    def progress(self) -> int:
        """How many messages took effect here so far."""
        try:
            connection = sqlite3.connect(f"{(self.folder / 'node.db').as_uri()}?mode=ro", uri=True)
            try:
                return int(connection.execute("SELECT COALESCE(MAX(place), 0) FROM noted").fetchone()[0])
            finally:
                connection.close()
        except sqlite3.OperationalError:  # not made yet, or held by a writer
            return 0

    def noted(self) -> list[int]:
        connection = sqlite3.connect(self.folder / "node.db")
        rows = connection.execute("SELECT number FROM noted ORDER BY place").fetchall()
        connection.close()
        return [number for (number,) in rows]


@pytest.fixture
def ends(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    folders = {name: tmp_path / name for name in delivery_end.ENDS}
    keys = {name: load_or_create(folder / "key").public for name, folder in folders.items()}
    made = []
    for name, folder in folders.items():
        (other,) = keys.keys() - {name}
        made.append(End(name, folder, [sys.executable, delivery_end.__file__, str(folder), name, address, keys[other]]))
    yield made
    for end in made:
        if end.process is not None and end.process.poll() is None:
            end.kill()


def wait_for_effects(ends: list[End], seen: list[int]) -> None:
    """On a slow machine a storm that never lets a process come up would test nothing but starting."""
    patient_until = CLOCK.monotonic() + PATIENCE_S
    while CLOCK.monotonic() < patient_until and not any(end.progress() > then for end, then in zip(ends, seen, strict=True)):
        threading.Event().wait(0.05)


@pytest.mark.parametrize(
    "seconds", [pytest.param(12.0, marks=pytest.mark.drill_short), pytest.param(60.0, marks=pytest.mark.drill)]
)
def test_a_kill_storm_loses_no_durable_message_and_doubles_none(ends, seconds):
    chance = random.Random(SEED)
    kills: Counter[str] = Counter()
    for end in ends:
        end.start()
    stop = CLOCK.monotonic() + seconds
    while CLOCK.monotonic() < stop:
        seen = [end.progress() for end in ends]
        threading.Event().wait(chance.uniform(0.4, 1.0))
        wait_for_effects(ends, seen)
        victim = chance.choice(ends)
        victim.kill()
        kills[victim.name] += 1
        victim.start()
    last = CLOCK.monotonic()
    for end in ends:
        (end.folder / "quiet").touch()
    for end in ends:
        assert end.drained(last + DRAINED_S - CLOCK.monotonic()), (end.folder / "stderr").read_text()[-2000:]
    drained_s = CLOCK.monotonic() - last
    for end in ends:
        end.end()
    accepted = {end.name: end.accepted() for end in ends}
    for sender, receiver in (ends, ends[::-1]):
        noted = receiver.noted()
        lost = set(accepted[sender.name]) - set(noted)
        assert not lost, f"{len(lost)} of {len(accepted[sender.name])} messages of {sender.name} are lost"
        assert len(noted) == len(set(noted)), f"{len(noted) - len(set(noted))} messages of {sender.name} took effect twice"
    total = sum(map(len, accepted.values()))
    log.info("%d kills %s, %d accepted, drained in %.1f s", sum(kills.values()), dict(kills), total, drained_s)
    assert sum(kills.values()) >= seconds / 4
    assert total >= 100 * seconds / 6
