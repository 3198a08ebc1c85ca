"""Two consoles and the third node between them, as real processes, each with a database of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from node.cli.system import free_doors
from node.transport.keys import load_or_create

CONFIG = """schema = 1
[node]
name = "{name}"
roles = ["federated"]
data_dir = "{folder}/data"
[transport]
listen = ["tcp://127.0.0.1:{port}"]
join = {join}
heartbeat = "500ms"
suspect_after = "1500ms"
dead_after = "5s"
{allow}
[http]
listen = "127.0.0.1:{http}"
[federated]
{federated}
"""
ALLOW = """[[transport.allow]]
name = "{name}"
key = "{key}"
roles = ["federated"]
address = "tcp://127.0.0.1:{port}"
"""
CONSOLE = """[federated.console]
url = "{url}"
[[federated.console.peers]]
url = "{other}"
near = true
"""
NAMES = ("bank-a", "bank-b", "third")


@dataclass
class Member:
    name: str
    folder: Path
    port: int
    http: int
    key: str
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def console(self) -> str:
        return f"{self.url}/compat/efls"

    @property
    def token(self) -> str:
        return (self.folder / "data" / "token").read_text().strip()

    @property
    def data_root(self) -> Path:
        return self.folder / "data" / "federated"

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "node", "up", "--attached", "-c", str(self.folder / "node.toml")]
        with (self.folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready in"):
                return
        raise AssertionError((self.folder / "stderr").read_text())

    def end(self, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(10)
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None

    def ask(self, method: str, path: str, body: object = None, base: str = "/compat/efls", **headers: str) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"{self.url}{base}{path}", content, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return json.load(refused)


class Banks:
    """Two sides with a console each, and the node that is main client and producer for both."""

    def __init__(self, root: Path) -> None:
        found = free_doors(6)
        doors, https = found[:3], found[3:]
        self.members = {}
        for place, name in enumerate(NAMES):
            folder = root / name
            folder.mkdir(mode=0o700)
            key = load_or_create(folder / "data" / "identity.key").public
            self.members[name] = Member(name, folder, doors[place], https[place], key)
        self.a, self.b, self.third = self.members.values()
        for place, member in enumerate(self.members.values()):
            (member.folder / "node.toml").write_text(self._config(member, NAMES[:place]))

    def _config(self, member: Member, before: tuple[str, ...]) -> str:
        others = [other for other in self.members.values() if other is not member]
        if member.name == "third":
            settings = 'capabilities = ["main_client", "crypto_producer"]\napprove = "allow-list"\nallow = ["bank-a", "bank-b"]'
        else:
            other = self.b if member.name == "bank-a" else self.a
            settings = CONSOLE.format(url=member.console, other=other.console)
        return CONFIG.format(
            name=member.name,
            folder=member.folder,
            port=member.port,
            http=member.http,
            join=json.dumps([f"tcp://127.0.0.1:{self.members[name].port}" for name in before]),
            allow="".join(ALLOW.format(name=each.name, key=each.key, port=each.port) for each in others),
            federated=settings,
        )

    def start(self) -> None:
        threads = [threading.Thread(target=member.start) for member in self.members.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert all(member.process is not None for member in self.members.values())

    def stop(self) -> None:
        for member in self.members.values():
            member.end()

    def share_out(self, features: np.ndarray, truth: np.ndarray) -> None:
        """The features to the first side, the truth to the second, each in an order and with gaps of its own."""
        random = np.random.default_rng(11)
        tables = ((self.a, [f"x{place}" for place in range(features.shape[1])], features), (self.b, ["benign"], truth[:, None]))
        for member, names, values in tables:
            member.data_root.mkdir(exist_ok=True)
            with (member.data_root / "cells.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["patient", *names])
                for row in random.permutation(len(values))[:550]:
                    writer.writerow([f"p{row}", *map(float, values[row])])
