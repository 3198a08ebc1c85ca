"""Which plots run on this talent, and what happens when one begins, ends or is to stop?

One loop decides who starts (`pipeline/plot/schedule.py` is the rule), woken by whatever can change the answer: a new plot, an
ended plotter, a phase that is over. One task for each plot that runs waits for the end of its process; what it means is for
`endings.py` to say. Ending the node ends no plotter; the next life finds them again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config.schema import TalentConfig
from node.errors import ChildLost, Conflict, EcnodeError, Unavailable
from node.model.plot import DestType, Plot, PlotState, Plotter
from node.model.process import Facts
from node.pipeline.plot.plotters import ADAPTERS, find_program, missing_text
from node.pipeline.plot.schedule import Limits as Rules
from node.pipeline.plot.schedule import Snapshot, Start, Waiting, decide
from node.pipeline.plot.space import needs
from node.roles.shared.runner.runner import Run, Runner
from node.roles.shared.tasks import begin, end
from node.roles.talent.directories import Occupied, survey
from node.roles.talent.endings import AGAIN_EVERY, Endings, Held
from node.roles.talent.finisher import Finisher
from node.roles.talent.launch import command, launch, prepare
from node.roles.talent.ledger import Ledger, is_news
from node.roles.talent.log_receiver import LogReceiver
from node.roles.talent.places import Places, places

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0  # seconds between two looks at the disks: their room changes without telling anybody


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
        self._clock = clock
        self._worker_id = worker_id
        self._homes = homes
        self._endings = Endings(config, ledger, receiver, finisher, clock=clock, over=self._over)
        self._held: dict[str, Held] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._recovered = asyncio.Event()
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
        await self.recover()
        while True:
            self._wake.clear()
            try:
                await self._ledger.tell_late()
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
        await self._recovered.wait()  # before that nobody knows whether it has a process
        plot = self._ledger.get(id)
        if plot.state is not PlotState.STOPPING:
            try:
                plot = await self._ledger.step(id, "stop")
            except Conflict:  # another stop was quicker
                plot = self._ledger.get(id)
        held = self._held.get(id)
        if held is None:
            self._conclude(id, self._places(plot))
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
            try:
                await self._start(start)
            except EcnodeError as error:  # it was stopped in the meantime, or the disk of the node refuses
                log.info("plot not started", extra={"plot": start.id, "reason": error.message})
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
        """Says why a plot waits."""
        if plot.state is PlotState.PENDING and is_news(plot.reason, reason):
            log.info("plot waits", extra={"plot": plot.id, "reason": reason})
            await self._ledger.note(plot.id, reason=reason)

    async def _start(self, start: Start) -> None:
        """Starts a plot where it was decided.

        Raises:
            Conflict, NotFound: it waits no longer.
            StorageFailed: that could not be kept; it waits on.
        """
        plot = await self._ledger.note(
            start.id,
            PlotState.PENDING,
            tell=False,
            reason="",
            plotter=self.plotter,
            cache1=start.cache1,
            cache2=start.cache2,
            dest_path=start.dest,
            dest_type=next(DestType(one.type) for one in self._config.destination if str(one.path) == start.dest),
        )
        held = self._held[plot.id] = Held(self._places(plot), self._clock.monotonic())
        try:
            folder = await asyncio.to_thread(prepare, plot, held.places)
            held.run = await launch(self._runner, folder, held.places, command(plot, held.places, self._program() or ""))
        except (OSError, Conflict, ChildLost) as error:
            del self._held[plot.id]
            plot = self._ledger.get(plot.id)
            if plot.state is PlotState.STOPPING:
                self._conclude(plot.id, held.places)
            else:
                await self._waits(plot, str(error))
            return
        self._care(plot.id, self._look_after(plot.id, held, held.run))

    async def _look_after(self, id: str, held: Held, run: Run) -> None:
        """Sees the process of a plot from here to its end, whatever comes between."""
        await self._began(id, held, run)
        facts = await run.wait()
        held.plotting = False
        self._wake.set()
        await self._endings.see_through(id, held, facts)

    async def _began(self, id: str, held: Held, run: Run) -> None:
        """Records the process of a plot, again where the node's disk refuses for a while."""
        while True:
            plot = self._ledger.get(id)
            try:
                if plot.state is PlotState.PENDING:
                    plot = await self._ledger.step(
                        id,
                        "start",
                        plot_pid=run.pid,
                        log_pid=os.getpid(),
                        worker_id=self._worker_id,
                        started_at=self._clock.wall(),
                    )
                elif plot.state is PlotState.STOPPING:
                    run.stop(ADAPTERS[plot.plotter or self.plotter].stop_signal, self._config.stop_grace)
                elif plot.log_pid != os.getpid():
                    plot = await self._ledger.note(id, tell=False, log_pid=os.getpid())
                await self._receiver.follow(plot, held.places.log)
            except Conflict:  # its stop came in between
                continue
            except Unavailable as error:
                log.warning("start of a plot not kept yet", extra={"plot": id, "reason": error.message})
                await self._clock.sleep(AGAIN_EVERY)
            else:
                return

    def _over(self, id: str) -> None:
        """A plot has ended: what it held is free."""
        self._held.pop(id, None)
        self._wake.set()

    def _conclude(self, id: str, its: Places) -> None:
        """Ends a plot that has no process."""
        held = self._held[id] = Held(its, self._clock.monotonic(), plotting=False)
        self._care(id, self._endings.see_through(id, held, Facts(lost=True)))

    def _places(self, plot: Plot) -> Places:
        return places(plot, self._worker_id, self._homes)

    def _care(self, id: str, work: Coroutine[None, None, None]) -> None:
        task = self._tasks[id] = begin(work, f"plot {id}")
        task.add_done_callback(lambda done: self._tasks.pop(id, None) if self._tasks.get(id) is done else None)

    def _stalled(self, id: str, seconds: float) -> None:
        held = self._held.get(id)
        if held is not None and held.run is not None and not held.doomed and seconds >= self._config.stall_timeout:
            held.doomed = f"no room in its temp directory for {seconds:.0f} s"
            held.run.stop(ADAPTERS[self.plotter].stop_signal, self._config.stop_grace)

    # After a restart

    async def recover(self) -> None:
        """Takes up what an earlier life of the node began; nothing is stopped before that is done."""
        for plot in self._ledger.plots():
            await self._take_up(plot)
        self._recovered.set()
        await self._endings.sweep(self._worker_id, self._homes)

    async def _take_up(self, plot: Plot) -> None:
        if plot.state is PlotState.RECEIVED:
            await self._ledger.step(plot.id, "queue")
            return
        its = self._places(plot)
        runs = await asyncio.to_thread(its.runs)
        run = self._runner.forbid(runs[-1]) if runs else None  # a start that is late must not come after this
        if run is not None:
            held = self._held[plot.id] = Held(its, self._clock.monotonic(), run)
            log.info("plotter found again", extra={"plot": plot.id, "pid": run.pid, "alive": run.alive})
            self._care(plot.id, self._look_after(plot.id, held, run))
        elif plot.state is not PlotState.PENDING:
            self._conclude(plot.id, its)
