"""Where are the packages that a task's script asks for?

In a folder of their own, named by the hash of what was asked for and of the interpreter: made once by pip, shut in like a task
but with the network, and used by every task that asks for the same. Only wheels are taken: to build a package is to run it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.errors import Malformed, StorageFailed
from node.model.process import Limits
from node.roles.shared.runner.probe import Ladder, interpreter_paths
from node.roles.shared.runner.runner import Program, Runner
from node.roles.shared.runner.sandbox import Box

log = logging.getLogger(__name__)

KEPT: Final = 16  # environments; one that was used within a day stays in any case
USED_S: Final = 86_400.0
INSTALL_S: Final = 600.0
SAID: Final = 2000  # characters of pip's last words
_DONE, _RUN = "packages", "run"


@dataclass(frozen=True, slots=True)
class Packages:
    """Whether tasks may ask for packages here, and whence they come: the URL of an index, or a folder of wheels."""

    allowed: bool = False
    index: str = ""


class Environments:
    """The environments of a node."""

    def __init__(self, runner: Runner, root: Path, clock: Clock, packages: Packages) -> None:
        self.packages = packages
        self._runner = runner
        self._root = root
        self._clock = clock
        self._making: dict[str, asyncio.Lock] = {}

    def path(self, requirements: Sequence[str]) -> Path:
        """The folder that holds what is asked for, once it was made."""
        said = "\n".join([platform.python_version(), platform.machine(), self.packages.index, *sorted(set(requirements))])
        return self._root / hashlib.sha256(said.encode()).hexdigest()[:32] / _DONE

    async def make(self, requirements: Sequence[str], ladder: Ladder) -> None:
        """Installs what is asked for, if that was not done before.

        Raises:
            Malformed: it cannot be installed; the message has pip's last words.
            StorageFailed: the disk refuses.
        """
        done = self.path(requirements)
        async with self._making.setdefault(done.parent.name, asyncio.Lock()):
            if not done.exists():
                await self._install(done.parent, requirements, ladder)
            await asyncio.to_thread(os.utime, done.parent)
        self._making = {name: lock for name, lock in self._making.items() if lock.locked()}

    async def _install(self, folder: Path, requirements: Sequence[str], ladder: Ladder) -> None:
        try:
            await asyncio.to_thread(_fresh, folder, self._root, self._clock.wall() - USED_S)
        except OSError as error:
            raise StorageFailed(f"an environment cannot be made: {error.strerror}") from error
        log.info("packages are being installed", extra={"environment": folder.name, "packages": ", ".join(requirements)})
        facts = await (await self._runner.start(self._program(folder, requirements, ladder))).wait()
        if not facts.good:
            text = await asyncio.to_thread((folder / _RUN / "output").read_text, errors="replace")
            last = next((line for line in reversed(text.splitlines()) if line.startswith("ERROR")), text[-SAID:])
            raise Malformed(f"the requirements cannot be installed: {last[:SAID] or facts}")
        await asyncio.to_thread((folder / "new").rename, folder / _DONE)

    def _program(self, folder: Path, requirements: Sequence[str], ladder: Ladder) -> Program:
        index = self.packages.index
        local = Path(index).is_dir()
        source = ["--no-index", "--find-links", index] if local else ["--index-url", index] if index else []
        options = ["--target", str(folder / "new"), "--only-binary", ":all:", "--no-input", "--no-cache-dir"]
        return Program(
            folder=folder / _RUN,
            argv=[
                sys.executable,
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                *options,
                *source,
                "--",
                *requirements,
            ],
            cwd=folder,
            output=folder / _RUN / "output",
            environment={"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder / "tmp"), "LANG": "C.UTF-8"},
            watched=folder,
            limits=Limits(wall_s=INSTALL_S),
            box=Box(
                ladder.level.value,
                (*interpreter_paths(), *([index] if local else [])),
                (str(folder),),
                network=not local,
                etc=ladder.etc,
            ),
        )


def _fresh(folder: Path, root: Path, used: float) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("tmp", _RUN):
        (folder / name).mkdir(mode=0o700, parents=True)
    others = sorted(root.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for old in others[KEPT:]:
        if old.stat().st_mtime < used:
            shutil.rmtree(old, ignore_errors=True)
