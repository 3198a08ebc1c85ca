"""One real node, a process of its own, with nobody else in its system."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from systems import until

from node.client import Client

# with a source its POST example is a request that it can take
CONFIG = """schema = 1
[node]
name = "edge-1"
roles = ["cloud", "edge", "federated"]
data_dir = "{folder}/data"
assets_dir = "{assets}"
[transport]
listen = ["tcp://127.0.0.1:*"]
[http]
listen = "127.0.0.1:0"
[federated.console]
url = "http://console.example/compat/efls"
[edge]
workers = 1
[edge.sources.lobby]
url = "{assets}/bikes.mp4"
loop = true
"""


@dataclass(frozen=True)
class LoneNode:
    address: str
    token: str
    pid: int


@contextmanager
def lone_node(folder: Path, assets: Path) -> Iterator[LoneNode]:
    """Cloud, edge and console in one, with its services measured, and ended as a user would end it."""
    config = folder / "node.toml"
    config.write_text(CONFIG.format(folder=folder, assets=assets))
    command = [sys.executable, "-m", "node", "up", "--attached", "-c", str(config)]
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("ready in"):
                break
        found = re.search(r"http://([\d.]+:\d+)/api", told)
        assert found, (folder / "stderr").read_text()
        try:
            node = LoneNode(found[1], (folder / "data" / "token").read_text().strip(), process.pid)
            with Client(f"http://{node.address}", node.token, 10.0) as client:
                until(lambda: client.node().report.services, 60)
            yield node
        finally:
            process.send_signal(signal.SIGINT)
            ended = process.wait(10)
    assert ended == 0
