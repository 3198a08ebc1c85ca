"""Programs under a runner, in folders of a test's own."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from node.clock import SystemClock
from node.model.process import Facts, Limits
from node.roles.shared.runner.probe import interpreter_paths
from node.roles.shared.runner.runner import Program, Run, Runner
from node.roles.shared.runner.sandbox import Box

CLOCK = SystemClock()
MIB = 2**20
WAIT = 30.0


class Bench:
    """Starts programs at one level; each has a folder `work` of its own to write in."""

    def __init__(self, root: Path, level: str = "L1") -> None:
        self.runner = Runner(CLOCK)
        self.root = root
        self.level = level
        self.etc = ""
        self._numbers = itertools.count(1)
        self._runs: list[Run] = []

    def program(self, argv: Sequence[str], *, readable: Sequence[str] = (), **limits: float) -> Program:
        folder = self.root / str(next(self._numbers))
        (folder / "work").mkdir(parents=True)
        return Program(
            folder=folder,
            argv=argv,
            cwd=folder / "work",
            output=folder / "output",
            notes=folder / "notes",
            watched=folder / "work",
            environment={"PATH": "/usr/bin:/bin"},
            limits=Limits(**limits),
            box=Box(self.level, (*interpreter_paths(), *readable), (str(folder / "work"),), etc=self.etc),
        )

    async def start(self, *argv: str, **limits: float) -> Run:
        run = await self.runner.start(self.program(argv, **limits))
        self._runs.append(run)
        return run

    async def close(self) -> None:
        """Ends what a test that failed has left: a run outlives whoever started it."""
        for run in self._runs:
            if run.alive:
                run.stop(grace=0)
                await run.wait()
        await self.runner.stop()

    async def end(self, *argv: str, **limits: float) -> tuple[Facts, str]:
        """How a program ended, and what it said."""
        run = await self.start(*argv, **limits)
        async with CLOCK.timeout(WAIT):
            facts = await run.wait()
        return facts, (run.folder / "output").read_text(errors="replace")

    async def script(self, text: str, **limits: float) -> tuple[Facts, str]:
        return await self.end(sys.executable, "-I", "-S", "-c", text, **limits)
