"""What does a node say of its machine?"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from node.clock import SystemClock
from node.roles.shared import reporter
from node.roles.shared.reporter import Machine

CLOCK = SystemClock()


def test_the_run_queue_counts_the_threads_of_others_and_not_those_of_this_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load = tmp_path / "loadavg"
    monkeypatch.setattr(reporter, "LOAD", load)
    monkeypatch.setattr(reporter, "RUNNING_S", 1e-9)  # no mean
    machine = Machine(CLOCK)
    monkeypatch.setattr(machine, "_children", list)
    load.write_text("0.20 0.18 0.12 41/800 11206\n")
    assert machine._others_running() == 40
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            monkeypatch.setattr(machine, "_children", lambda: [child.pid])
            while (seen := machine._others_running()) != 39:
                assert seen == 40, "the child has not begun yet"
        finally:
            child.kill()
    load.write_text("nothing of the kind\n")
    assert machine._others_running() == 0


def test_what_this_node_and_its_children_take_is_not_the_load_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "FRESH", 0.0)
    machine = Machine(CLOCK)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            machine.figures()
            before, began, ours = machine._own_cpu_s(), CLOCK.monotonic(), time.process_time()
            while time.process_time() - ours < 0.15 or psutil.Process(child.pid).cpu_times().user < 0.1:
                pass
            spent, ours, seconds = machine._own_cpu_s() - before, time.process_time() - ours, CLOCK.monotonic() - began
            figures = machine.figures()
        finally:
            child.kill()
    assert spent > ours + 0.05, "the child was not counted"
    share = spent / (seconds * machine.cores)
    assert figures["others_fraction"] == pytest.approx(max(figures["cpu_fraction"] - share, 0.0), abs=0.15)
