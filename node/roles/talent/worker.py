"""What does a talent answer, and what makes an order complete?

The worker is the talent's front: it takes creates and stops from overlords, keeps them before it answers, and tells how plots
stand. A stop may come before its create: it is remembered, and the plot then ends as stopped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config.schema import TalentConfig
from node.errors import Conflict, Invalid, NotFound, Problem
from node.model.plot import (
    PLOT_LIFE,
    STOP_LIFE,
    DestType,
    Plot,
    PlotAnswer,
    PlotReport,
    PlotRequest,
    PlotState,
    PlotStep,
    PlotStop,
    StopState,
    TalentReport,
)
from node.model.wire.plot import (
    PLOT_CACHED,
    PLOT_CONTROL,
    PLOT_CREATE,
    PLOT_LOG,
    PLOT_PENDING,
    PLOT_STATUS,
    PLOT_STOP,
    STATUSES_MOST,
    PlotCached,
    PlotControl,
    PlotCreate,
    PlotLogReply,
    PlotLogRequest,
    PlotPending,
    PlotQuestion,
    PlotStatuses,
    PlotStopOrder,
)
from node.pipeline.plot.plotters import check_order
from node.roles.shared.delivery import Delivery, Effect
from node.roles.shared.tasks import begin, end
from node.roles.talent.directories import cache_reports, destination_reports
from node.roles.talent.ledger import Ledger
from node.roles.talent.log_receiver import LogReceiver
from node.roles.talent.places import LOG
from node.roles.talent.supervisor import Supervisor
from node.storage.connection import Writing
from node.storage.plots import Change, advance, advance_stop, follow_stop
from node.transport.base import Answer, Call, Peer, Transport

REPORTS_MOST: Final = 256
LOG_LOOK: Final = 0.25


class Worker:
    """The talent's answers. `here` is this node's name."""

    def __init__(
        self,
        here: str,
        config: TalentConfig,
        ledger: Ledger,
        supervisor: Supervisor,
        receiver: LogReceiver,
        *,
        clock: Clock,
        worker_id: str,
    ) -> None:
        self._here = here
        self._config = config
        self._store = ledger.store
        self._ledger = ledger
        self._receiver = receiver
        self._supervisor = supervisor
        self._clock = clock
        self._worker_id = worker_id
        self._doing: set[asyncio.Task[None]] = set()
        ledger.changed = lambda _plot: supervisor.wake()

    def register(self, transport: Transport, delivery: Delivery) -> None:
        """Takes the overlords' messages; only before the transport starts."""
        delivery.answer(PLOT_CREATE, self._create)
        delivery.answer(PLOT_STOP, self._stop)
        transport.answer(PLOT_STATUS, self._status)
        transport.answer(PLOT_PENDING, self._pending)
        transport.answer(PLOT_CACHED, self._cached)
        transport.answer(PLOT_CONTROL, self._control)
        transport.answer(PLOT_LOG, self._log)

    async def close(self) -> None:
        """Ends what it does besides answering. Harmless when repeated."""
        await end(*self._doing)

    def report(self) -> TalentReport:
        """What the heartbeat tells of this talent."""
        plots = self._ledger.plots()
        snapshot = self._supervisor.snapshot
        return TalentReport(
            worker_id=self._worker_id,
            plotter=self._supervisor.plotter,
            ksize=self._config.defaults.ksize,
            max_parallel=self._config.max_parallel,
            running=sum(one.plotting for one in snapshot.running),
            pending=sum(plot.state in {PlotState.RECEIVED, PlotState.PENDING} for plot in plots),
            caches=cache_reports(snapshot),
            destinations=destination_reports(self._config, snapshot) if snapshot.destinations else (),
            plots=tuple(
                PlotReport(
                    id=plot.id,
                    state=plot.state,
                    phase=plot.phase,
                    table=plot.table,
                    progress=plot.progress,
                    eta_s=plot.eta_s,
                )
                for plot in plots[:REPORTS_MOST]
            ),
            problem=self._supervisor.problem,
        )

    # Creates and stops

    def _create(self, peer: Peer, order: PlotCreate) -> Effect[tuple[Plot | None, PlotAnswer], PlotAnswer]:
        return Effect(
            apply=partial(self.accept, order, peer.name),
            reply=lambda done: done[1],
            then=lambda done: self._accepted(done[0]),
        )

    def accept(self, order: PlotCreate, overlord: str, connection: Writing) -> tuple[Plot | None, PlotAnswer]:
        """Keeps a plot, which it gives where it is new; runs in the transaction of its message."""
        now = self._clock.wall()
        first = Plot(
            id=order.plot,
            task_id=order.task_id,
            name=order.request.name,
            node=self._here,
            worker_id=self._worker_id,
            state=PLOT_LIFE.start,
            created_at=now,
            updated_at=now,
        )
        try:
            plot, fault = self._completed(first, order.request), ""
        except Invalid as error:
            plot, fault = first, "; ".join(map(str, error.problems)) or error.message
        try:
            stored, new = self._store.creation(plot, order.request, overlord)(connection)
        except Conflict as error:
            return None, PlotAnswer(type="on_create", is_success=False, msg=error.message)
        if not new:  # it was taken in when it was new
            return None, PlotAnswer(type="on_create", is_success=True, msg=f"it is {stored.state} already")
        stop = self._store.found_stop(stored.id)(connection)
        events = [("receive", ""), *([("fail", f"refused: {fault}")] if fault else [("queue", "")])]
        if stop is not None:
            events = [("receive", ""), ("stop", "its stop came first"), ("end", "its stop came first")]
        plot = self._through(stored, events, now, connection)
        if stop is not None:
            self._store.setting_stop(follow_stop(stop, plot.state, now))(connection)
        return plot, PlotAnswer(type="on_create", is_success=not fault, msg=fault[:2000])

    def _through(self, plot: Plot, events: list[tuple[str, str]], now: float, connection: Writing) -> Plot:
        steps: list[PlotStep] = []
        after = plot
        for event, reason in events:
            after, step = advance(after, event, now, reason)
            steps.append(step)
        return self._store.change(Change(plot, after, tuple(steps)))(connection)

    def _accepted(self, plot: Plot | None) -> None:
        if plot is not None:
            self._store.tell(plot)
            self._begin(self._take_in(plot), f"plot {plot.id} taken in")

    async def _take_in(self, plot: Plot) -> None:
        await self._ledger.take_in(plot)
        await self._resume_stop(plot.id)  # one that came before this found no plot under way

    def _stop(self, peer: Peer, order: PlotStopOrder) -> Effect[PlotAnswer, PlotAnswer]:
        return Effect(
            apply=partial(self.accept_stop, order.plot),
            reply=lambda answer: answer,
            then=lambda _answer: self._begin(self._carry_out(order.plot), f"plot {order.plot} stop"),
        )

    def accept_stop(self, id: str, connection: Writing) -> PlotAnswer:
        """Keeps a stop; runs in the transaction of its message."""
        now = self._clock.wall()
        known = self._store.found_stop(id)(connection)
        if known is None:
            first = PlotStop(plot=id, state=STOP_LIFE.start, created_at=now, updated_at=now)
            known = self._store.setting_stop(advance_stop(first, "receive", now))(connection)
        try:
            plot = self._store.stored(id)(connection)
        except NotFound:
            return PlotAnswer(type="on_stop", is_success=True, msg="the plot is not known yet: it will end as stopped")
        if plot.state in PLOT_LIFE.terminal:
            self._store.setting_stop(follow_stop(known, plot.state, now))(connection)
            return PlotAnswer(type="on_stop", is_success=plot.state is PlotState.STOPPED, msg=f"it is {plot.state}")
        return PlotAnswer(type="on_stop", is_success=True, msg="it is being stopped")

    async def _carry_out(self, id: str) -> None:
        """Stops a plot whose stop is kept, unless it is over or was never created."""
        with suppress(NotFound):
            await self._supervisor.stop(id)

    async def resume_stops(self) -> None:
        """Carries out the stops that an earlier life had accepted; not before the supervisor has begun."""
        for plot in self._ledger.plots():
            await self._resume_stop(plot.id)

    async def _resume_stop(self, id: str) -> None:
        stop = await self._store.stop(id)
        if stop is not None and stop.state is StopState.RECEIVED:
            await self._carry_out(id)

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = begin(work, name)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)

    # What an order leaves out

    def _completed(self, plot: Plot, request: PlotRequest) -> Plot:
        """The plot with the parameters of its request, completed by this talent's defaults.

        Raises:
            Invalid: each parameter that does not fit is named.
        """
        given, own = request, self._config.defaults
        memo = given.memo
        found: dict[str, object] = {
            "ksize": given.ksize or own.ksize,
            "threads": given.threads or own.threads,
            "buffer": given.buffer or own.buffer_mib,
            "buckets": (given.buckets if given.buckets is not None else own.buckets) or None,
            "stripe_size": (given.stripe_size if given.stripe_size is not None else own.stripe_size) or None,
            "bitfield": given.bitfield and own.bitfield,
            "fpk": given.fpk or (memo[96:192] if memo else own.fpk) or None,
            "ppk": given.ppk or (memo[:96] if memo else own.ppk) or None,
            "memo": memo,
            "cache1": given.cache1,
            "cache2": given.cache2,
            "dest_path": given.dest_path,
            "plotter": self._supervisor.plotter,
        }
        problems = [
            Problem(name, f"is missing: name it in the request or in talent.defaults.{name}")
            for name in ("fpk", "ppk")
            if found[name] is None
        ]
        caches = {str(cache.path) for cache in self._config.cache}
        ends = {str(one.path): one.type for one in self._config.destination}
        problems += [
            Problem(name, f"{found[name]} is no temp directory of this talent (talent.cache)")
            for name in ("cache1", "cache2")
            if found[name] is not None and found[name] not in caches
        ]
        dest = given.dest_path
        if dest is not None and dest not in ends:
            problems.append(Problem("dest_path", f"{dest} is no destination of this talent (talent.destination)"))
        if dest is not None and dest in ends and given.dest_type is not None and given.dest_type != ends[dest]:
            problems.append(Problem("dest_type", f"{dest} is {ends[dest]}, not {given.dest_type}"))
        if problems:
            raise Invalid("the plot cannot be made here", problems=problems)
        found["dest_type"] = DestType(ends[dest]) if dest in ends else (given.dest_type or DestType.LOCAL)
        complete = plot.replace(**found)
        check_order(self._supervisor.plotter, complete)
        return complete

    # Questions

    async def _status(self, call: Call, question: PlotQuestion) -> Answer[PlotStatuses]:
        if question.plot is not None:
            return Answer(PlotStatuses(plots=(await self._store.status(question.plot),)))
        return Answer(PlotStatuses(plots=await self._store.list(question.state, limit=STATUSES_MOST)))

    async def _pending(self, call: Call, question: PlotPending) -> Answer[PlotStatuses]:
        return Answer(PlotStatuses(plots=await self._store.list(PlotState.PENDING, limit=STATUSES_MOST)))

    async def _cached(self, call: Call, question: PlotCached) -> Answer[PlotStatuses]:
        found = await self._store.list(question.state, cache1=question.cache1, limit=STATUSES_MOST)
        return Answer(PlotStatuses(plots=found))

    async def _control(self, call: Call, control: PlotControl) -> Answer[Plot]:
        if control.action == "refresh":
            await self._receiver.refresh(control.plot)
            return Answer(await self._store.get(control.plot))
        return Answer(await self._supervisor.suspend(control.plot, suspended=control.action == "suspend"))

    async def _log(self, call: Call, question: PlotLogRequest) -> Answer[PlotLogReply]:
        await self._store.get(question.plot)
        path = self._supervisor.home(question.plot) / LOG
        deadline = min(self._clock.monotonic() + question.wait, call.deadline - LOG_LOOK)
        while True:
            over = not self._ledger.has(question.plot)
            offset, content = await asyncio.to_thread(_piece, path, question)
            if content or over or self._clock.monotonic() >= deadline:
                return Answer(PlotLogReply(offset=offset, next=offset + len(content), over=over), (content,))
            await self._clock.sleep(LOG_LOOK)


def _piece(path: Path, question: PlotLogRequest) -> tuple[int, bytes]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            offset = max(0, size - question.length) if question.tail else min(question.offset, size)
            file.seek(offset)
            return offset, file.read(question.length)
    except FileNotFoundError:
        return 0, b""
