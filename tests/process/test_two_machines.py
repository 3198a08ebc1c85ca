"""Do two nodes that were never told of each other become a system with the commands of the README? Real processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from systems import until

from node.client import Client

CLOUD = """schema = 1
[node]
name = "cloud-1"
roles = ["cloud"]
data_dir = "{folder}/cloud"
assets_dir = "{assets}"
[transport]
listen = ["tcp://127.0.0.1:*"]
admit = "{admit}"
[http]
listen = "127.0.0.1:0"
"""
EDGE = """schema = 1
[node]
name = "edge-7"
roles = ["edge"]
data_dir = "{folder}/edge"
assets_dir = "{assets}"
[http]
listen = "127.0.0.1:0"
[edge]
workers = 1
"""


class Machines:
    def __init__(self, folder: Path, assets: Path, stack: ExitStack, admit: str) -> None:
        self._stack = stack
        self.cloud_file, self.edge_file = folder / "cloud.toml", folder / "edge.toml"
        self.cloud_file.write_text(CLOUD.format(folder=folder, assets=assets, admit=admit))
        self.edge_file.write_text(EDGE.format(folder=folder, assets=assets))
        said = self.up(self.cloud_file)
        self.url = re.search(r"http://[\d.]+:\d+", said)[0]
        self.address = re.search(r"peers +(tcp://\S+)", said)[1]
        self.said, self.token_file = said, folder / "cloud" / "token"
        self.client = stack.enter_context(Client(self.url, self.token_file.read_text().strip(), 10.0))

    def up(self, config: Path) -> str:
        return self._stack.enter_context(running(config))

    def ecnode(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "node", "--url", self.url, "--token-file", str(self.token_file), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def ready(self) -> set[str]:
        return {view.report.name for view in self.client.nodes() if view.state == "ready"}


@contextmanager
def running(config: Path) -> Iterator[str]:
    """A node until the end of the block; gives what it said when it opened."""
    command = [sys.executable, "-m", "node", "up", "--attached", "-c", str(config)]
    with config.with_suffix(".log").open("ab") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("ready in"):
                break
        try:
            yield said
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.fixture
def machines(tmp_path: Path, assets: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    with ExitStack() as stack:
        yield Machines(tmp_path, assets, stack, getattr(request, "param", "token"))


def test_an_edge_joins_with_a_token_and_can_be_put_out(machines: Machines) -> None:
    assert "admit by token" in machines.said
    made = machines.ecnode("token", "create", "--role", "edge", "--ttl", "1h")
    token = made.stdout.strip()
    joined = machines.ecnode("join", machines.address, "--token", token, "-c", str(machines.edge_file))
    assert (joined.returncode, joined.stdout) == (0, "edge-7 is a member of cloud-1\n")
    other = machines.edge_file.with_name("other.toml")
    other.write_text(machines.edge_file.read_text().replace("edge-7", "edge-8").replace("/edge", "/other"))
    refused = machines.ecnode("join", machines.address, "--token", token, "-c", str(other))
    assert refused.returncode in {5, 8}
    machines.up(machines.edge_file)
    until(lambda: "edge-7" in machines.ready(), 15)
    assert machines.ecnode("peers", "drain", "edge-7").returncode == 0
    (edge,) = [view for view in machines.client.nodes() if view.report.name == "edge-7"]
    assert edge.drained
    assert machines.ecnode("peers", "remove", "edge-7").returncode == 0
    until(lambda: "edge-7" not in machines.ready(), 5)


@pytest.mark.parametrize("machines", ["approve"], indirect=True)
@pytest.mark.drill_short
def test_an_edge_that_showed_a_token_joins_by_itself_once_it_is_approved(machines: Machines) -> None:
    token = machines.ecnode("token", "create", "--role", "edge").stdout.strip()
    joined = machines.ecnode("join", machines.address, "--token", token, "-c", str(machines.edge_file))
    assert joined.returncode == 8
    assert "ecnode peers approve edge-7" in joined.stderr
    machines.up(machines.edge_file)
    log = machines.edge_file.with_suffix(".log")
    until(lambda: "ecnode peers approve" in log.read_text(), 15)
    (waiting,) = json.loads(machines.ecnode("peers", "pending", "-o", "json").stdout)
    assert (waiting["name"], waiting["address"]) == ("edge-7", "127.0.0.1")
    assert waiting["fingerprint"] in log.read_text()
    assert machines.ecnode("peers", "approve", "edge-7").returncode == 0
    until(lambda: "edge-7" in machines.ready(), 10)
