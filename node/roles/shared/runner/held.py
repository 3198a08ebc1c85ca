"""What becomes the program, once its run is claimed?

A fork of the shim, made before there is a request; what takes its time (a session, a cgroup, signals) lies behind it by then.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeAlias

from node.roles.shared.runner import sandbox, seccomp
from node.roles.shared.runner.identity import identify
from node.roles.shared.runner.tree import Tree

NOTES_DESCRIPTOR: Final = 3
LATE_EXEC: Final = 127
_PR_SET_PDEATHSIG: Final = 1
_BOUNDED, _UNBOUNDED = b"b", b"u"  # whether a cgroup holds the number of processes

Program: TypeAlias = Mapping[str, Any]  # as `runner.Program` writes it


class Held:
    """The process that will become the program: forked before there is one, held back until its run is claimed.

    It is in its cgroup by then: to get into one takes ten milliseconds, because the kernel lets every processor come by.
    """

    def __init__(self, foreign: Sequence[int], tree: Tree) -> None:
        self._tree = tree
        go_out, self._go = os.pipe()
        self.fault, fault_in = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for each in (*foreign, self._go, self.fault):
                os.close(each)
            _become(go_out, fault_in, tree)
        os.close(go_out)
        os.close(fault_in)
        self.me, self.main = identify(os.getpid()), identify(self.pid)

    def go(self, content: bytes) -> None:
        """Lets it become the program of a request."""
        with open(self._go, "wb") as pipe:  # noqa: PTH123 - in a fork
            pipe.write((_BOUNDED if self._tree.bounded else _UNBOUNDED) + content)

    def drop(self) -> None:
        """Ends it before it became anything."""
        os.close(self._go)
        os.waitpid(self.pid, 0)
        self._tree.remove()


def _become(go: int, fault: int, tree: Tree) -> NoReturn:
    """The held process: waits, shuts itself in and turns into the program."""
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for number in signal.valid_signals():
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        tree.enter()
        with open(go, "rb") as pipe:
            bounded = pipe.read(1)
            if not bounded:
                os._exit(0)  # held back for ever: it ends
            program: Program = json.loads(pipe.read())
        nothing = os.open("/dev/null", os.O_RDONLY)
        output, notes = appending(program["output"]), appending(program["notes"])
        high = [os.dup2(each, place) for place, each in enumerate((nothing, output, output, notes, fault), start=200)]
        for place, each in enumerate(high):
            os.dup2(each, place, inheritable=place < NOTES_DESCRIPTOR + 1)
        os.chdir(program["cwd"])
        box = sandbox.Box(**program["box"])
        argv, kept = _command(program, box)
        os.closerange(kept + 1, 1024)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        sandbox.limit(program["limits"], counted=bounded == _BOUNDED)
        sandbox.shut_in(box)
        os.execvpe(argv[0], argv, program["environment"])  # noqa: S606 - no shell  # nosec B606
    except BaseException as error:  # noqa: BLE001 - there is nobody above it: it is told over the pipe
        with suppress(OSError):
            os.write(NOTES_DESCRIPTOR + 1, _said(error).encode()[:500])
    os._exit(LATE_EXEC)


def appending(path: str) -> int:
    """A file that is written to at its end only, made where it is not there, open for the caller to close."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _command(program: Program, box: sandbox.Box) -> tuple[list[str], int]:
    """The command, and the highest descriptor that it needs."""
    argv = list(program["argv"])
    fault = NOTES_DESCRIPTOR + 1
    if box.level != "L3":
        return argv, fault
    held = os.memfd_create("filter", 0)
    os.write(held, seccomp.program(network=box.network))
    os.lseek(held, 0, os.SEEK_SET)
    os.dup2(held, fault + 1)
    return sandbox.wrapped(argv, box, program["cwd"], fault + 1), fault + 1


def _said(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}" if error.filename else str(error)
    return f"{type(error).__name__}: {error}"
