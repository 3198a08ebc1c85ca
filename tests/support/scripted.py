"""A plotter and an end of plots that do what a test says: for orders of events that a real one cannot be made to show."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from talents import CLOCK, Talent, settings_of

from node.clock import ManualClock
from node.config.schema import TalentConfig
from node.errors import ChildLost, EcnodeError
from node.model.plot import PLOT_LIFE, Plot, PlotState, PlotStatus
from node.model.process import Facts
from node.model.wire.plot import PlotUpdate
from node.roles.shared.runner.runner import Program
from node.roles.talent.finisher import Ended
from node.roles.talent.places import FOLDER
from node.storage import Store, open_store

CONTENT_BYTES = 4


class ScriptedRun:
    """A process that ends when the test, or an order to stop, says so."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.folder = folder
        self.pid = pid
        self.stops = 0
        self.suspended = False
        self.facts: Facts | None = None
        self._waiting: set[asyncio.Event] = set()

    @property
    def alive(self) -> bool:
        return self.facts is None

    async def wait(self) -> Facts:
        ended = asyncio.Event()
        self._waiting.add(ended)
        while self.facts is None:
            await ended.wait()
        return self.facts

    def stop(self, number: signal.Signals, _grace: float) -> None:
        self.stops += 1
        self.end(Facts(signal=int(number)))

    def suspend(self) -> None:
        self.suspended = True

    def resume(self) -> None:
        self.suspended = False

    def end(self, facts: Facts) -> None:
        if self.facts is None:
            self.facts = facts
            for ended in self._waiting:
                ended.set()

    def finish_file(self, folder: Path) -> Path:
        """Leaves a finished plot in a temp folder."""
        file = folder / f"plot-k18-2026-12-01-00-00-{self.pid:064x}.plot"
        file.write_bytes(bytes(CONTENT_BYTES))
        return file


class ScriptedRunner:
    """Stands where the runner does, and outlives nodes as processes do. `refusals` are what the next starts raise."""

    def __init__(self) -> None:
        self.runs: dict[Path, ScriptedRun] = {}
        self.forbidden: set[Path] = set()
        self.refusals: list[Exception] = []
        self.late = False

    async def start(self, program: Program) -> ScriptedRun:
        await asyncio.to_thread(lambda: None)  # a real start takes its turns of the loop
        if self.refusals:
            if self.late:
                self.runs[program.folder] = ScriptedRun(program.folder, len(self.runs) + 100)
            raise self.refusals.pop(0)
        if program.folder in self.forbidden:
            raise ChildLost("started too late")
        return self.runs.setdefault(program.folder, ScriptedRun(program.folder, len(self.runs) + 100))

    def forbid(self, folder: Path) -> ScriptedRun | None:
        self.forbidden.add(folder)
        return self.runs.get(folder)

    async def stop(self) -> None:
        pass

    def of(self, id: str) -> list[ScriptedRun]:
        """The runs of a plot, the first first."""
        return [run for folder, run in self.runs.items() if folder.parent.name == id]


class ScriptedFinisher:
    """Stands where the finisher does: copies, unless there is something to raise first."""

    def __init__(self) -> None:
        self.faults: list[EcnodeError] = []

    async def finish(self, _plot: Plot, source: Path, folder: Path, progress: Callable[[float], None]) -> Ended:
        progress(0.5)
        if self.faults:
            raise self.faults.pop(0)
        await asyncio.to_thread(shutil.copyfile, source, folder / source.name)
        return Ended(CONTENT_BYTES, "0" * 64, 0.1, 50.0, source.stem[-64:], 5)


class Lab:
    """A talent with scripted plotters on a clock that stands still; it can be killed and started again."""

    def __init__(self, root: Path, store: Store, clock: ManualClock, config: TalentConfig) -> None:
        self.root = root
        self.store = store
        self.clock = clock
        self.config = config
        self.runner = ScriptedRunner()
        self.finisher = ScriptedFinisher()
        self.told: list[PlotUpdate] = []
        self.talent = self._life()

    @classmethod
    async def open(cls, root: Path, **settings: object) -> Lab:
        clock = ManualClock()
        given = {"plotter": "chia", "command": "/bin/true", **settings}
        lab = cls(root, await open_store("sqlite:///:memory:", root, clock), clock, settings_of(root, **given))
        await lab.talent.start()
        return lab

    def _life(self) -> Talent:
        talent = Talent(self.root, self.store, self.config, clock=self.clock, runner=self.runner, finisher=self.finisher)
        talent.told.updates = self.told
        return talent

    async def restart(self) -> None:
        """Kills the node between two turns of its loop, and starts it again."""
        await self.talent.die()
        self.talent = self._life()
        await self.talent.start()

    async def close(self) -> None:
        await self.talent.die()
        await self.store.close()

    async def plot(self, id: str) -> PlotStatus:
        return await self.store.plots.status(id)

    async def until(self, id: str, *states: PlotState) -> PlotStatus:
        """The plot, once it is in one of these states; time passes."""
        async with CLOCK.timeout(10.0):
            while (plot := await self.plot(id)).state not in states:
                await self.clock.advance(5.0)
                await CLOCK.sleep(0.001)
            if plot.state in PLOT_LIFE.terminal and (task := self.talent.supervisor._tasks.get(id)) is not None:
                await task  # it cleans up
        return plot

    async def created(self, **request: object) -> str:
        """A new plot that the talent has under way."""
        id, answer = await self.talent.create(**request)
        assert answer.is_success, answer.msg
        async with CLOCK.timeout(10.0):
            while not self.talent.ledger.has(id):
                await CLOCK.sleep(0.001)
        return id

    async def running(self, **request: object) -> tuple[str, ScriptedRun]:
        """A new plot whose plotter runs."""
        id = await self.created(**request)
        await self.until(id, PlotState.STARTED)
        (run,) = self.runner.of(id)
        return id, run

    def folder(self, id: str) -> Path:
        return self.root / "cache" / f"{FOLDER}{id}"

    def left(self) -> list[str]:
        return [path.name for path in (self.root / "cache").iterdir()]

    def steps_told(self, id: str) -> list[str]:
        return [str(step.state) for update in self.told if update.plot.id == id for step in update.steps]
