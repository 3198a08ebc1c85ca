"""How does a whole system of real nodes come up on one machine, and go away without a trace?

Keys, configs and data live in a temporary folder. Each node is a process of its own, started by the command that a user
would type; it ends when this process ends, however that happens, because its standard input closes.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from node import rundir
from node.errors import ChildLost, Unavailable
from node.transport.keys import load_or_create

STOP_S: Final = 5.0
SAID_CHARACTERS: Final = 2000
DIGITS: Final = "mnist_5k.csv.gz"  # an asset: what the edges have of their own
CLOUD: Final = "cloud-1"
_DOORS: Final = range(20_000, 32_000, 2)
_TRIES: Final = 500
# Public halves of throw-away pairs, from 32 bytes of 1 and of 2: whoever knows that can farm what is plotted under them.
FARMER: Final = "aefe1789d6476f60439e1168f588ea16652dc321279f05a805fbc63933e88ae9c175d6c6ab182e54af562e1a0dce41bb"
POOL: Final = "b6144137baa6440c17386d1a407fb3670d3b3627b4fa8bf4b56433f861eaba4e076cefac1d9365de56a0e5d976ad7354"


@dataclass(frozen=True, slots=True)
class Source:
    """A clip that stands for a camera."""

    name: str
    clip: Path
    kind: str
    loop: bool = True


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly nodes miss each other, in seconds; the defaults are those of a config that says nothing."""

    heartbeat: float = 2.0
    suspect_after: float = 6.0
    dead_after: float = 20.0


@dataclass(slots=True)
class _Member:
    name: str
    role: str
    folder: Path
    peer_port: int
    http_port: int
    key: str
    process: subprocess.Popen[str] | None = None


class LocalSystem:
    """A cloud, edges, talents and parties of private sessions on loopback; a context manager that ends and removes all of it.

    `cloud_http` is the port of the cloud's API, where it is free. The talents plot small plots under throw-away keys; `talent`
    are further lines of their [talent] section, `tasks` are those of every node's [tasks].
    """

    def __init__(
        self,
        edges: int,
        sources: Sequence[Source],
        assets: Path,
        *,
        parties: int = 0,
        approve: str = "manual",
        pace: Pace = Pace(),
        cloud_http: int | None = None,
        talents: int = 0,
        talent: str = "",
        tasks: str = "",
    ) -> None:
        self._stack = ExitStack()
        self._root = Path(tempfile.mkdtemp(prefix="ecnode-"))
        self._stack.callback(shutil.rmtree, self._root, ignore_errors=True)
        self._sources = tuple(sources)
        self._assets = assets
        self._pace = pace
        self._approve = approve
        self._talent = talent
        self._tasks = tasks
        names = [(CLOUD, "cloud")] + [(f"edge-{number}", "edge") for number in range(1, edges + 1)]
        names += [(f"talent-{number}", "talent") for number in range(1, talents + 1)]
        names += [(party_name(number), "federated") for number in range(1, parties + 1)]
        doors, ports = free_doors(len(names)), _free_ports(len(names))
        self._members = [self._member(name, role, doors[place], ports[place]) for place, (name, role) in enumerate(names)]
        if cloud_http is not None and _is_free(cloud_http):
            self._members[0].http_port = cloud_http

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes, the cloud first."""
        return tuple(member.name for member in self._members)

    @property
    def folder(self) -> Path:
        """The temporary folder of the whole system; gone when it stops."""
        return self._root

    def data_root(self, name: str) -> Path:
        """The folder that sessions read and write below at a node."""
        return self._find(name).folder / "data" / "federated"

    def url(self, name: str = CLOUD) -> str:
        """Where a node's API answers."""
        return f"http://127.0.0.1:{self._find(name).http_port}"

    def token_file(self, name: str = CLOUD) -> Path:
        """The file with a node's token."""
        return self._find(name).folder / "data" / "token"

    def pid(self, name: str) -> int:
        """The process id of a node."""
        process = self._find(name).process
        if process is None:
            raise ChildLost(f"'{name}' was not started")
        return process.pid

    def log_folder(self, name: str) -> Path:
        """Where a node keeps its log."""
        return self._find(name).folder / "data" / "log"

    def ended(self) -> dict[str, int]:
        """The nodes that were started and run no more, each with its exit code; a signal's is negative."""
        codes = {member.name: member.process.poll() for member in self._members if member.process is not None}
        return {name: code for name, code in codes.items() if code is not None}

    def start(self) -> None:
        """Starts every node; returns once each has opened its doors.

        Raises:
            Unavailable: a node did not come up; its last log lines are in the message.
        """
        try:
            for member in self._members:
                self._launch(member)
            for member in self._members:
                self._wait_open(member)
        except BaseException:
            self.stop()
            raise

    def kill(self, name: str) -> None:
        """Ends a node as a power cut would."""
        process = self._find(name).process
        if process is not None:
            process.kill()
            process.wait()
            _close_pipes(process)

    def restart(self, name: str) -> None:
        """Starts a node that has ended, on its old data."""
        member = self._find(name)
        self._launch(member)
        self._wait_open(member)

    def stderr(self, name: str) -> str:
        """What a node wrote to its standard error so far: its log."""
        return (self._find(name).folder / "stderr").read_text(errors="replace")

    def stop(self) -> tuple[int, ...]:
        """Ends every node and removes the folder; the exit codes. Harmless when repeated."""
        running = [member.process for member in self._members if member.process is not None]
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        codes = tuple(_wait(process) for process in running)
        for member in self._members:
            if member.process is not None:
                rundir.forget(member.name, member.process.pid)  # of a node that was killed
        for process in running:
            _close_pipes(process)
        self._stack.close()
        return codes

    def _roles(self, member: _Member) -> str:
        """With parties the cloud coordinates their sessions."""
        coordinates = member.role == "cloud" and any(other.role == "federated" for other in self._members)
        return '"cloud", "federated"' if coordinates else f'"{member.role}"'

    def _find(self, name: str) -> _Member:
        return next(member for member in self._members if member.name == name)

    def _member(self, name: str, role: str, peer_port: int, http_port: int) -> _Member:
        folder = self._root / name
        folder.mkdir(mode=0o700)
        key = load_or_create(folder / "data" / "identity.key").public
        return _Member(name, role, folder, peer_port, http_port, key)

    def _launch(self, member: _Member) -> None:
        config = member.folder / "node.toml"
        config.write_text(self._config(member))
        with (member.folder / "stderr").open("ab") as stderr:
            member.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "node", "up", "--dev", "--attached", "-c", str(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )

    def _wait_open(self, member: _Member) -> None:
        process = member.process
        if process is None or process.stdout is None:
            raise ChildLost(f"'{member.name}' was not started")
        for line in process.stdout:
            if line.startswith("ready in"):
                return
        _wait(process)
        said = self.stderr(member.name)[-SAID_CHARACTERS:]
        raise Unavailable(f"'{member.name}' ended with exit code {process.returncode} before it was ready: {said}")

    def _config(self, member: _Member) -> str:
        place = self._members.index(member)
        # each node dials the ones before it, so that any two have a direct link and only one side of it dials
        dialled = [f'"{_address(other)}"' for other in self._members[:place]]
        lines = [
            "schema = 1",
            "[node]",
            f'name = "{member.name}"',
            f"roles = [{self._roles(member)}]",
            f"data_dir = '{member.folder / 'data'}'",
            f"assets_dir = '{self._assets}'",
            "[transport]",
            f'listen = ["{_address(member)}"]',
            f"join = [{', '.join(dialled)}]",
            f"heartbeat = {self._pace.heartbeat}",
            f"suspect_after = {self._pace.suspect_after}",
            f"dead_after = {self._pace.dead_after}",
        ]
        for other in self._members:
            if other is not member:
                lines += [
                    "[[transport.allow]]",
                    f'name = "{other.name}"',
                    f"key = '{other.key}'",
                    f"roles = [{self._roles(other)}]",
                    f'address = "{_address(other)}"',
                ]
        lines += ["[http]", f'listen = "127.0.0.1:{member.http_port}"', "[edge]", "workers = 1"]
        lines += ["[tasks]", self._tasks] if self._tasks else []
        lines += ["[federated]", f'approve = "{self._approve}"']
        if member.role == "edge":
            lines += ["[tasks.own]", f"digits = '{self._assets / DIGITS}'"]
            for source in self._sources:
                lines += [
                    f"[edge.sources.{source.name}]",
                    f"url = '{source.clip}'",
                    f'kind = "{source.kind}"',
                    f"loop = {str(source.loop).lower()}",
                ]
        if member.role == "talent":
            lines += self._plotting(member)
        return "\n".join(lines) + "\n"

    def _plotting(self, member: _Member) -> list[str]:
        places = {use: member.folder / use for use in ("cache", "plots")}
        for folder in places.values():
            folder.mkdir(exist_ok=True)
        return [
            "[talent]",
            *(line for line in ('stagger = "0s"', "max_parallel = 2") if line.split()[0] not in self._talent),
            *([self._talent] if self._talent else []),
            "[[talent.cache]]",
            f"path = '{places['cache']}'",
            "[[talent.destination]]",
            f"path = '{places['plots']}'",
            "[talent.defaults]",
            "ksize = 18",
            "threads = 1",
            "buffer_mib = 100",
            f'fpk = "{FARMER}"',
            f'ppk = "{POOL}"',
        ]


def party_name(number: int) -> str:
    """What the nodes that play parties are called."""
    return f"party-{number}"


def _address(member: _Member) -> str:
    return f"tcp://127.0.0.1:{member.peer_port}"


def _close_pipes(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _wait(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def free_doors(count: int) -> list[int]:
    """Ports for peers' doors: each is free, and the next one as well, which is the data lane's.

    They are below those that the system gives to outgoing connections, one of which may come to sit beside a door.

    Raises:
        Unavailable: hardly any port can be bound.
    """
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(found) == count:
                return found
            port = secrets.choice(_DOORS)
            with suppress(OSError):
                for place in (port, port + 1):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", place))
                found.append(port)
    raise Unavailable(f"no {count} pairs of free ports between {_DOORS.start} and {_DOORS.stop}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
