"""How does an attempt of a task get its folder, run in it, and give up what it made?

Everything is found by the names of folders: `tasks/<id>/<revision>.<attempt>` is made once and sees one run, so each step may
be repeated after whatever cut it off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Forbidden, Malformed, NotFound, StorageFailed
from node.model.process import Limits, SandboxLevel
from node.model.task import ARTIFACTS_MOST, Artifact, TaskSpec
from node.pipeline.task import archive
from node.roles.shared import task_logs
from node.roles.shared.runner.probe import Ladder, interpreter_paths, probe
from node.roles.shared.runner.runner import Program, Run, Runner
from node.roles.shared.runner.sandbox import Box
from node.roles.shared.task_environments import Environments, Packages
from node.storage.blobs import BlobStore

log = logging.getLogger(__name__)

OUTPUT: Final = "output"
NOTES: Final = "notes"
WORK: Final = "work"
ARTIFACTS: Final = "artifacts"
SCRIPT: Final = "main.py"
HEAD_BYTES: Final = 512
ENVIRONMENTS: Final = "environments"  # beside the tasks' folders, whose names begin with t-
NOTES_READ: Final = 256 * 1024
ARTIFACT_BYTES_MOST: Final = 8 * 2**30


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one revision of a task."""

    task: str
    revision: int
    number: int
    spec: TaskSpec
    sources: tuple[str, ...] = ()  # peers that have its blobs, where they are not here

    @property
    def place(self) -> str:
        """Its folder below the tasks' folder."""
        return f"{self.task}/{self.revision}.{self.number}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What this node allows tasks: the tightest limits, and the least level of shutting in."""

    limits: Limits = field(default_factory=Limits)
    level: SandboxLevel = SandboxLevel.L1
    network: bool = False
    packages: Packages = field(default_factory=Packages)
    own: Mapping[str, Path] = field(default_factory=dict)


Fetch: TypeAlias = Callable[[str, Sequence[str]], Awaitable[object]]
"""Has a blob come from one of several peers: the blob's id, the peers' names; the last one is certain to have it."""


class TaskRuntime:
    """Runs attempts on this machine."""

    def __init__(  # noqa: PLR0917 - what only the composition root brings together
        self, runner: Runner, blobs: BlobStore, root: Path, clock: Clock, bounds: Bounds, fetch: Fetch | None = None
    ) -> None:
        self._runner = runner
        self._blobs = blobs
        self._fetch = fetch
        self._root = root
        self._clock = clock
        self._bounds = bounds
        self._environments = Environments(runner, root / ENVIRONMENTS, clock, bounds.packages)
        self._ladder: Ladder | None = None
        self._probing = asyncio.Lock()

    async def ladder(self) -> Ladder:
        """How far programs are shut in here; tried once."""
        async with self._probing:
            if self._ladder is None:
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._ladder = await probe(self._runner, self._root)
                missing = "; ".join(f"{level}: {why}" for level, why in self._ladder.missing.items())
                log.info("tasks are shut in", extra={"level": self._ladder.level.value, "missing": missing})
            return self._ladder

    async def check(self, spec: TaskSpec) -> None:
        """Refuses what this node cannot or will not run.

        Raises:
            Forbidden: the network, or a level that is not there.
        """
        ladder = await self.ladder()
        wanted = max(spec.sandbox or SandboxLevel.L1, self._bounds.level, key=lambda level: level.rank)
        if ladder.level.rank < wanted.rank:
            raise Forbidden(
                f"level {wanted} is wanted, {ladder.level} is what this node has: {ladder.missing.get(wanted, '')}",
                hint="`ecnode status` shows each node's level; tasks.sandbox sets the least one",
            )
        if spec.network and not self._bounds.network:
            raise Forbidden("tasks get no network here", hint="tasks.network = true allows it to those that ask for it")
        if spec.requirements and not self._bounds.packages.allowed:
            raise Forbidden("no packages are installed for tasks here", hint="tasks.packages = true allows it")

    async def has(self, spec: TaskSpec) -> None:
        """Refuses a task whose blobs are not here: NotFound."""
        for blob in blobs_of(spec):
            await self._blobs.stat(blob)

    async def size(self, blob: str) -> int:
        """Bytes of a blob that is here; NotFound where it is not."""
        return (await self._blobs.stat(blob)).size

    async def fetch(self, blob: str, *sources: str) -> None:
        """Has a blob come here from a peer; raises as the node's `BlobService.fetch` does."""
        if self._fetch is not None:
            await self._fetch(blob, sources)

    async def put_script(self, script: str) -> str:
        """A script as a blob, for a node that fetches it."""
        return (await self._blobs.put(_once(script.encode()))).id

    def folder(self, attempt: Attempt) -> Path:
        """The attempt's folder, whether or not it was made."""
        return self._root / attempt.place

    def output(self, task: str, revision: int, number: int) -> Path:
        """The file that holds what an attempt said."""
        return self._root / task / f"{revision}.{number}" / OUTPUT

    async def stage(self, attempt: Attempt) -> None:
        """Makes the attempt's folder with everything in it; harmless when repeated.

        Raises:
            Rejected: the bundle is none, or its packages cannot be installed.
            Unavailable: the disk or the blobs refuse.
        """
        folder = self.folder(attempt)
        if (folder / WORK).exists():
            return
        if attempt.spec.requirements:
            await self._environments.make(attempt.spec.requirements, await self.ladder())
        if attempt.sources:
            for blob in blobs_of(attempt.spec):
                await self.fetch(blob, *attempt.sources)
        try:
            await self._lay(attempt.spec, folder / f"{WORK}.new")
        except FileExistsError as error:
            raise Malformed(f"two things want to be the file '{Path(error.filename).name}'") from error
        except OSError as error:
            raise StorageFailed(f"a task's folder cannot be written: {error.strerror}") from error

    async def _lay(self, spec: TaskSpec, new: Path) -> None:
        bundle = None if spec.bundle is None else await self._blobs.open(spec.bundle)
        data = [(await self._blobs.open(each.blob), each.path) for each in spec.data]
        await asyncio.to_thread(_lay, spec, new, bundle, data, self._own(spec))

    def _own(self, spec: TaskSpec) -> dict[str, Path]:
        """Where the node's own data are that a program asks for."""
        known = self._bounds.own
        if absent := [name for name in spec.own if not (name in known and known[name].exists())]:
            have = ", ".join(sorted(known)) or "none"
            raise NotFound(f"this node has no data '{absent[0]}' of its own", hint=f"tasks.own of its config names: {have}")
        return {name: known[name].resolve() for name in spec.own}

    async def start(self, attempt: Attempt) -> Run:
        """The attempt's run, started now or before."""
        folder = self.folder(attempt)
        if (found := self._runner.adopt(folder)) is not None:
            return found
        try:
            return await self._runner.start(await self._program(attempt))
        except Conflict as error:
            if (found := self._runner.adopt(folder)) is not None:
                return found
            raise Malformed(error.message, hint=error.hint) from error

    def find(self, attempt: Attempt) -> Run | None:
        """The attempt's run if it was started, over or not."""
        return self._runner.adopt(self.folder(attempt))

    def forbid(self, attempt: Attempt) -> Run | None:
        """Sees to it that the attempt is never started from now on; its run if it was before."""
        folder = self.folder(attempt)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._runner.forbid(folder)

    async def _program(self, attempt: Attempt) -> Program:
        ladder, spec, folder = await self.ladder(), attempt.spec, self.folder(attempt)
        work = folder / WORK
        entry = spec.entry if spec.bundle is not None and (work / spec.entry).is_file() else SCRIPT
        argv = list(spec.command) or [sys.executable, entry]
        packages = (str(self._environments.path(spec.requirements)),) if spec.requirements else ()
        readable = (*interpreter_paths(), *packages, *map(str, self._own(spec).values()))
        return Program(
            folder=folder,
            argv=[*argv, *spec.args],
            cwd=work,
            output=folder / OUTPUT,
            notes=folder / NOTES,
            watched=work,
            environment={**_environment(attempt, work), **({"PYTHONPATH": packages[0]} if packages else {})},
            limits=spec.limits.within(self._bounds.limits),
            box=Box(ladder.level.value, readable, (str(work),), spec.network and self._bounds.network, ladder.etc),
        )

    async def artifacts(self, attempt: Attempt) -> tuple[Artifact, ...]:
        """What the attempt left in its folder `artifacts`, stored as blobs."""
        folder = self.folder(attempt) / WORK / ARTIFACTS
        found: list[Artifact] = []
        if not _holds_anything(folder):  # as most: a thread would cost more than the look
            return ()
        for path in await asyncio.to_thread(_plain_files, folder):
            name = path.relative_to(folder).as_posix()
            try:
                info = await self._blobs.put(path, most=ARTIFACT_BYTES_MOST)
                found.append(Artifact(path=name, blob=info.id, size=info.size))
            except (EcnodeError, ValueError) as error:
                log.warning("an artifact is not kept", extra={"task": attempt.task, "reason": str(error)[:200]})
        return tuple(found)

    async def notes(self, attempt: Attempt, most: int) -> tuple[str, ...]:
        """The last lines that the attempt wrote to its log descriptor."""
        path = self.folder(attempt) / NOTES
        return await asyncio.to_thread(_last_lines, path, most) if task_logs.size(path) else ()

    async def clear(self, task: str, revision: int, number: int) -> None:
        """Gives the disk back what an attempt worked in; its log stays."""
        folder = self._root / task / f"{revision}.{number}"
        for name in (WORK, f"{WORK}.new"):
            if (folder / name).exists():
                await asyncio.to_thread(shutil.rmtree, folder / name, ignore_errors=True)

    async def kept(self) -> tuple[str, ...]:
        """The tasks that have a folder here."""
        return await asyncio.to_thread(_task_folders, self._root)

    async def forget(self, task: str) -> None:
        """Deletes a task's folder with its logs."""
        await asyncio.to_thread(shutil.rmtree, self._root / task, ignore_errors=True)

    async def sweep(self, live: Iterable[str]) -> None:
        """Clears what tasks that are over have left, where a kill came before `clear`."""
        await asyncio.to_thread(_sweep, self._root, frozenset(live))


def _environment(attempt: Attempt, work: Path) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(work),
        "TMPDIR": str(work / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ECNODE_TASK": attempt.task,
        "ECNODE_REVISION": str(attempt.revision),
        "ECNODE_ATTEMPT": str(attempt.number),
        "ECNODE_CONFIG": str(work / "config.json"),
        "ECNODE_DATA": str(work / "data"),
        "ECNODE_ARTIFACTS": str(work / ARTIFACTS),
        "ECNODE_LOG_FD": "3",
    }


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def blobs_of(spec: TaskSpec) -> list[str]:
    """The blobs that a program needs."""
    return [*([spec.bundle] if spec.bundle is not None else []), *(data.blob for data in spec.data)]


def _lay(
    spec: TaskSpec, new: Path, bundle: BinaryIO | None, data: Sequence[tuple[BinaryIO, str]], own: Mapping[str, Path]
) -> None:
    with ExitStack() as exits:
        for file in (*([bundle] if bundle is not None else []), *(each for each, _ in data)):
            exits.enter_context(file)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700, parents=True)
        if spec.script is not None:
            (new / SCRIPT).write_text(spec.script)
        elif bundle is not None:
            _lay_out(bundle, new, spec.entry)
        for file, path in data:
            archive.copy(file, new / "data" / path)
        (new / "data").mkdir(mode=0o700, exist_ok=True)
        for name, place in own.items():
            (new / "data" / name).symlink_to(place)
        _finish(new, json.dumps(spec.config))


def _lay_out(file: BinaryIO, folder: Path, entry: str) -> None:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not archive.is_archive(head):
        archive.copy(file, folder / SCRIPT)
        return
    archive.unpack(file, folder)
    if not (folder / entry).is_file():
        raise Malformed(f"the archive has no file '{entry}'", hint="name the file to run with entry")


def _finish(new: Path, config: str) -> None:
    for name in ("data", ARTIFACTS, "tmp"):
        (new / name).mkdir(mode=0o700, exist_ok=True)
    (new / "config.json").write_text(config)
    new.rename(new.with_suffix(""))


def _holds_anything(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _plain_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    folders = [folder]
    while folders and len(found) < ARTIFACTS_MOST:
        with suppress(OSError):
            for path in sorted(folders.pop().iterdir()):
                mode = path.lstat()
                if stat.S_ISDIR(mode.st_mode):
                    folders.append(path)
                elif stat.S_ISREG(mode.st_mode) and mode.st_nlink == 1:  # a link could name what is not the task's
                    found.append(path)
    return found[:ARTIFACTS_MOST]


def _last_lines(path: Path, most: int) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - NOTES_READ))
            lines = file.read(NOTES_READ).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    return tuple(lines[-most:])


def _task_folders(root: Path) -> tuple[str, ...]:
    try:
        return tuple(path.name for path in root.iterdir() if path.name.startswith("t-"))
    except FileNotFoundError:
        return ()


def _sweep(root: Path, live: frozenset[str]) -> None:
    for task in _task_folders(root):
        if task not in live:
            for work in (root / task).glob(f"*/{WORK}*"):
                shutil.rmtree(work, ignore_errors=True)
