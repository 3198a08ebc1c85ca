"""Who takes orders for plots, gives them to talents and remembers how they stand?

The overlord keeps a record of every plot that was ordered here. It follows the talent's numbered steps and never guesses: a
talent that is away has lost nothing. An order and its message, an update and what it changes, are each one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Container, Coroutine
from functools import partial
from typing import Final

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Forbidden, Invalid, NotFound, Problem
from node.model.cluster import NodeView, Received
from node.model.plot import (
    PLOT_LIFE,
    STOP_LIFE,
    Failure,
    Plot,
    PlotAnswer,
    PlotChange,
    PlotRequest,
    PlotState,
    PlotStatus,
    PlotStep,
    PlotStop,
    StopState,
)
from node.model.value import new_id
from node.model.wire.plot import (
    PLOT_CONTROL,
    PLOT_LOG,
    PLOT_STOP,
    PLOT_UPDATE,
    PlotControl,
    PlotLogReply,
    PlotLogRequest,
    PlotStopOrder,
    PlotUpdate,
)
from node.roles.cloud.plot_dispatch import Dispatch
from node.roles.cloud.plot_standing import Standing
from node.roles.shared.delivery import Delivery, Effect, Receipt
from node.roles.shared.registry import Registry
from node.roles.shared.tasks import begin, end
from node.storage.connection import Writing
from node.storage.plots import Change, Plots, advance, follow_stop
from node.transport.base import Peer, Transport

log = logging.getLogger(__name__)

CONTROL_TIMEOUT_S: Final = 5.0
STOP_ANSWER_S: Final = 2.0  # that a caller waits for the talent's answer to a stop; it arrives all the same


class Overlord:
    """The plots that were ordered on this cloud; `members` are the names of the nodes that are admitted, joined or not."""

    def __init__(
        self,
        *,
        orders: Plots,
        registry: Registry,
        transport: Transport,
        delivery: Delivery,
        clock: Clock,
        members: Container[str],
        drained: Callable[[], frozenset[str]],
    ) -> None:
        self._orders = orders
        self._registry = registry
        self._transport = transport
        self._delivery = delivery
        self._clock = clock
        self._members = members
        self._standing = Standing(registry)
        self._live: dict[str, Plot] = {}
        self._dispatch = Dispatch(self._live, orders, registry, delivery, clock=clock, drained=drained)
        self._doing: set[asyncio.Task[None]] = set()
        orders.watch(self._changed)

    def register(self) -> None:
        """Takes the talents' updates; only before the transport starts."""
        self._delivery.answer(PLOT_UPDATE, self._update)

    async def load(self) -> None:
        """Finds the orders of an earlier life."""
        for plot in await self._orders.live():
            self._live[plot.id] = plot
            if plot.node is None:
                self._dispatch.add(plot.id, await self._orders.request(plot.id))

    async def run(self) -> None:
        """Hands plots to talents whenever something has changed, until cancelled."""
        await self._send_stops()
        await self._dispatch.run()

    async def close(self) -> None:
        """Ends what it does besides. Harmless when repeated."""
        await end(*self._doing)
        await self._dispatch.close()

    # What a caller asks

    async def create(self, request: PlotRequest) -> tuple[Plot, bool]:
        """The accepted plot, and whether it is new; the same id with the same request is one plot.

        Raises:
            Invalid: no node of the name that it asks for.
            Conflict: its id or task_id stands for another request.
            Busy: too many plots are under way.
        """
        self._check(request)
        now = self._clock.wall()
        id = request.id or (await self._orders.by_task(request.task_id) if request.task_id else None) or new_id("p", now)
        plot = Plot(
            id=id,
            task_id=request.task_id or os.urandom(16).hex(),
            state=PLOT_LIFE.start,
            created_at=now,
            updated_at=now,
            **{name: value for name, value in dict(request).items() if name in _ASKED and value is not None},
        )
        stored, new = await self._orders.write(lambda connection: self._creation(plot, request, connection))
        if new:
            log.info("plot accepted", extra={"plot": stored.id, "task": stored.task_id, "state": stored.state})
            if stored.state not in PLOT_LIFE.terminal:
                self._dispatch.add(stored.id, request)
            self._orders.tell(stored)
        return stored, new

    def _creation(self, plot: Plot, request: PlotRequest, connection: Writing) -> tuple[Plot, bool]:
        stored, new = self._orders.creation(plot, request)(connection)
        stop = self._orders.found_stop(plot.id)(connection) if new else None
        if stop is not None:
            stored = self._ended(stored, "its stop came first", connection)
            self._move_stop(stop, PlotState.STOPPED, connection)
        return stored, new

    def _ended(self, plot: Plot, reason: str, connection: Writing) -> Plot:
        """Ends a plot that no talent has."""
        steps: list[PlotStep] = []
        after = plot
        for event in ("stop", "end"):
            after, step = advance(after, event, self._clock.wall(), reason)
            steps.append(step)
        return self._orders.change(Change(plot, after, tuple(steps)))(connection)

    async def resolve(self, ref: str) -> str:
        """The id that a caller means."""
        return await self._orders.resolve(ref)

    async def get(self, ref: str) -> PlotStatus:
        """One plot with every column; what runs is as its talent last told."""
        return self._standing.fresh(await self._orders.status(await self.resolve(ref)))

    async def list(self, state: PlotState | None, limit: int, after: str | None) -> tuple[PlotStatus, ...]:
        """Plots, newest first, behind the id `after`."""
        return tuple(map(self._standing.fresh, await self._orders.list(state, limit=limit, after=after)))

    async def steps(self, ref: str) -> tuple[PlotStep, ...]:
        """What happened to a plot, oldest first."""
        return await self._orders.steps(await self.resolve(ref))

    async def stop(self, ref: str) -> PlotAnswer:
        """Ends a plot wherever it is. The stop of an id that nobody knows yet is remembered for its create.

        Raises:
            NotFound: no plot is called so, and it is no whole id.
        """
        try:
            id = await self.resolve(ref)
        except NotFound:
            if not _is_id(ref):
                raise
            id = ref
        answer, talent = await self._orders.write(lambda connection: self._accept_stop(id, connection))
        if talent is None:
            if id in self._live:
                self._orders.tell(await self._orders.get(id))
            return answer
        receipt = await self._delivery.send(talent, PLOT_STOP, PlotStopOrder(plot=id))
        self._begin(self._after_stop(id, receipt), f"stop of plot {id}")
        try:
            async with self._clock.timeout(STOP_ANSWER_S):
                return await receipt.reply()
        except TimeoutError:
            return answer
        except EcnodeError as error:
            return PlotAnswer(type="on_stop", is_success=False, msg=f"'{talent}' refused: {error.message}"[:2000])

    def _accept_stop(self, id: str, connection: Writing) -> tuple[PlotAnswer, str | None]:
        """Keeps a stop; the answer, and the talent that has to hear of it."""
        now = self._clock.wall()
        stop = self._orders.found_stop(id)(connection)
        if stop is None:
            stop = PlotStop(plot=id, state=STOP_LIFE.start, created_at=now, updated_at=now)
            self._orders.setting_stop(stop)(connection)
        try:
            plot = self._orders.stored(id)(connection)
        except NotFound:
            return PlotAnswer(type="on_stop", is_success=True, msg="the plot is not known yet: it will end as stopped"), None
        if plot.state in PLOT_LIFE.terminal:
            self._move_stop(stop, plot.state, connection)
            return PlotAnswer(type="on_stop", is_success=plot.state is PlotState.STOPPED, msg=f"it is {plot.state}"), None
        if plot.node is None:
            self._ended(plot, "it had no talent yet", connection)
            self._move_stop(stop, PlotState.STOPPED, connection)
            return PlotAnswer(type="on_stop", is_success=True, msg="it had no talent yet"), None
        return PlotAnswer(type="on_stop", is_success=True, msg=f"'{plot.node}' stops it once it is heard"), plot.node

    def _move_stop(self, stop: PlotStop, state: PlotState, connection: Writing) -> None:
        """Takes a stop as far as its plot is."""
        self._orders.setting_stop(follow_stop(stop, state, self._clock.wall()))(connection)

    async def _after_stop(self, id: str, receipt: Receipt[PlotAnswer]) -> None:
        try:
            await receipt.reply()
        except EcnodeError as error:
            log.info("stop not taken", extra={"plot": id, "reason": error.message})
            return
        await self._orders.write(lambda connection: self._received(id, connection))

    def _received(self, id: str, connection: Writing) -> None:
        stop = self._orders.found_stop(id)(connection)
        if stop is not None and stop.state is StopState.SCHEDULED:
            self._move_stop(stop, PlotState.RUNNING, connection)

    async def _send_stops(self) -> None:
        """Tells talents of the stops that an earlier life had kept, and perhaps not sent."""
        for plot in list(self._live.values()):
            stop = await self._orders.stop(plot.id)
            if plot.node is not None and stop is not None and stop.state is StopState.SCHEDULED:
                receipt = await self._delivery.send(plot.node, PLOT_STOP, PlotStopOrder(plot=plot.id))
                self._begin(self._after_stop(plot.id, receipt), f"stop of plot {plot.id}")

    async def suspend(self, ref: str, *, suspended: bool) -> Plot:
        """Freezes the plotter of a plot, or lets it go on.

        Raises:
            Conflict: no plotter of it runs.
            PeerUnreachable, DeadlineExceeded: its talent is away.
        """
        plot = await self._orders.get(await self.resolve(ref))
        if plot.node is None or plot.state in PLOT_LIFE.terminal:
            raise Conflict(f"plot {plot.id} is {plot.state}", hint="only a running plot can be suspended")
        control = PlotControl(plot=plot.id, action="suspend" if suspended else "resume")
        return (await self._transport.call(plot.node, PLOT_CONTROL, control, timeout=CONTROL_TIMEOUT_S)).body

    async def give_up(self, ref: str) -> Plot:
        """Ends the record of a plot whose talent does not come back; if it does after all, the talent is told to stop it.

        Raises:
            Conflict: its talent is there, or it is over.
        """
        plot = await self._orders.get(await self.resolve(ref))
        talent = plot.node
        if plot.state in PLOT_LIFE.terminal:
            raise Conflict(f"plot {plot.id} is {plot.state}", hint="there is nothing to give up")
        if talent is None or self._standing.is_there(talent):
            why = f"'{talent}' is there" if talent else "it has no talent yet"
            raise Conflict(f"plot {plot.id} need not be given up: {why}", hint=f"stop it: ecnode plots stop {plot.id}")
        ending = partial(self._give_up, plot.id, talent)
        if talent in self._members:
            given_up, _ = await self._delivery.post(ending, talent, PLOT_STOP, PlotStopOrder(plot=plot.id))
        else:
            given_up = await self._orders.write(ending)
        log.info("plot given up", extra={"plot": plot.id, "task": plot.task_id, "peer": talent})
        return self._orders.tell(given_up)

    def _give_up(self, id: str, talent: str, connection: Writing) -> Plot:
        plot = self._orders.stored(id)(connection)
        reason = f"{Failure.LOST}: '{talent}' was not heard of any more, and the plot was given up"
        after, step = advance(plot, "fail", self._clock.wall(), reason)
        stop = self._orders.found_stop(id)(connection)
        if stop is not None:
            self._move_stop(stop, after.state, connection)
        return self._orders.change(Change(plot, after, (step,)))(connection)

    async def update(self, ref: str, change: PlotChange) -> PlotStatus:
        """Changes what is given; how the plot stands then, once its talent has read its log to the end.

        Raises:
            Conflict: it is to be suspended, or to go on, and no plotter of it runs.
            PeerUnreachable, DeadlineExceeded: that, and its talent is away.
        """
        id = await self.resolve(ref)
        if change.name is not None:
            name = change.name
            self._orders.tell(await self._orders.write(lambda connection: self._renamed(id, name, connection)))
        if change.suspended is None:
            return await self.refresh(id)
        plot = await self.suspend(id, suspended=change.suspended)
        return (await self.refresh(id)).replace(suspended=plot.suspended)

    def _renamed(self, id: str, name: str, connection: Writing) -> Plot:
        plot = self._orders.stored(id)(connection)
        return self._orders.change(Change(plot, plot.replace(name=name, updated_at=self._clock.wall())))(connection)

    async def refresh(self, ref: str) -> PlotStatus:
        """As `get`, once its talent has read its log to the end; as the record has it where the talent is away."""
        plot = await self._orders.get(await self.resolve(ref))
        if plot.node is not None and plot.state not in PLOT_LIFE.terminal:
            try:
                control = PlotControl(plot=plot.id, action="refresh")
                await self._transport.call(plot.node, PLOT_CONTROL, control, timeout=CONTROL_TIMEOUT_S)
            except EcnodeError as error:
                log.info("plot not read anew", extra={"plot": plot.id, "peer": plot.node, "reason": error.message})
        return await self.get(plot.id)

    async def logs(self, ref: str, request: PlotLogRequest) -> tuple[bytes, PlotLogReply]:
        """A part of a plot's log, which lies at its talent; `request.plot` is ignored.

        Raises:
            NotFound: the plot has no talent yet.
            PeerUnreachable, DeadlineExceeded: its talent is away.
        """
        plot = await self._orders.get(await self.resolve(ref))
        if plot.node is None:
            raise NotFound(f"plot {plot.id} has no log yet: {plot.reason or 'it waits for a talent'}")
        wanted = request.replace(plot=plot.id)
        answer = await self._transport.call(plot.node, PLOT_LOG, wanted, timeout=CONTROL_TIMEOUT_S + request.wait)
        return b"".join(map(bytes, answer.blobs)), answer.body

    def talents(self) -> tuple[NodeView, ...]:
        """The talents that have reported to this cloud, with their directories."""
        return self._dispatch.talents()

    def count(self, *states: PlotState) -> int:
        """How many plots are in one of these states, of those that are not over."""
        return sum(plot.state in states for plot in self._live.values())

    @property
    def unplaced(self) -> int:
        """Plots that no talent has yet."""
        return self._dispatch.waiting

    # What talents tell

    def _update(self, peer: Peer, update: PlotUpdate) -> Effect[Plot, Received]:
        return Effect(
            apply=lambda connection: self._follow(peer.name, update, connection),
            reply=lambda _: Received(),
            then=self._followed,
        )

    def _follow(self, talent: str, update: PlotUpdate, connection: Writing) -> Plot:
        """Takes what a talent tells of its plot; runs in the transaction of the message.

        Raises:
            NotFound: it was not ordered here.
            Forbidden: it is another talent's.
        """
        before = self._orders.stored(update.plot.id)(connection)
        if before.node != talent:
            raise Forbidden(f"plot {before.id} is not made by '{talent}'")
        if before.state in PLOT_LIFE.terminal or update.plot.step < before.step:
            return before  # told again after a restart: nothing is ever taken back
        after = update.plot.replace(
            node=talent, task_id=before.task_id, name=before.name, memo=before.memo, created_at=before.created_at
        )
        plot = self._orders.change(Change(before, after, update.steps, update.times))(connection)
        stop = self._orders.found_stop(plot.id)(connection)
        if stop is not None and (plot.state is PlotState.STOPPING or plot.state in PLOT_LIFE.terminal):
            self._move_stop(stop, plot.state, connection)
        return plot

    def _followed(self, plot: Plot) -> None:
        self._orders.tell(plot)
        self._dispatch.wake()

    def _changed(self, plot: Plot) -> None:
        if plot.state in PLOT_LIFE.terminal:
            self._live.pop(plot.id, None)
            self._dispatch.forget(plot.id)
        else:
            self._live[plot.id] = plot

    # Who makes what

    def _check(self, request: PlotRequest) -> None:
        if request.node is None or request.node in self._members or self._registry.view(request.node) is not None:
            return
        known = ", ".join(view.report.name for view in self.talents())
        problem = Problem("node", f"no node '{request.node}' has joined; talents: {known or 'none'}")
        raise Invalid(f"{problem.path}: {problem.message}", problems=[problem], hint="ecnode status lists the nodes")

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = begin(work, name)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)


_ASKED: Final = frozenset(Plot.model_fields) & frozenset(PlotRequest.model_fields) - {"id", "task_id", "node"}


def _is_id(ref: str) -> bool:
    return len(ref) == len(new_id("p", 0.0)) and ref.startswith("p-") and ref[2:].isalnum()
