"""Which plots run on this talent, and what happens when one begins, ends or is to stop?

One loop decides who starts (`pipeline/plot/schedule.py` is the rule), woken by whatever can change the answer: a new plot, an
ended plotter, a phase that is over. One task for each plot that runs waits for the end of its process and judges it by what
lies on the disk: a finished file outranks an exit code. Ending the node ends no plotter; `recover` finds them again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config.schema import TalentConfig
from node.errors import ChildLost, Conflict, DestinationFull, EcnodeError, NotAPlot, NotFound, Unavailable
from node.model.plot import COPY, DestType, Failure, Plot, PlotState, Plotter, PlotTime, TimeKind
from node.model.process import Facts, Limits
from node.pipeline.plot.copying import discard
from node.pipeline.plot.plotters import ADAPTERS, SPEC, find_program, missing_text, order_of
from node.pipeline.plot.schedule import Limits as Rules
from node.pipeline.plot.schedule import Snapshot, Start, Waiting, decide
from node.pipeline.plot.space import needs
from node.roles.shared.runner.runner import Program, Run, Runner
from node.roles.shared.tasks import begin, end
from node.roles.talent.directories import Occupied, survey
from node.roles.talent.finisher import Ended, Finisher
from node.roles.talent.ledger import Ledger
from node.roles.talent.log_receiver import LogReceiver
from node.roles.talent.places import Places, places, strays

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0  # seconds between two looks at the disks: their room changes without telling anybody
AGAIN_EVERY: Final = 5.0  # between two tries to bring a plot to a destination that is full or away
TAIL_BYTES: Final = 4096
_FIGURES: Final = re.compile(r"[\d.]+ ?[A-Za-z]*")
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "CHIA_ROOT", "LD_LIBRARY_PATH")
_UNLIMITED: Final = Limits(
    memory_bytes=0, processes=0, files=0, file_bytes=0, output_bytes=0, disk_bytes=0, disk_files=0, kept_bytes=64 * 2**20
)


@dataclass(slots=True)
class _Held:
    """A plot that has its directories: it starts, runs or is brought to its destination."""

    places: Places
    since: float
    run: Run | None = None
    plotting: bool = True
    doomed: str = ""


class Supervisor:
    """The plotters of one talent; `homes` holds a folder for each plot, `worker_id` marks the temp folders."""

    def __init__(
        self,
        config: TalentConfig,
        ledger: Ledger,
        receiver: LogReceiver,
        runner: Runner,
        finisher: Finisher,
        *,
        clock: Clock,
        worker_id: str,
        homes: Path,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._receiver = receiver
        self._runner = runner
        self._finisher = finisher
        self._clock = clock
        self._worker_id = worker_id
        self._homes = homes
        self._held: dict[str, _Held] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self.plotter = Plotter(config.plotter)
        self.snapshot = Snapshot(0.0, (), (), ())
        self.problem = ""
        receiver.stalled = self._stalled
        receiver.phase_left = self._wake.set

    def wake(self) -> None:
        """Has the schedule looked at again, now."""
        self._wake.set()

    def home(self, id: str) -> Path:
        """The folder of a plot below the node's data."""
        return self._homes / id

    async def run(self) -> None:
        """Finds the plotters of an earlier life, then starts plots until cancelled."""
        await self._recover()
        while True:
            self._wake.clear()
            try:
                again = await self._schedule()
            except EcnodeError as error:  # the disk of the node: who waits goes on waiting
                log.warning("no plot started", extra={"reason": error.message})
                again = None
            try:
                async with self._clock.timeout(LOOK_EVERY if again is None else min(again, LOOK_EVERY)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def stop_all(self) -> None:
        """Lets go of everything; plotters go on. Harmless when repeated."""
        await end(*self._tasks.values())
        await self._runner.stop()

    # What the worker asks for

    async def stop(self, id: str) -> str:
        """Ends a plot in whatever state it is; says what that means for it.

        Raises:
            NotFound: no such plot is under way.
        """
        plot = self._ledger.get(id)
        if plot.state is not PlotState.STOPPING:
            plot = await self._ledger.step(id, "stop")
        held = self._held.get(id)
        if held is None:
            await self._stopped(id, None)
            return "it had not started"
        if not held.plotting:
            return "its file is complete: it is brought to its destination"
        if held.run is not None:
            held.run.stop(ADAPTERS[plot.plotter or self.plotter].stop_signal, self._config.stop_grace)
        return "its processes are being ended"

    async def suspend(self, id: str, *, suspended: bool) -> Plot:
        """Freezes the plotter of a plot, or lets it go on.

        Raises:
            NotFound: no such plot is under way.
            Conflict: its plotter does not run.
        """
        plot, held = self._ledger.get(id), self._held.get(id)
        if held is None or held.run is None or not held.plotting or plot.state is PlotState.STOPPING:
            raise Conflict(
                f"plot {id} is {plot.state} and has no plotter that runs", hint="only a running plot can be suspended"
            )
        if suspended:
            held.run.suspend()
        else:
            held.run.resume()
        if plot.suspended == suspended:
            return plot
        return await self._ledger.note(id, suspended=suspended, eta_s=None)

    # Who starts

    async def _schedule(self) -> float | None:
        """Starts whoever can start; the seconds until time alone changes the answer."""
        occupied = [
            Occupied(self._ledger.get(id), held.places, held.plotting, held.since)
            for id, held in self._held.items()
            if self._ledger.has(id)
        ]
        self.snapshot = await asyncio.to_thread(survey, self._config, occupied, self._clock.monotonic())
        waiting = [plot for plot in self._ledger.plots() if plot.state is PlotState.PENDING and plot.id not in self._held]
        self.problem = "" if self._program() else missing_text(self.plotter, self._config.command)
        if not waiting:
            return None
        if self.problem:
            for plot in waiting:
                await self._waits(plot, self.problem)
            return None
        rules = Rules(
            self._config.max_parallel, self._config.max_per_device, self._config.max_first_phase, self._config.stagger
        )
        decision = decide(rules, self.snapshot, [self._waiting(plot) for plot in waiting])
        for start in decision.starts:
            await self._start(start)
        for id, reason in decision.reasons.items():
            if self._ledger.has(id):
                await self._waits(self._ledger.get(id), reason)
        return decision.again_s

    def _program(self) -> str | None:
        return find_program(self.plotter, self._config.command)

    def _waiting(self, plot: Plot) -> Waiting:
        need = needs(self.plotter, plot.ksize or 0)
        return Waiting(plot.id, need.cache1, need.cache2, need.dest, plot.cache1 or "", plot.cache2 or "", plot.dest_path or "")

    async def _waits(self, plot: Plot, reason: str) -> None:
        """Says why a plot waits; figures that change meanwhile are no news."""
        if plot.state is PlotState.PENDING and _FIGURES.sub("#", plot.reason) != _FIGURES.sub("#", reason):
            log.info("plot waits", extra={"plot": plot.id, "reason": reason})
            await self._ledger.note(plot.id, reason=reason)

    async def _start(self, start: Start) -> None:
        program = self._program()
        plot = await self._ledger.note(
            start.id,
            tell=False,
            reason="",
            plotter=self.plotter,
            cache1=start.cache1,
            cache2=start.cache2,
            dest_path=start.dest,
            dest_type=next(DestType(one.type) for one in self._config.destination if str(one.path) == start.dest),
        )
        held = self._held[plot.id] = _Held(places(plot, self._worker_id, self._homes), self._clock.monotonic())
        try:
            folder = await asyncio.to_thread(self._prepare, plot, held.places)
            argv = ADAPTERS[self.plotter].command(
                program or "", order_of(plot, held.places.temp1, held.places.temp2), held.places.home / SPEC
            )
            held.run = await self._runner.start(
                Program(
                    folder=folder,
                    argv=argv,
                    cwd=held.places.home,
                    output=held.places.log,
                    environment={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                    limits=_UNLIMITED,
                )
            )
        except (OSError, Conflict, ChildLost) as error:
            del self._held[plot.id]
            await self._waits(self._ledger.get(plot.id), str(error))
            if self._ledger.get(plot.id).state is PlotState.STOPPING:
                await self._stopped(plot.id, None)
            return
        await self._began(plot.id, held, held.run)

    def _prepare(self, plot: Plot, its: Places) -> Path:
        """Makes the folders and writes the order; gives the folder of the run. Blocks."""
        its.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        its.make()
        spec = its.home / SPEC
        content = json.dumps(order_of(plot, its.temp1, its.temp2).spec)
        descriptor = os.open(spec, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        earlier = its.runs()
        folder = its.run(int(earlier[-1].name.removeprefix("run-")) + 1 if earlier else 1)
        folder.mkdir(mode=0o700)
        return folder

    async def _began(self, id: str, held: _Held, run: Run) -> None:
        """Records the process of a plot and looks after it from now on."""
        plot = self._ledger.get(id)
        if plot.state is PlotState.PENDING:
            plot = await self._ledger.step(
                id, "start", plot_pid=run.pid, log_pid=os.getpid(), worker_id=self._worker_id, started_at=self._clock.wall()
            )
        elif plot.state is PlotState.STOPPING:
            run.stop(ADAPTERS[self.plotter].stop_signal, self._config.stop_grace)
        elif plot.log_pid != os.getpid():
            plot = await self._ledger.note(id, tell=False, log_pid=os.getpid())
        await self._receiver.follow(plot, held.places.log)
        self._care(id, self._watch(id, held, run))

    def _care(self, id: str, work: Coroutine[None, None, None]) -> None:
        task = self._tasks[id] = begin(work, f"plot {id}")
        task.add_done_callback(lambda done: self._tasks.pop(id, None) if self._tasks.get(id) is done else None)

    # How one ends

    async def _watch(self, id: str, held: _Held, run: Run) -> None:
        facts = await run.wait()
        held.plotting = False
        self._wake.set()
        await self._see_through(id, held, facts)

    async def _see_through(self, id: str, held: _Held, facts: Facts) -> None:
        """Concludes, again where the node's disk or a temp directory refuses for a while."""
        while self._ledger.has(id):
            try:
                await self._receiver.last(id)
                await self._conclude(id, held, facts)
            except (Unavailable, OSError) as error:
                log.warning("end of a plot not kept yet", extra={"plot": id, "reason": str(error)})
                await self._clock.sleep(AGAIN_EVERY)

    async def _conclude(self, id: str, held: _Held, facts: Facts) -> None:
        """Judges an end by what lies on the disk."""
        plot = self._ledger.get(id)
        file = await asyncio.to_thread(held.places.finished_file)
        log.info(
            "plotter ended",
            extra={
                "plot": id,
                "code": facts.code,
                "signal": facts.signal,
                "lost": facts.lost,
                "file": file.name if file else "",
            },
        )
        if file is not None:
            await self._bring(id, held, file)
        elif plot.state is PlotState.STOPPING:
            await self._stopped(id, held)
        elif held.doomed:
            await self._failed(id, held, Failure.PLOTTER_ERROR, held.doomed)
        else:
            await self._failed(id, held, *_verdict(facts, await asyncio.to_thread(_last_words, held.places.log)))

    async def _bring(self, id: str, held: _Held, file: Path) -> None:
        """Brings a finished file to its destination, however long it takes to get room there."""
        plot = self._ledger.get(id)
        if plot.state is PlotState.STARTED:
            plot = await self._ledger.step(id, "run")
        plot = await self._ledger.note(id, phase=COPY, table=0, dest_file_name=file.name, suspended=False)
        folder, deadline = Path(plot.dest_path or ""), self._clock.monotonic() + self._config.dest_full_timeout
        while True:
            try:
                ended = await self._finisher.finish(plot, file, folder, lambda _done: None)
                break
            except NotAPlot as error:
                await self._failed(id, held, Failure.VERIFY_FAILED, f"{error.message}; the file stays in {file.parent}")
                return
            except (Conflict, Unavailable) as error:
                full = isinstance(error, DestinationFull)
                if self._clock.monotonic() >= deadline:
                    text = f"{error.message}; the file stays in {file.parent}"
                    await self._failed(id, held, Failure.DEST_FULL_TIMEOUT if full else Failure.ABORTED, text)
                    return
                await self._still(id, f"the finished file waits: {error.message}")
            await self._clock.sleep(AGAIN_EVERY)
        await self._finished(id, held, file, ended)

    async def _still(self, id: str, reason: str) -> None:
        plot = self._ledger.get(id)
        if _FIGURES.sub("#", plot.reason) != _FIGURES.sub("#", reason):
            log.warning("finished plot waits", extra={"plot": id, "reason": reason})
            await self._ledger.note(id, reason=reason)

    async def _finished(self, id: str, held: _Held, file: Path, ended: Ended) -> None:
        copy = PlotTime(phase=COPY, table=0, kind=TimeKind.COPY, seconds=ended.seconds, cpu=ended.cpu)
        plot = await self._ledger.step(
            id,
            "finish",
            "it was complete when the stop came" if self._ledger.get(id).state is PlotState.STOPPING else "",
            times=(copy,),
            progress=1.0,
            plot_id=ended.plot_id,
            file_bytes=ended.size,
            file_sha256=ended.sha256,
            proofs=ended.proofs,
        )
        await asyncio.to_thread(discard, file)  # on the record and proven at its destination: only now the source may go
        await self._let_go(plot, held)

    async def _stopped(self, id: str, held: _Held | None) -> None:
        plot = self._ledger.get(id)
        if held is not None:
            await asyncio.to_thread(held.places.clean, plot.plotter or self.plotter)
        plot = await self._ledger.step(id, "end")
        await self._let_go(plot, held)

    async def _failed(self, id: str, held: _Held, failure: Failure, text: str) -> None:
        plot = await self._ledger.step(id, "fail", f"{failure}: {text}")
        await self._let_go(plot, held)

    async def _let_go(self, plot: Plot, held: _Held | None) -> None:
        """Takes away what an ended plot leaves, its secret first; its log stays."""
        self._held.pop(plot.id, None)
        if held is not None:
            left = await asyncio.to_thread(_clean, held.places, plot.plotter or self.plotter)
            if left:
                log.info("files left", extra={"plot": plot.id, "files": ", ".join(left[:8])})
        self._wake.set()

    def _stalled(self, id: str, seconds: float) -> None:
        held = self._held.get(id)
        if held is not None and held.run is not None and not held.doomed and seconds >= self._config.stall_timeout:
            held.doomed = f"no room in its temp directory for {seconds:.0f} s"
            held.run.stop(ADAPTERS[self.plotter].stop_signal, self._config.stop_grace)

    # After a restart

    async def _recover(self) -> None:
        """Takes up what an earlier life of the node began."""
        for plot in self._ledger.plots():
            await self._take_up(plot)
        await self._sweep()

    async def _take_up(self, plot: Plot) -> None:
        if plot.state is PlotState.RECEIVED:
            await self._ledger.step(plot.id, "queue")
            return
        its = places(plot, self._worker_id, self._homes)
        runs = await asyncio.to_thread(its.runs)
        run = self._runner.forbid(runs[-1]) if runs else None  # a start that is late must not come after this
        if run is not None:
            held = self._held[plot.id] = _Held(its, self._clock.monotonic(), run)
            log.info("plotter found again", extra={"plot": plot.id, "pid": run.pid, "alive": run.alive})
            await self._began(plot.id, held, run)
        elif plot.state is PlotState.STOPPING:
            held = _Held(its, self._clock.monotonic(), plotting=False)
            await self._stopped(plot.id, held)
        elif plot.state is not PlotState.PENDING:
            held = self._held[plot.id] = _Held(its, self._clock.monotonic(), plotting=False)
            self._care(plot.id, self._see_through(plot.id, held, Facts(lost=True)))

    async def _sweep(self) -> None:
        """Takes away the temp folders that this worker left when it was killed at the wrong moment, of plots that are over."""
        known = frozenset(plot.id for plot in self._ledger.plots())
        for cache in self._config.cache:
            for id in await asyncio.to_thread(lambda path: list(strays(path, self._worker_id, known)), cache.path):
                try:
                    plot = await self._ledger.store.get(id)
                except NotFound:
                    continue
                await asyncio.to_thread(_clean, places(plot, self._worker_id, self._homes), plot.plotter or self.plotter)


def _clean(its: Places, plotter: Plotter) -> tuple[str, ...]:
    (its.home / SPEC).unlink(missing_ok=True)
    return its.clean(plotter)


def _verdict(facts: Facts, words: str) -> tuple[Failure, str]:
    """Why a plotter that left no plot has failed."""
    if facts.error:
        return Failure.PLOTTER_ERROR, f"it could not be started: {facts.error}"
    if facts.lost:
        return Failure.LOST, "its process has gone, and nobody saw how"
    if facts.signal is not None:
        return Failure.ABORTED, f"the plotter was ended by {signal.Signals(facts.signal).name}"
    return Failure.PLOTTER_ERROR, f"exit code {facts.code}, its last words: {words}"


def _last_words(path: Path) -> str:
    """The last line of a log; blocks."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return "none"
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "none")
