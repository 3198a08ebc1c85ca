"""How does a role start a program, find it again after a restart, stop it, and learn how it ended?

`start` gives a `Run` once the program is under way, `adopt` gives the same for one that an earlier life of the node started.
Ending the node ends no run. All that is kept lies in the run's folder; the caller makes the folder, and removes it when
nobody asks any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from node.clock import Clock
from node.errors import ChildLost, Conflict
from node.model.process import Facts, Limits
from node.roles.shared.runner import shim
from node.roles.shared.runner.identity import Identity, boot_id
from node.roles.shared.runner.sandbox import Box
from node.roles.shared.runner.tree import Tree, cgroup_root
from node.roles.shared.runner.zygote import REQUEST_BYTES

log = logging.getLogger(__name__)

ANSWER_S: Final = 10.0  # for a fork on a machine that is in trouble
ANSWER_BYTES: Final = 4096
GRACE_S: Final = 5.0
_ZYGOTE: Final = "node.roles.shared.runner.zygote"
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True)
class Program:
    """What is to run: the command, where, with which environment and nothing of the node's, and what it may use.

    `folder` is the run's own, with nothing in it of an earlier run. `output` gets standard output and error, `notes` is what
    the program finds open under descriptor 3; both are appended to. `watched` is the folder whose disk use is limited.
    """

    folder: Path
    argv: Sequence[str]
    cwd: Path
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: Path | None = None
    watched: Path | None = None
    limits: Limits = field(default_factory=Limits)
    box: Box = field(default_factory=Box)

    def request(self) -> bytes:
        """What the zygote is sent.

        Raises:
            Conflict: more than it takes.
        """
        content = json.dumps(
            {
                "folder": str(self.folder),
                "argv": [os.fspath(word) for word in self.argv],
                "cwd": str(self.cwd),
                "output": str(self.output),
                "environment": dict(self.environment),
                "notes": str(self.notes or os.devnull),
                "watched": str(self.watched or ""),
                "limits": self.limits.model_dump(mode="json"),
                "box": asdict(self.box),
            }
        ).encode()
        if len(content) > REQUEST_BYTES:
            raise Conflict(f"a command and environment of {len(content)} bytes", hint=f"at most {REQUEST_BYTES}")
        return content


class Run:
    """A program that is under way, or was when it was found."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], clock: Clock, ending: Ending | None = None) -> None:
        self.folder = folder
        self._ending = ending
        self.shim = Identity(int(identity["pid"]), int(identity["started"]), str(identity["boot"]))
        self.main = Identity(int(identity["main"]), int(identity["main_started"]), str(identity["boot"]))
        self._cgroup = str(identity["cgroup"])
        self._clock = clock
        self._order = int((shim.read(str(folder), shim.ORDER) or {"number": 0})["number"])

    @property
    def pid(self) -> int:
        """The program's own process."""
        return self.main.pid

    @property
    def alive(self) -> bool:
        """Whether its shim is there and has not told yet how it ended."""
        return self.shim.alive and not (self.folder / shim.EXIT).exists()

    async def wait(self) -> Facts:
        """How it ended, once it has; at once where that was before. May be asked as often as one likes."""
        if self._ending is not None:
            await self._ending.wait()
        if self.alive and (descriptor := self.shim.open()) is not None:
            try:
                await _readable(descriptor)
            finally:
                os.close(descriptor)
        return self._facts()

    def stop(self, number: signal.Signals = signal.SIGTERM, grace: float = GRACE_S) -> None:
        """Asks everybody in it to end, and kills after `grace` seconds who has not. Harmless when repeated or late."""
        self._tell({"action": "stop", "signal": int(number), "grace": grace})

    def suspend(self) -> None:
        """Freezes everybody in it; wall time goes on."""
        self._tell({"action": "suspend"})

    def resume(self) -> None:
        """Lets everybody in it go on."""
        self._tell({"action": "resume"})

    def _tell(self, content: Mapping[str, object]) -> None:
        self._order += 1
        shim.order(str(self.folder), {"number": self._order, **content})
        self.shim.signal(signal.SIGUSR1)

    def _facts(self) -> Facts:
        found = shim.read(str(self.folder), shim.EXIT)
        try:
            if found is not None:
                return Facts.model_validate(found)
        except ValidationError as error:
            log.error("the facts of a run cannot be read", extra={"folder": str(self.folder), "reason": str(error)[:200]})
        self._end_what_is_left()
        return Facts(lost=True, ended_at=self._clock.wall())

    def _end_what_is_left(self) -> None:
        """The shim was killed: the kernel killed the program with it, others may be left."""
        if self.shim.boot != boot_id():
            return
        self.main.signal(signal.SIGKILL)
        if self._cgroup:
            tree = Tree(0, self._cgroup)
            tree.kill()
            tree.remove()


class Ending:
    """The pipe that a shim holds open until it has written the facts."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._over = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe, self._closed)

    async def wait(self) -> None:
        """Returns once it was closed over there: the facts are written, or the shim has gone without."""
        await self._over.wait()

    def _closed(self) -> None:
        self.drop()
        self._over.set()

    def drop(self) -> None:
        """Lets go of the pipe; who waits is left waiting. Harmless when repeated."""
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    @property
    def over(self) -> bool:
        """Whether it is closed."""
        return self._pipe < 0


class Runner:
    """Starts programs on this machine and finds them again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zygote: _Zygote | None = None
        self._starting = asyncio.Lock()
        self._cgroups: str | None = None
        self._endings: list[Ending] = []

    async def start(self, program: Program) -> Run:
        """The run of `program`, which is under way.

        A program that cannot be executed is a run too: its facts hold the error.

        Raises:
            Conflict: the folder has seen a run already.
            ChildLost: no process could be started.
        """
        request = program.request()
        try:
            answer, pipe = await (await self._ready()).ask(request)
        except ChildLost:  # the zygote had gone; a run that it began all the same keeps its claim
            answer, pipe = await (await self._ready()).ask(request)
        if "identity" in answer:
            return Run(program.folder, answer["identity"], self._clock, self._ending(pipe))
        os.close(pipe)
        if answer.get("refused") == "claimed":
            raise Conflict(f"{program.folder.name} was started already", hint="a run is started once, in a folder of its own")
        raise ChildLost(f"the program cannot be started: {answer.get('refused', 'no answer')}")

    def _ending(self, pipe: int) -> Ending:
        self._endings = [ending for ending in self._endings if not ending.over]
        self._endings.append(Ending(pipe))
        return self._endings[-1]

    def adopt(self, folder: Path) -> Run | None:
        """The run that was started in `folder`, over or not; None where none ever was."""
        found = shim.read(str(folder), shim.IDENTITY)
        return Run(folder, found, self._clock) if found else None

    def forbid(self, folder: Path) -> Run | None:
        """Sees to it that nothing is ever started in `folder`, however late; the run that was started before, else None."""
        nobody = {"pid": 0, "started": 0, "boot": boot_id(), "main": 0, "main_started": 0, "cgroup": ""}
        with suppress(FileExistsError):
            shim.claim(str(folder), nobody)
        found = self.adopt(folder)
        return found if found is not None and found.shim.pid else None

    async def stop(self) -> None:
        """Ends what starts programs, and no program; who waits for a run is left waiting. Harmless when repeated."""
        for ending in self._endings:
            ending.drop()
        if self._zygote is not None:
            await self._zygote.stop(self._clock)
            self._zygote = None

    def _cgroup_root(self) -> str:
        if self._cgroups is None:
            self._cgroups = cgroup_root()
            log.info("runs in control groups" if self._cgroups else "no control groups", extra={"folder": self._cgroups})
        return self._cgroups

    async def _ready(self) -> _Zygote:
        async with self._starting:
            if self._zygote is not None and not self._zygote.alive:
                await self._zygote.stop(self._clock)
                self._zygote = None
            if self._zygote is None:
                self._zygote = await _Zygote.spawn(self._clock, self._cgroup_root())
            return self._zygote


class _Zygote:
    def __init__(self, process: asyncio.subprocess.Process, channel: socket.socket, clock: Clock) -> None:
        self._process = process
        self._channel = channel
        self._clock = clock
        self._sending = asyncio.Lock()

    @classmethod
    async def spawn(cls, clock: Clock, cgroups: str) -> _Zygote:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                _ZYGOTE,
                str(theirs.fileno()),
                cgroups,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise ChildLost(f"cannot start the process that starts programs: {error}") from error
        finally:
            theirs.close()
        return cls(process, ours, clock)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, request: bytes) -> tuple[dict[str, Any], int]:
        """What the shim of a request answers, and the pipe that it holds, for the caller to close.

        Raises:
            ChildLost: nobody does.
        """
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            try:
                await self._send(request, theirs)
            finally:
                os.close(theirs)
            async with self._clock.timeout(ANSWER_S):
                await _readable(ours)
            if not (content := os.read(ours, ANSWER_BYTES)):
                raise ChildLost("the process that starts programs has ended")
        except BaseException as error:
            os.close(ours)
            if isinstance(error, TimeoutError | OSError):
                raise ChildLost(f"no program is started here: {error or 'no answer in time'}") from error
            raise
        answer: dict[str, Any] = json.loads(content)
        return answer, ours

    async def _send(self, request: bytes, reply: int) -> None:
        async with self._sending:
            while True:
                try:
                    socket.send_fds(self._channel, [request], [reply])
                except BlockingIOError:
                    await _writable(self._channel.fileno())
                else:
                    return

    async def stop(self, clock: Clock) -> None:
        self._channel.close()
        try:
            async with clock.timeout(1.0):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _set, done)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _set, done)
    try:
        await done
    finally:
        loop.remove_writer(descriptor)


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
