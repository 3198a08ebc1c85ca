"""Which processes belong to a run, what do they take, and how are all of them ended?

In a cgroup where one can be made: whatever a program does, it stays in it, and cannot have more processes than it may. One
below version 2 is the first choice, if it can count processes; then one of the pids hierarchy of version 1. Elsewhere by
descent: the shim adopts whoever loses his parent, so nobody below it gets away, but a look at all of /proc is dear, and rare.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from node.roles.shared.runner.identity import descendants

COUNTED_MOST: Final = 256  # processes whose memory is looked at: 10 µs each
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_OPTIONS: Final = 3  # fourth word of a line of /proc/self/mounts
_RESIDENT: Final = 1  # second figure of /proc/pid/statm


def cgroup_root() -> str:
    """The folder below which this process may make cgroups; empty where there is none."""
    second, first = _own("cgroup2", ""), _own("cgroup", "pids")
    if second and os.access(f"{second}/cgroup.kill", os.F_OK) and ("pids" in controlled(second) or not first):
        return second
    return first


def _own(kind: str, controller: str) -> str:
    """This process's folder in a hierarchy, if it may make folders there."""
    mount = own = ""
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            words = line.split()
            if len(words) > _OPTIONS and words[2] == kind and (not controller or controller in words[_OPTIONS].split(",")):
                mount = words[1]
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == controller or (controller and controller in controllers.split(",")):
                own = path.rstrip("/")
    folder = f"{mount}{own}"
    return folder if mount and os.access(folder, os.W_OK) else ""


def controlled(root: str) -> frozenset[str]:
    """Which of memory and pids can be limited below `root`, of version 2; asks the kernel to hand them down."""
    for name in ("memory", "pids"):
        with suppress(OSError):  # not there, not delegated, or processes of others stand in the way
            Path(root, "cgroup.subtree_control").write_text(f"+{name}")
    with suppress(OSError):
        return frozenset(Path(root, "cgroup.subtree_control").read_text().split()) & {"memory", "pids"}
    return frozenset()


class Tree:
    """The processes of one run, seen by its shim (or, with a cgroup, by anybody)."""

    def __init__(self, shim: int, cgroup: str = "") -> None:
        self._shim = shim
        self.cgroup = cgroup
        self.bounded = False  # whether the cgroup holds the number of processes

    def make(self) -> None:
        """Makes the cgroup; without one from then on where that fails."""
        if not self.cgroup:
            return
        try:
            os.mkdir(self.cgroup, 0o755)  # noqa: PTH102 - in a fork
        except FileExistsError:
            pass
        except OSError:
            self.cgroup = ""

    def limit(self, limits: Mapping[str, float]) -> None:
        """Gives the cgroup its limits."""
        if not self.cgroup:
            return
        if memory := int(limits.get("memory_bytes", 0)):
            self._set("memory.max", memory)
            self._set("memory.swap.max", 0)
        if processes := int(limits.get("processes", 0)):
            self.bounded = self._set("pids.max", processes + 1)  # who has the one too many is seen to have it

    def _set(self, name: str, value: int) -> bool:
        path = f"{self.cgroup}/{name}"
        return os.access(path, os.W_OK) and _write(path, str(value))

    def enter(self) -> None:
        """Puts the calling process into it."""
        if self.cgroup:
            _write(f"{self.cgroup}/cgroup.procs", "0")

    def pids(self) -> list[int]:
        """Everybody, without the shim."""
        if self.cgroup:
            with suppress(OSError), open(f"{self.cgroup}/cgroup.procs", "rb") as file:  # noqa: PTH123 - in a fork
                return [int(line) for line in file]
        return descendants(self._shim) if self._shim else []  # a run without a shim whose cgroup has gone has nobody left

    @property
    def dear(self) -> bool:
        """Whether `pids` looks at every process of the machine."""
        return not self.cgroup

    def signal(self, number: signal.Signals, wanted: Callable[[int], bool] = lambda _: True) -> None:
        """Sends everybody who is `wanted` a signal."""
        for pid in self.pids():
            if wanted(pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def kill(self) -> None:
        """Kills everybody, as one where the kernel can."""
        if self.cgroup and _write(f"{self.cgroup}/cgroup.kill", "1"):
            return
        if not (self.cgroup and self._set("pids.max", 0)):
            self.signal(signal.SIGSTOP)  # first nobody may fork any more
        self.signal(signal.SIGKILL)

    def refused_processes(self) -> bool:
        """Whether the kernel refused somebody a process more."""
        return self.bounded and self._event("pids.events", "max ")

    def memory(self, pids: list[int]) -> int:
        """Resident bytes of the first `COUNTED_MOST` of them; what they share is counted for each."""
        total = 0
        for pid in pids[:COUNTED_MOST]:
            with suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - in a fork
                total += int(file.read().split()[_RESIDENT]) * _PAGE
        return total

    def killed_by_memory(self) -> bool:
        """Whether the kernel ended somebody for want of memory."""
        return bool(self.cgroup) and self._event("memory.events", "oom_kill ")

    def _event(self, name: str, key: str) -> bool:
        with suppress(OSError):
            lines = Path(self.cgroup, name).read_text().splitlines()
            return any(line.startswith(key) and line != f"{key}0" for line in lines)
        return False

    def remove(self) -> None:
        """Takes the cgroup away, once nobody is left in it."""
        if self.cgroup:
            with suppress(OSError):
                os.rmdir(self.cgroup)  # noqa: PTH106 - in a fork


def _write(path: str, text: str) -> bool:
    try:
        with open(path, "w") as file:  # noqa: PTH123 - in a fork
            file.write(text)
    except OSError:
        return False
    return True
