"""Whoever asks a node to end twice gets the same clean end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_spoil_the_exit_code(tmp_path, number):
    config = tmp_path / "node.toml"
    config.write_text(
        f"schema = 1\n[node]\nname = 'one'\nroles = ['cloud']\ndata_dir = '{tmp_path}/data'\n"
        "[transport]\nlisten = ['tcp://127.0.0.1:*']\n[http]\nlisten = '127.0.0.1:0'\n"
    )
    command = [sys.executable, "-m", "node", "up", "--attached", "-c", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as node:
        assert any(line.startswith("ready in") for line in node.stdout)
        impatient = threading.Event()
        while node.poll() is None:
            node.send_signal(number)
            impatient.wait(0.02)
        assert node.returncode == 0
