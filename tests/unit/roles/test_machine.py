"""What does a node say of its machine?"""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from node.clock import SystemClock
from node.roles.shared import reporter
from node.roles.shared.reporter import Machine

CLOCK = SystemClock()


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
