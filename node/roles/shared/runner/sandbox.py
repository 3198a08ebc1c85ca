"""How does a process shut itself in, in the moment between fork and exec?

L1 lays limits on; L2 also takes every privilege, all files but those of the box, and the system calls of `seccomp.py`; L3 has
bubblewrap make namespaces around all of that. What is possible here is found by trying it (`probe.py`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from node.roles.shared.runner import landlock, seccomp

BWRAP: Final = "bwrap"
_PR_CAPBSET_DROP: Final = 24
_CAPABILITIES: Final = 64
_FIRST_NUMBER: Final = 0x70000000  # of users that stand for one run each; pids are below 2^22
_CAP_VERSION_3: Final = 0x20080522
# What a program of any language needs to start, and nothing that is anybody's secret.
NETWORK_FILES: Final = ("/etc/hosts", "/etc/resolv.conf")
ETC: Final = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    *NETWORK_FILES,
    "/etc/ssl",
    "/etc/mime.types",
)
SYSTEM: Final = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", *ETC, "/proc", "/sys/devices/system/cpu")
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True, slots=True)
class Box:
    """What one program may see: `level`, the paths to read and to write, and whether there is a network.

    `etc` is a folder that `etc.keep` made: at L3 it stands for `/etc`, one mount in place of a dozen.
    """

    level: str = "L1"
    read: Sequence[str] = ()
    write: Sequence[str] = ()
    network: bool = False
    etc: str = ""


def limit(limits: Mapping[str, float], *, counted: bool) -> None:
    """Lays the kernel's limits upon this process and what it starts; what it has no word for is the shim's to watch.

    `counted` says that a cgroup holds the number of processes.

    Raises:
        OSError: one of them cannot be held here.
    """
    _set(resource.RLIMIT_CORE, 0)
    for name, number, spare in (
        ("memory_bytes", resource.RLIMIT_AS, 0),
        ("files", resource.RLIMIT_NOFILE, 0),
        ("cpu_s", resource.RLIMIT_CPU, 1),  # XCPU at the limit, KILL a second later
    ):
        if amount := int(limits.get(name, 0)):
            _set(number, amount, amount + spare)
    if amount := int(limits.get("file_bytes", 0)):  # a log is a file too, and has a limit of its own
        _set(resource.RLIMIT_FSIZE, max(amount, int(limits.get("output_bytes", 0))))
    if amount := int(limits.get("processes", 0)):
        if os.getuid() == 0 and not counted:
            _become_countable()
        if os.getuid() != 0:
            _set(resource.RLIMIT_NPROC, amount + 1 + _processes_of_mine())


def _become_countable() -> None:
    """Takes a user number that nobody else has: the kernel holds no number of processes for root or who has its privileges.

    The effective one stays, and with it what root's files are. That no way leads back is the filter's to see to.
    """
    if not seccomp.supported():
        raise OSError(
            errno.ENOTSUP,
            "no number of processes can be held for root here: run the node as another user, or with a pids cgroup",
        )
    os.setresuid(_FIRST_NUMBER + os.getpid(), -1, -1)
    drop_privileges()
    seccomp.restrict(seccomp.identity_program())


def _set(number: int, soft: int, hard: int | None = None) -> None:
    most = resource.getrlimit(number)[1]
    wanted = soft if hard is None else hard
    bound = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(number, (min(soft, bound), bound))


def _processes_of_mine() -> int:
    mine, found = os.getuid(), 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if name.isdecimal():
            try:
                found += os.stat(f"/proc/{name}").st_uid == mine  # noqa: PTH116 - as above
            except OSError:
                continue
    return found


def shut_in(box: Box) -> None:
    """Does what the box asks for, for good; nothing where it asks for limits only.

    Raises:
        OSError: the kernel does not do it.
    """
    if box.level != "L2":
        return
    landlock.restrict((*SYSTEM, *box.read), (*DEVICES, *box.write), network=box.network)
    drop_privileges()
    seccomp.restrict(seccomp.program(network=box.network))


def drop_privileges() -> None:
    """Takes every capability away, those of a root too, and any way to get one again."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # refused to those who have none, who then need not drop any
    head = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
    if libc.capset(ctypes.byref(head), ctypes.byref((ctypes.c_uint32 * 6)())) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def wrapped(argv: Sequence[str], box: Box, cwd: str, filter_descriptor: int) -> list[str]:
    """The command that runs `argv` at level L3; `filter_descriptor` holds the filter of `seccomp.program`."""
    command = [BWRAP, "--die-with-parent", "--new-session", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--cap-drop", "ALL", "--hostname", "task"]
    command += [] if box.network else ["--unshare-net"]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - bubblewrap makes it its own  # nosec B108
    for path in (*SYSTEM, *box.read):
        if path != "/proc" and not (box.etc and path in ETC):
            command += _shown(path)
    if box.etc:
        command += ["--ro-bind", box.etc, "/etc"]
        for path in NETWORK_FILES if box.network else ():
            command += ["--ro-bind-try", path, path]
    for path in box.write:
        command += ["--bind", path, path]
    return [*command, "--chdir", cwd, "--seccomp", str(filter_descriptor), "--", *argv]


def _shown(path: str) -> list[str]:
    """A mount costs a quarter of a millisecond; a link into what is there anyway costs nothing."""
    with suppress(OSError):
        link = os.readlink(path)  # noqa: PTH115 - in a fork
        if os.path.realpath(path).startswith("/usr/"):
            return ["--symlink", link, path]
    return ["--ro-bind-try", path, path]
