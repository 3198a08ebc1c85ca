"""Who belongs to a run, and who never does?"""

from __future__ import annotations

import os
import subprocess
import sys

from node.roles.shared.runner.tree import Tree


def test_a_run_without_a_shim_whose_cgroup_has_gone_has_nobody_left() -> None:
    # to end what is left of it must never mean to end the machine's other processes
    assert Tree(0, "/sys/fs/cgroup/ecnode-that-has-gone").pids() == []
    assert Tree(0).pids() == []


def test_without_a_cgroup_a_run_is_whoever_descends_from_its_shim() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in Tree(os.getpid()).pids()
        assert os.getppid() not in Tree(os.getpid()).pids()
        child.communicate(b"\n")
