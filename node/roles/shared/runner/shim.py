"""How is one program started, watched, ended, and its end written down, with nobody else there?

A fork of the zygote that waits, in a session of its own, for the one request that it takes, and then outlives the node. Files
of the run's folder are all it talks by: `identity` appears once, by a link that only one can make, so a run is started once
however often it is asked for; `order` is what the node wants of it (a signal says that there is a new one); `exit` appears
when all is over. Imports nothing beyond the standard library and its neighbours here.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

from node.roles.shared.runner import sandbox, watch
from node.roles.shared.runner.held import Held, Program, appending
from node.roles.shared.runner.identity import boot_id
from node.roles.shared.runner.tree import Tree

IDENTITY, ORDER, EXIT = "identity", "order", "exit"
TICK_S: Final = 0.25
LAST_S: Final = 5.0  # how long the killed are waited for; a process in the middle of a disk operation takes its time
_PR_SET_CHILD_SUBREAPER: Final = 36
_WOKEN_BY: Final = (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(requests: socket.socket, taken: int, most: int, cgroups: str) -> NoReturn:
    """Waits for one request of at most `most` bytes and runs its program to the end.

    Its identity, or why there is none, is told over the pipe that comes along, which is closed when the facts are written.
    A byte through `taken` says that there was a request; without, the node has gone. `cgroups` is the folder for cgroups.
    """
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WOKEN_BY)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the zygote does not wait for its children, a shim does
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.umask(0o077)
    tree = Tree(os.getpid(), f"{cgroups}/ecnode-{os.urandom(8).hex()}" if cgroups else "")
    tree.make()
    held = Held((requests.fileno(), taken), tree)
    content, descriptors, _, _ = socket.recv_fds(requests, most, 1)
    requests.close()
    if content and len(descriptors) == 1:
        _run(Shim(json.loads(content), held, tree), content, descriptors[0], taken)
    else:
        held.drop()
    os._exit(0)


def _run(shim: Shim, content: bytes, reply: int, taken: int) -> None:
    try:
        identity = shim.start(content)
    except FileExistsError:
        answer: dict[str, object] = {"refused": "claimed"}
    except OSError as error:
        answer = {"refused": f"{error.strerror}: {error.filename}" if error.filename else str(error)}
    else:
        answer = {"identity": identity}
    with suppress(OSError):  # the node may have gone meanwhile
        os.write(reply, json.dumps(answer).encode())
    with suppress(OSError):
        os.write(taken, b"t")  # only now: the next one is forked when this one's program is on its way
    os.close(taken)
    if "identity" in answer:
        shim.serve()
    os.close(reply)  # tells the node that the facts are there, two milliseconds before this process has gone
    shim.leave()


class Shim:
    """One run, from the claim to the facts."""

    def __init__(self, program: Program, held: Held, tree: Tree) -> None:
        self._program = program
        self._held = held
        self._folder: str = program["folder"]
        self._limits: Mapping[str, float] = program["limits"]
        self._tree = tree
        self._facts: dict[str, object] = {}
        self._started = _now()
        self._order = 0
        self._stopping: float | None = None  # when KILL follows
        self._killed = False
        self._main = held.pid
        self._status: int | None = None
        self._memory = 0
        self._cpu_s = 0.0
        self._gauge = watch.Gauge(self._tree, program, self._limits)

    def start(self, content: bytes) -> dict[str, object]:
        """Claims the run and lets the program go; `content` is its request.

        Raises:
            FileExistsError: the run was claimed before.
            OSError: files cannot be opened.
        """
        try:
            self._gauge.output = appending(self._program["output"])
            os.close(appending(self._program["notes"]))
            self._tree.limit(self._limits)
            identity = self._claim()
        except OSError:
            self._held.drop()
            raise
        self._held.go(content)
        return identity

    def _claim(self) -> dict[str, object]:
        me, main = self._held.me, self._held.main
        identity: dict[str, object] = {
            "pid": me.pid,
            "started": me.started,
            "boot": boot_id(),
            "main": main.pid,
            "main_started": main.started,
            "cgroup": self._tree.cgroup,
        }
        claim(self._folder, identity)
        return identity

    def serve(self) -> None:
        """Watches over the program until nothing of it is left, then writes the facts."""
        fault = os.read(self._held.fault, 500)  # comes to its end by the exec
        os.close(self._held.fault)
        if fault:
            self._facts["error"] = fault.decode(errors="replace")
        while self._status is None:
            signal.sigtimedwait(_WOKEN_BY, self._wait_s())
            self._reap()
            if self._status is None:
                self._obey()
                self._watch()
        self._end_the_rest()
        self._write_facts()

    def leave(self) -> None:
        """Gives back what the run held of the machine."""
        self._tree.remove()

    def _wait_s(self) -> float:
        return TICK_S if self._stopping is None else max(0.0, min(TICK_S, self._stopping - _now()))

    def _reap(self) -> bool:
        """Takes in everybody who has ended; whether somebody is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._cpu_s += usage.ru_utime + usage.ru_stime
            self._memory = max(self._memory, usage.ru_maxrss * 1024)
            if pid == self._main:
                self._status = status

    def _obey(self) -> None:
        order = read(self._folder, ORDER)
        if order is not None and int(order["number"]) > self._order:
            self._order = int(order["number"])
            action = order["action"]
            if action == "stop":
                self._stop(signal.Signals(order["signal"]), float(order["grace"]))
            else:
                self._tree.signal(signal.SIGSTOP if action == "suspend" else signal.SIGCONT)
        if self._stopping is not None and _now() >= self._stopping and not self._killed:
            self._kill()

    def _stop(self, number: signal.Signals, grace: float) -> None:
        self._facts["stopped"] = True
        if self._stopping is None or _now() + grace < self._stopping:
            self._stopping = _now() + grace
        if grace > 0:
            self._tree.signal(number, self._is_its_own)
            self._tree.signal(signal.SIGCONT)  # who is suspended could not end

    def _is_its_own(self, pid: int) -> bool:
        """Whether a process is the program's, and not the wrapper's that shuts it in."""
        if self._program["box"]["level"] != "L3":
            return True
        try:
            with open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123 - in a fork
                return file.read().strip() != sandbox.BWRAP.encode()
        except OSError:
            return False

    def _watch(self) -> None:
        if self._killed or "limit" in self._facts:
            return
        wall = float(self._limits.get("wall_s", 0.0))
        over = "wall" if wall and _now() - self._started > wall else self._gauge.over()
        if over:
            self._facts["limit"] = over
            self._kill()

    def _kill(self) -> None:
        self._killed = True
        self._tree.kill()

    def _end_the_rest(self) -> None:
        """Ends whoever outlived the program; by descent nobody below the shim is missed."""
        left = sum(map(self._is_its_own, self._tree.pids())) if self._reap() else 0
        if left and not self._killed:
            self._facts["left_behind"] = left
        deadline = _now() + LAST_S
        while self._reap() and _now() < deadline:
            self._tree.kill()
            signal.sigtimedwait((signal.SIGCHLD,), 0.02)

    def _write_facts(self) -> None:
        status = self._status or 0
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        if self._program["box"]["level"] == "L3" and code > 128 and code - 128 in signal.valid_signals():
            number = code - 128  # bubblewrap reports it so
        if "limit" not in self._facts and (limit := self._named(number, code)):
            self._facts["limit"] = limit
        if "error" not in self._facts:
            self._facts |= {"signal": number} if number else {"code": code}
        self._facts |= {
            "started_at": time.clock_gettime(time.CLOCK_REALTIME) - (_now() - self._started),
            "ended_at": time.clock_gettime(time.CLOCK_REALTIME),
            "cpu_s": round(self._cpu_s, 6),
            "memory_bytes": self._memory,
            "output_bytes": os.fstat(self._gauge.output).st_size,
        }
        _place(self._folder, EXIT, self._facts)

    def _named(self, number: int, code: int) -> str:
        """The limit that the end speaks of, where the kernel held it and not this process."""
        if number == signal.SIGXCPU:
            return "cpu"
        if number == signal.SIGXFSZ:
            return "file_size"
        if self._tree.killed_by_memory():
            return "memory"
        if (number or code) and self._limits.get("memory_bytes") and self._gauge.says_out_of_memory():
            return "memory"
        if (number or code) and (self._tree.refused_processes() or self._gauge.says_no_process_more()):
            return "processes"
        if code and self._limits.get("file_bytes") and self._gauge.says_file_too_large():
            return "file_size"
        cpu = float(self._limits.get("cpu_s", 0.0))
        return "cpu" if number == signal.SIGKILL and cpu and self._cpu_s >= cpu and not self._killed else ""


def claim(folder: str, identity: Mapping[str, object]) -> None:
    """Makes the folder's run that of `identity`, for good.

    Raises:
        FileExistsError: it is somebody's already.
    """
    path = f"{folder}/{IDENTITY}.{os.getpid()}"
    with open(path, "w") as file:  # noqa: PTH123 - in a fork
        file.write(json.dumps(identity))
    try:
        os.link(path, f"{folder}/{IDENTITY}")
    finally:
        os.unlink(path)  # noqa: PTH108 - in a fork


def read(folder: str, name: str) -> dict[str, Any] | None:
    """What one of the folder's files says, None where it is not there."""
    try:
        with open(f"{folder}/{name}", "rb") as file:  # noqa: PTH123 - in a fork
            found: dict[str, Any] = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _place(folder: str, name: str, content: Mapping[str, object]) -> None:
    with open(f"{folder}/{name}.new", "w") as file:  # noqa: PTH123 - in a fork
        file.write(json.dumps(content))
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")  # noqa: PTH104 - in a fork


def order(folder: str, content: Mapping[str, object]) -> None:
    """Leaves a shim an order; the caller then sends it `SIGUSR1`."""
    _place(folder, ORDER, content)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
