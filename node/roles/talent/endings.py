"""How has a plot ended, and what is taken away after it?

An end is judged by what lies on the disk: a finished file outranks an exit code and a stop. A plot is over once its end is on
the record; only then is anything taken away, and of a finished plot only the file whose copy is proven.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config.schema import TalentConfig
from node.errors import Conflict, DestinationFull, NotAPlot, NotFound, Unavailable
from node.model.plot import COPY, Failure, Plot, PlotState, Plotter, PlotTime, TimeKind
from node.model.process import Facts
from node.pipeline.plot.plotters import SPEC
from node.roles.shared.runner.runner import Run
from node.roles.talent.finisher import Ended, Finisher
from node.roles.talent.ledger import Ledger, is_news
from node.roles.talent.log_receiver import LogReceiver
from node.roles.talent.places import Places, places, strays

log = logging.getLogger(__name__)

AGAIN_EVERY: Final = 5.0  # between two tries to bring a plot to a destination that is full or away
TAIL_BYTES: Final = 4096


@dataclass(slots=True)
class Held:
    """A plot that has its directories: it starts, runs or is brought to its destination. `since` is of the monotonic clock."""

    places: Places
    since: float
    run: Run | None = None
    plotting: bool = True
    doomed: str = ""


class Endings:
    """What comes after the processes of plots. `over` is told of every plot that has ended."""

    def __init__(
        self,
        config: TalentConfig,
        ledger: Ledger,
        receiver: LogReceiver,
        finisher: Finisher,
        *,
        clock: Clock,
        over: Callable[[str], None],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._receiver = receiver
        self._finisher = finisher
        self._clock = clock
        self._over = over

    async def see_through(self, id: str, held: Held, facts: Facts) -> None:
        """Concludes, again where the node's disk or a temp directory refuses for a while."""
        while self._ledger.has(id):
            try:
                await self._receiver.last(id)
                await self._conclude(id, held, facts)
            except (Unavailable, OSError) as error:
                log.warning("end of a plot not kept yet", extra={"plot": id, "reason": str(error)})
                await self._clock.sleep(AGAIN_EVERY)

    async def _conclude(self, id: str, held: Held, facts: Facts) -> None:
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
            await asyncio.to_thread(held.places.clean, plot.plotter or Plotter.BUILTIN)  # nothing is left when that is told
            await self._let_go(await self._ledger.step(id, "end"), held.places)
        elif held.doomed:
            await self._failed(id, held, Failure.PLOTTER_ERROR, held.doomed)
        else:
            await self._failed(id, held, *verdict(facts, await asyncio.to_thread(_last_words, held.places.log)))

    async def _bring(self, id: str, held: Held, file: Path) -> None:
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
        await self._finished(id, held, ended)

    async def _still(self, id: str, reason: str) -> None:
        if is_news(self._ledger.get(id).reason, reason):
            log.warning("finished plot waits", extra={"plot": id, "reason": reason})
            await self._ledger.note(id, reason=reason)

    async def _finished(self, id: str, held: Held, ended: Ended) -> None:
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
        await self._let_go(plot, held.places)

    async def _failed(self, id: str, held: Held, failure: Failure, text: str) -> None:
        await self._let_go(await self._ledger.step(id, "fail", f"{failure}: {text}"), held.places)

    async def _let_go(self, plot: Plot, its: Places) -> None:
        """Takes away what an ended plot leaves, its secret first; its log stays. What cannot go is swept at the next start."""
        self._over(plot.id)
        proven = plot.dest_file_name or "" if plot.state is PlotState.FINISHED else ""
        try:
            left = await asyncio.to_thread(_clean, its, plot, proven)
        except OSError as error:
            log.warning("files of a plot not taken away", extra={"plot": plot.id, "reason": str(error)})
            return
        if left:
            log.info("files left", extra={"plot": plot.id, "files": ", ".join(left[:8])})

    async def sweep(self, worker_id: str, homes: Path) -> None:
        """Takes away the temp folders that this worker left when it was killed at the wrong moment, of plots that are over."""
        known = frozenset(plot.id for plot in self._ledger.plots())
        for cache in self._config.cache:
            for id in await asyncio.to_thread(lambda path: list(strays(path, worker_id, known)), cache.path):
                try:
                    plot = await self._ledger.store.get(id)
                except NotFound:
                    continue
                its = places(plot, worker_id, homes)
                try:
                    await asyncio.to_thread(lambda its, plot: _clean(its, plot, _proven(plot)), its, plot)
                except OSError as error:
                    log.warning("files of a plot not taken away", extra={"plot": id, "reason": str(error)})


def _clean(its: Places, plot: Plot, proven: str) -> tuple[str, ...]:
    (its.home / SPEC).unlink(missing_ok=True)
    return its.clean(plot.plotter or Plotter.BUILTIN, proven=proven)


def _proven(plot: Plot) -> str:
    """The name of the file of an earlier life whose copy was proven and still lies at its destination; blocks."""
    if plot.state is not PlotState.FINISHED or not plot.dest_file_name:
        return ""
    try:
        size = (Path(plot.dest_path or "") / plot.dest_file_name).stat().st_size
    except OSError:
        return ""
    return plot.dest_file_name if size == plot.file_bytes else ""


def verdict(facts: Facts, words: str) -> tuple[Failure, str]:
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
