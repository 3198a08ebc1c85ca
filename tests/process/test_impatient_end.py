"""Whoever asks a node to end twice gets the same clean end, and a service manager hears of both the beginning and the end."""

from __future__ import annotations

import os
import signal
import socket
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
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    command = [sys.executable, "-m", "node", "up", "--attached", "-c", str(config)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with manager, subprocess.Popen(command, **pipes, text=True, env=environment) as node:
        assert any(line.startswith("ready in") for line in node.stdout)
        impatient = threading.Event()
        while node.poll() is None:
            node.send_signal(number)
            impatient.wait(0.02)
        assert node.returncode == 0
        assert manager.recv(4096).startswith(b"READY=1\nSTATUS=one is open: http://127.0.0.1:")
        assert manager.recv(4096) == b"STOPPING=1"
