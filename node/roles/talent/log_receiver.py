"""What do the plotters of this talent write, and what does it change?

A file tells nobody that it has grown, so all logs are looked at twice a second: one `stat` each, 2 µs. What is new is read,
and what it says is stored in one transaction with the place in the log, so that a restart goes on exactly there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.errors import EcnodeError
from node.model.plot import Plot, PlotState, Plotter, PlotTime
from node.pipeline.plot import progress
from node.pipeline.plot.lines import At, Found, LogEvent, Stalled, Took
from node.pipeline.plot.log import LogReader
from node.pipeline.plot.progress import Pace
from node.roles.talent.ledger import Ledger

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.5
CHUNK: Final = 256 * 1024  # of one look at one log: 3,000 lines, 10 ms of the loop
STORE_EVERY: Final = 2.0  # seconds between two stored progresses where nothing but the progress has moved
_TAKEN: Final = frozenset({"plot_id", "buffer", "threads", "stripe_size", "buckets", "p1_table_1_now_size"})


@dataclass(slots=True)
class _Watched:
    plot: str
    path: Path
    reader: LogReader
    pace: Pace
    began: float
    size: int = -1
    stored_at: float = 0.0
    stalled_at: float | None = None


class LogReceiver:
    """Reads the logs of running plots. `stalled` is told of a plotter that waits for room, and for how long it has."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._some = asyncio.Event()
        self.stalled: Callable[[str, float], None] = lambda _id, _seconds: None
        self.phase_left: Callable[[], None] = lambda: None

    async def follow(self, plot: Plot, path: Path) -> None:
        """Reads the log of a plot from where its record stands, from now on until `last`."""
        plotter = plot.plotter or Plotter.BUILTIN
        history = await self._ledger.store.history(plot.ksize or 0, plotter)
        reader = LogReader(plotter, self._ledger.place(plot.id))
        started = plot.started_at if plot.started_at is not None else self._clock.wall()
        began = self._clock.monotonic() - max(0.0, self._clock.wall() - started)
        self._watched[plot.id] = _Watched(plot.id, path, reader, progress.pace(plot.ksize or 0, history), began)
        self._some.set()

    async def last(self, id: str) -> None:
        """Reads what is left of a log and forgets it; a log that was lost is no reason for anything."""
        watched = self._watched.pop(id, None)
        if watched is not None:
            while await self._look(watched):
                pass

    async def refresh(self, id: str) -> None:
        """Reads a log to its present end."""
        if (watched := self._watched.get(id)) is not None:
            while await self._look(watched):
                pass

    def stalled_for(self, id: str) -> float:
        """Seconds that a plotter has waited for room by now; 0 where it does not."""
        watched = self._watched.get(id)
        if watched is None or watched.stalled_at is None:
            return 0.0
        return self._clock.monotonic() - watched.stalled_at

    async def run(self) -> None:
        """Looks at the logs until cancelled."""
        while True:
            if not self._watched:
                self._some.clear()
                await self._some.wait()
            for watched in list(self._watched.values()):
                try:
                    await self._look(watched)
                except EcnodeError as error:  # the disk of the node: it is tried again with the next look
                    log.warning("log not taken", extra={"plot": watched.plot, "reason": error.message})
                    self._again(watched)
                if watched.stalled_at is not None:
                    self.stalled(watched.plot, self._clock.monotonic() - watched.stalled_at)
            await self._clock.sleep(LOOK_EVERY)

    def _again(self, watched: _Watched) -> None:
        """Goes back to the place that was stored."""
        if self._ledger.has(watched.plot):
            plotter = self._ledger.get(watched.plot).plotter or Plotter.BUILTIN
            watched.reader, watched.size = LogReader(plotter, self._ledger.place(watched.plot)), -1

    async def _look(self, watched: _Watched) -> bool:
        """Whether there was something new."""
        reader = watched.reader
        try:
            size = os.stat(watched.path).st_size  # noqa: PTH116 - twice a second for every plot
            if size == watched.size or size <= reader.wanted:
                return False
            with watched.path.open("rb") as file:
                file.seek(reader.wanted)
                content = file.read(CHUNK)
        except OSError:
            return False
        watched.size = size if len(content) < CHUNK else -1
        events = reader.feed(content)
        if self._ledger.has(watched.plot):
            await self._apply(watched, events)
        return True

    async def _apply(self, watched: _Watched, events: list[LogEvent]) -> None:
        plot = self._ledger.get(watched.plot)
        changes = _changes(events)
        times = tuple(_time(event) for event in events if isinstance(event, Took))
        moved = [event for event in events if isinstance(event, At)]
        stalls = [event for event in events if isinstance(event, Stalled)]
        if stalls and watched.stalled_at is None:
            watched.stalled_at = self._clock.monotonic()
            changes["reason"] = f"the plotter waits: {stalls[-1].text}"
        elif moved and watched.stalled_at is not None and not stalls:
            watched.stalled_at = None
            changes["reason"] = ""
        if moved:
            self._at(watched, plot, moved[-1], changes)
        place = watched.reader.place
        if place.unknown != plot.unknown_lines:
            changes["unknown_lines"] = place.unknown
        now = self._clock.monotonic()
        worth_telling = bool(times) or bool(changes.keys() - {"progress", "eta_s", "unknown_lines"})
        if plot.state is PlotState.STARTED and events:
            watched.stored_at = now
            await self._ledger.step(plot.id, "run", str(changes.pop("reason", "")), times=times, place=place, **changes)
        elif worth_telling or now - watched.stored_at >= STORE_EVERY:
            watched.stored_at = now
            await self._ledger.note(plot.id, tell=worth_telling, times=times, place=place, **changes)
        if "phase" in changes and changes["phase"] != plot.phase:
            self.phase_left()

    def _at(self, watched: _Watched, plot: Plot, at: At, changes: dict[str, object]) -> None:
        done = progress.fraction(at.phase, at.table, at.part, watched.pace.shares)
        changes["progress"] = max(plot.progress, round(done, 4))
        if at.phase != plot.phase or at.table != plot.table:
            changes["phase"], changes["table"] = at.phase, at.table
        elapsed = self._clock.monotonic() - watched.began
        left = progress.remaining(done, elapsed, watched.pace.total_s)
        changes["eta_s"] = None if left is None or plot.suspended else round(left, 1)


def _changes(events: list[LogEvent]) -> dict[str, object]:
    return {event.column: event.value for event in events if isinstance(event, Found) and event.column in _TAKEN}


def _time(event: Took) -> PlotTime:
    return PlotTime(phase=event.phase, table=event.table, kind=event.kind, seconds=event.seconds, cpu=event.cpu)
