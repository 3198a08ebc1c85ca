"""How does a node of this machine become a service of systemd? `service unit` prints the unit, `service install` enables it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from node.cli import SuggestingGroup
from node.errors import Conflict, Unavailable

UNITS: Final = Path("/etc/systemd/system")
NAME: Final = "ecnode.service"
CONFIG: Final = Path("/etc/ecnode/node.toml")
PLACE: Final = "/usr/local/bin/ecnode"
MANAGER_S: Final = 60.0

# The sandbox of tasks needs user namespaces and a part of the cgroup tree of its own; nothing else of the machine is written.
TEMPLATE: Final = """\
[Unit]
Description=ecnode
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} up -c {config}
Environment=ECNODE_NODE__DATA_DIR=/var/lib/ecnode ECNODE_NODE__ASSETS_DIR=/var/cache/ecnode XDG_RUNTIME_DIR=/run/ecnode
Restart=on-failure
RestartSec=1
WatchdogSec=30
TimeoutStartSec=120
TimeoutStopSec=30
KillMode=mixed
Delegate=yes
LimitNOFILE=65536

DynamicUser=yes
StateDirectory=ecnode
StateDirectoryMode=0700
CacheDirectory=ecnode
RuntimeDirectory=ecnode
RuntimeDirectoryMode=0700
UMask=0077

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
DevicePolicy=closed
DeviceAllow=char-video4linux rw

[Install]
WantedBy=multi-user.target
"""


@click.group(cls=SuggestingGroup)
def service() -> None:
    """A node as a service of systemd."""


@service.command()
@click.option("-c", "--config", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="Its config file.")
def unit(config: Path) -> None:
    """Print the unit."""
    click.echo(unit_of(config), nl=False)


@service.command()
@click.option("-c", "--config", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="Its config file.")
@click.option("--force", is_flag=True, help="Replace a unit that is there and differs.")
def install(config: Path, force: bool) -> None:
    """Write the unit, have systemd read it, and start the node now and with the machine."""
    if not config.is_file():
        raise Unavailable(f"there is no config at {config}", hint=f"ecnode init --role edge --out {config}")
    manager = shutil.which("systemctl")
    if manager is None:
        raise Unavailable("this machine has no systemctl", hint="`ecnode service unit` prints the unit for another machine")
    _put(UNITS / NAME, unit_of(config.resolve()), force=force)
    for words in (("daemon-reload",), ("enable", "--now", NAME)):
        _ask(manager, *words)
    click.echo(f"{NAME} is enabled; its log: journalctl -u {NAME}")


def unit_of(config: Path) -> str:
    """The unit of a node with that config, started by the program that this command is."""
    command = shutil.which("ecnode", path=str(Path(sys.executable).parent)) or shutil.which("ecnode") or PLACE
    return TEMPLATE.format(command=command, config=config)


def _put(path: Path, text: str, *, force: bool) -> None:
    try:
        if path.exists() and path.read_text() != text and not force:
            raise Conflict(f"{path} is there and differs", hint="look at it, then repeat with --force")
        path.write_text(text)
        path.chmod(0o644)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="sudo ecnode service install") from error


def _ask(manager: str, *words: str) -> None:
    try:
        done = subprocess.run([manager, *words], capture_output=True, text=True, timeout=MANAGER_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"systemctl {' '.join(words)} did not end within {MANAGER_S:.0f} s") from error
    if done.returncode:
        raise Unavailable(f"systemctl {' '.join(words)}: {done.stderr.strip()[:500]}", hint=f"systemctl status {NAME}")
