"""Will this config run on this machine? Every check looks and tells; none changes anything."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import psutil

from node import assets
from node.clock import Clock, rfc3339
from node.config import NodeConfig
from node.config.address import Address, http_address, peer_address
from node.errors import ConfigInvalid, EcnodeError
from node.model.plot import Plotter
from node.pipeline.plot.plotters import find_program, missing_text
from node.pipeline.video.planner.loading import load_scheduler
from node.transport.keys import load_or_create

Level: TypeAlias = Literal["fail", "warn", "ok"]

DISK_FAIL_BYTES: Final = 100 * 2**20
DISK_WARN_BYTES: Final = 2**30
CONNECT_SECONDS: Final = 3.0
CLOCK_SLACK_SECONDS: Final = 60.0
_DIALS_AT_ONCE: Final = 8
_STREAM_PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw."""

    level: Level
    check: str
    text: str


def preflight(config: NodeConfig, files: Sequence[Path], clock: Clock) -> Iterator[Finding]:
    """All checks of a valid config, cheap ones first."""
    yield from _build(config)
    yield from _ports(config)
    yield from _identity(config)
    yield from _disk(config)
    yield from _clock(files, clock)
    yield from _assets(config)
    yield from _sources(config)
    yield from _peers(config, clock)


def _build(config: NodeConfig) -> Iterator[Finding]:
    """Whether this release has the scheduler, and the plotter of a talent can run."""
    try:
        if "cloud" in config.node.roles:
            load_scheduler(config.cloud.scheduler)
    except ConfigInvalid as error:
        yield from (Finding("fail", "config", f"{problem.path}: {problem.message}") for problem in error.problems)
    plotter = Plotter(config.talent.plotter)
    if "talent" in config.node.roles and find_program(plotter, config.talent.command) is None:
        yield Finding("fail", "plotter", missing_text(plotter, config.talent.command))


def _ports(config: NodeConfig) -> Iterator[Finding]:
    doors = [peer_address(text) for text in config.transport.listen]
    data = [replace(door, port=door.port + 1) for door in doors if door.port]
    for address in [*(http_address(text) for text in config.http.listen), *doors, *data]:
        if address.scheme != "ipc" and address.port and (fault := _bind_fault(address)):
            yield Finding("fail", "port", fault)


def _bind_fault(address: Address) -> str | None:
    """Why the address cannot be bound now; None where it can."""
    host = "0.0.0.0" if address.host == "*" else address.host  # noqa: S104 - what the config asks for
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except socket.gaierror as error:
        return f"{address.host}: {error.strerror}"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"{address.port} is held by {_holder(address.port)}"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{address.host} is not an address of this machine"
        return f"{address.port} cannot be bound: {error.strerror}"
    return None


def _holder(port: int) -> str:
    try:
        listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        pid = next((each.pid for each in listening if each.laddr and each.laddr.port == port), None)
        return f"{psutil.Process(pid).name()} (pid {pid})" if pid else "a process of another user"
    except psutil.Error:
        return "another process"


def _identity(config: NodeConfig) -> Iterator[Finding]:
    file = config.identity_file
    if not file.exists():
        yield Finding("warn", "identity", f"{file} is not there yet; `ecnode init` or the first `ecnode up` makes it")
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        yield Finding("fail", "identity", f"{file} has mode {mode:04o}, others can read the key: chmod 600 {file}")
        return
    try:
        yield Finding("ok", "identity", load_or_create(file).fingerprint)
    except EcnodeError as error:
        yield Finding("fail", "identity", error.message)


def _disk(config: NodeConfig) -> Iterator[Finding]:
    folder = next(place for place in (config.node.data_dir, *config.node.data_dir.parents) if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            "fail", "disk", f"node.data_dir {config.node.data_dir} cannot be written: {folder} is not a folder of this user"
        )
        return
    free = psutil.disk_usage(str(folder)).free
    level: Level = "fail" if free < DISK_FAIL_BYTES else "warn" if free < DISK_WARN_BYTES else "ok"
    amount = f"{free / 2**30:.0f} GiB" if free >= 10 * 2**30 else f"{free / 2**20:.0f} MiB"
    yield Finding(level, "disk", amount if level == "ok" else f"only {amount} free in {folder}")


def _clock(files: Sequence[Path], clock: Clock) -> Iterator[Finding]:
    """A clock behind the newest of these files was set back, or never set."""
    newest = max((file.stat().st_mtime for file in (Path(__file__), *files) if file.exists()), default=0.0)
    now = clock.wall()
    if now < newest - CLOCK_SLACK_SECONDS:
        yield Finding("fail", "clock", f"it is {rfc3339(now)} here, but a file was written at {rfc3339(newest)}: set the clock")
    else:
        yield Finding("ok", "clock", rfc3339(now))


def _assets(config: NodeConfig) -> Iterator[Finding]:
    absent = assets.missing(config.node.assets_dir)
    if absent:
        level: Level = "fail" if "edge" in config.node.roles else "warn"
        yield Finding(level, "assets", f"{', '.join(absent)} not in {config.node.assets_dir}: `ecnode assets fetch` gets them")
    else:
        yield Finding("ok", "assets", "all there")


def _sources(config: NodeConfig) -> Iterator[Finding]:
    for name, source in config.edge.sources.items():
        parts = urlsplit(source.url)
        if parts.scheme in _STREAM_PORTS and parts.hostname:
            fault = _dial(parts.hostname, parts.port or _STREAM_PORTS[parts.scheme])
            if fault:
                yield Finding("warn", "source", f"{name}: no answer from {parts.hostname}: {fault}")
            continue
        file = Path(
            f"/dev/video{source.url}" if source.url.isdecimal() else unquote(parts.path) if parts.scheme else source.url
        )
        file = file.expanduser()
        if not file.exists():
            yield Finding("fail", "source", f"{name}: there is no {file}")
        elif not os.access(file, os.R_OK):
            yield Finding("fail", "source", f"{name}: {file} may not be read")


def _peers(config: NodeConfig, clock: Clock) -> Iterator[Finding]:
    addresses = [(text, peer_address(text)) for text in config.transport.join]
    names = {peer.address: peer.name for peer in config.transport.allow}

    def timed(address: Address) -> tuple[str | None, float]:
        start = clock.monotonic()
        return _dial(address.host, address.port), clock.monotonic() - start

    with ThreadPoolExecutor(_DIALS_AT_ONCE) as pool:
        dialled = pool.map(timed, [address for _, address in addresses if address.scheme == "tcp"])
        for (text, _), (fault, seconds) in zip([each for each in addresses if each[1].scheme == "tcp"], dialled, strict=True):
            if fault:
                yield Finding("fail", "peer", f"no answer from {names[text]} at {text}: {fault}")
            else:
                yield Finding("ok", names[text], f"{seconds * 1000:.1f} ms")


def _dial(host: str, port: int) -> str | None:
    """Why no connection came up; None where one did."""
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS):
            return None
    except TimeoutError:
        return f"nothing came back in {CONNECT_SECONDS:g} s, a firewall may be in between"
    except OSError as error:
        return error.strerror or str(error)
