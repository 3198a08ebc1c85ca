"""Which process is meant, now that its number may belong to another one?

A pid alone names nothing for longer than a moment. With the time of its start (in ticks since the boot) and the id of the boot
it names one process for ever; a signal goes through a pidfd that was checked against both.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_PPID_FIELD: Final = 1  # counted from behind the name, which may hold anything, brackets too. Source: proc(5), /proc/pid/stat
_START_FIELD: Final = 19


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of one boot of this machine."""

    pid: int
    started: int
    boot: str
    executable: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs; one that has ended and is not reaped yet does not."""
        if self.boot != boot_id():
            return False
        fields = stat_fields(self.pid)
        return fields is not None and fields[0] not in "ZX" and int(fields[_START_FIELD]) == self.started

    def open(self) -> int | None:
        """A pidfd of it for the caller to close, readable once it has ended; None where it has gone."""
        if self.boot != boot_id() or self.pid <= 0:
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive:  # looked at after the pidfd is held: so it is this process's
            return descriptor
        os.close(descriptor)
        return None

    def signal(self, number: signal.Signals) -> bool:
        """Sends a signal to it and to nobody else; whether it was there."""
        descriptor = self.open()
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


@cache
def boot_id() -> str:
    """The id of this boot of the machine, or of this container's kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat_fields(pid: int) -> list[str] | None:
    """What /proc says of a process, from its state on; None where it has gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - read for every process of the machine
            content = file.read()
    except OSError:
        return None
    return content[content.rindex(b")") + 2 :].decode().split()


def identify(pid: int) -> Identity:
    """Who runs under that number now.

    Raises:
        ProcessLookupError: nobody.
    """
    fields = stat_fields(pid)
    if fields is None:
        raise ProcessLookupError(f"no process has the number {pid}")
    executable = ""
    with suppress(OSError):  # it may have ended since, or belong to somebody else
        executable = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - in a fork
    return Identity(pid, int(fields[_START_FIELD]), boot_id(), executable)


def descendants(root: int) -> list[int]:
    """The processes below `root`, nearest first; one look at all of /proc, about 10 µs for each process of the machine."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if name.isdecimal() and (fields := stat_fields(int(name))) is not None:
            children.setdefault(int(fields[_PPID_FIELD]), []).append(int(name))
    found = list(children.get(root, ()))
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found
