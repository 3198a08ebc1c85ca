"""Who changes a plot of this talent, so that its record, its log's place and its overlord never disagree?

The ledger holds the plots that are not over and is the only one who changes them. A step is stored and, in the same
transaction, put into the outbox for the overlord that ordered the plot: what was stored while the outbox was full is told with
the next step, an end as soon as there is room, and after a restart all of it at once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.clock import Clock
from node.errors import Busy, Conflict, NotFound, Stale
from node.model.plot import PLOT_LIFE, LogPlace, Plot, PlotState, PlotStep, PlotTime
from node.model.wire.plot import PLOT_UPDATE, STEPS_MOST, TIMES_MOST, PlotUpdate
from node.roles.shared.delivery import Delivery
from node.storage.connection import Writing
from node.storage.plots import LIVE_MOST, Change, Plots, advance, follow_stop

log = logging.getLogger(__name__)

_FIGURES: Final = re.compile(r"[\d.]+ ?[A-Za-z]*")


@dataclass(slots=True)
class Entry:
    """A plot that is not over. `untold` are the steps that its overlord does not know yet."""

    plot: Plot
    overlord: str
    place: LogPlace = field(default_factory=LogPlace)
    untold: list[PlotStep] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Ledger:
    """The plots under way on this talent. `changed` is called after every step."""

    def __init__(self, store: Plots, delivery: Delivery, clock: Clock) -> None:
        self.store = store
        self._delivery = delivery
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._late: dict[str, Entry] = {}
        self.changed: Callable[[Plot], None] = lambda _: None

    async def load(self) -> None:
        """Finds what an earlier life left, and tells overlords what they do not know."""
        for plot in (*await self.store.live(), *await self.store.untold()):
            await self.take_in(plot)

    async def take_in(self, plot: Plot) -> None:
        """Takes a plot that was stored just now, or by an earlier life; harmless when repeated."""
        if plot.id in self._entries:
            return
        remembered = await self.store.log(plot.id)
        steps = await self.store.steps(plot.id, remembered.told)
        if plot.id in self._entries:
            return
        entry = Entry(plot, remembered.overlord, remembered.place, list(steps))
        if plot.state not in PLOT_LIFE.terminal:
            self._entries[plot.id] = entry
        await self._tell(entry)
        if plot.state in PLOT_LIFE.terminal:
            self._is_over(entry)
        self.changed(entry.plot)

    async def tell_late(self) -> None:
        """Tells overlords of ends that they could not be told when they came."""
        for id, entry in list(self._late.items()):
            await self._tell(entry)
            if entry.untold:
                return
            self._late.pop(id, None)

    async def _tell(self, entry: Entry) -> None:
        """Tells what its overlord does not know yet, where that is possible now."""
        async with entry.lock:
            if entry.untold and entry.overlord:
                await self._keep_and_tell(entry, Change(entry.plot, entry.plot))

    def _is_over(self, entry: Entry) -> None:
        """Forgets a plot, once its overlord knows its end."""
        self._entries.pop(entry.plot.id, None)
        if entry.untold and entry.overlord and len(self._late) < LIVE_MOST:
            self._late[entry.plot.id] = entry

    def plots(self) -> tuple[Plot, ...]:
        """The plots that are not over, the first accepted first."""
        return tuple(entry.plot for entry in self._entries.values())

    def get(self, id: str) -> Plot:
        """A plot that is not over.

        Raises:
            NotFound: there is none.
        """
        return self._entry(id).plot

    def has(self, id: str) -> bool:
        """Whether a plot is not over."""
        return id in self._entries

    def place(self, id: str) -> LogPlace:
        """Where the reader of a plot's log stands."""
        return self._entry(id).place

    async def step(
        self,
        id: str,
        event: str,
        reason: str = "",
        *,
        times: Sequence[PlotTime] = (),
        place: LogPlace | None = None,
        **changes: object,
    ) -> Plot:
        """Takes a plot through an event of its life, together with what else has changed.

        Raises:
            Conflict: its life cycle forbids it.
            StorageFailed: nothing was kept.
        """
        entry = self._entry(id)
        async with entry.lock:  # who waits here may find that the plot has moved on, or is over: its life cycle then says so
            after, step = advance(entry.plot, event, self._clock.wall(), reason, **changes)
            change = Change(entry.plot, after, (step,), tuple(times), place)
            await self._keep(entry, change, tell=True)
        log.info("plot stepped", extra={"plot": id, "task": after.task_id, "state": after.state, "reason": after.reason})
        if after.state in PLOT_LIFE.terminal:
            self._is_over(entry)
        self.changed(after)
        return after

    async def note(
        self,
        id: str,
        only: PlotState | None = None,
        /,
        *,
        tell: bool = True,
        times: Sequence[PlotTime] = (),
        place: LogPlace | None = None,
        **changes: object,
    ) -> Plot:
        """Keeps what has changed besides the state; its overlord hears of it now with `tell`, else with the next step.

        Raises:
            NotFound: the plot is over.
            Conflict: it is no longer in the state `only`.
        """
        entry = self._entry(id)
        async with entry.lock:
            state = self._entry(id).plot.state  # again: a step may have been under way
            if only not in {None, state}:
                raise Conflict(f"plot {id} is {state}, no longer {only}")
            after = entry.plot.replace(updated_at=self._clock.wall(), **changes)
            await self._keep(entry, Change(entry.plot, after, (), tuple(times), place), tell=tell)
        return after

    async def _keep(self, entry: Entry, change: Change, *, tell: bool) -> None:
        if not (tell and entry.overlord and await self._keep_and_tell(entry, change)):
            await self.store.write(lambda connection: self._changed(change, connection))
            entry.untold += change.steps
        entry.plot = change.after
        entry.place = change.place or entry.place
        self.store.tell(change.after)

    async def _keep_and_tell(self, entry: Entry, change: Change) -> bool:
        """Whether the overlord will hear of it; False where its outbox takes no more: then nothing was kept."""
        steps = (*entry.untold, *change.steps)[-STEPS_MOST:]
        update = PlotUpdate(plot=change.after, steps=steps, times=change.times[:TIMES_MOST])
        told = Change(change.before, change.after, change.steps, change.times, change.place, change.after.step)
        try:
            await self._delivery.post(lambda connection: self._changed(told, connection), entry.overlord, PLOT_UPDATE, update)
        except (Busy, Stale) as error:
            log.warning("overlord not told", extra={"plot": change.after.id, "peer": entry.overlord, "reason": error.message})
            return False
        entry.untold.clear()
        return True

    def _changed(self, change: Change, connection: Writing) -> Plot:
        """Keeps a change, and how far it brings the stop of its plot."""
        plot = self.store.change(change)(connection)
        stop = self.store.found_stop(plot.id)(connection) if change.steps else None
        if stop is not None and (plot.state is PlotState.STOPPING or plot.state in PLOT_LIFE.terminal):
            self.store.setting_stop(follow_stop(stop, plot.state, plot.updated_at))(connection)
        return plot

    def _entry(self, id: str) -> Entry:
        entry = self._entries.get(id)
        if entry is None:
            raise NotFound(f"no plot '{id}' is under way here")
        return entry


def is_news(known: str, reason: str) -> bool:
    """Whether a reason says something that is not known yet; figures that change meanwhile are no news."""
    return _FIGURES.sub("#", known) != _FIGURES.sub("#", reason)
