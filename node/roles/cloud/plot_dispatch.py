"""Which talent is given a plot next, and what does one hear that no talent takes?

One loop, woken by whatever can change the answer: a new order, a talent that reports, a plot that got further. Record and
message are one transaction; what a full outbox does not take is handed out later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Final

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Rejected
from node.model.cluster import NodeState, NodeView
from node.model.plot import Plot, PlotAnswer, PlotRequest
from node.model.wire.plot import PLOT_CREATE, PlotCreate
from node.roles.cloud.plot_placement import Candidate, place
from node.roles.shared.delivery import Delivery, Receipt
from node.roles.shared.registry import Registry
from node.roles.shared.tasks import begin, end
from node.storage.plots import Change, Plots, advance

log = logging.getLogger(__name__)

AGAIN_S: Final = 5.0  # between two tries to hand out what a full outbox did not take


class Dispatch:
    """The plots that no talent has yet, of those that are `live`."""

    def __init__(
        self,
        live: Mapping[str, Plot],
        orders: Plots,
        registry: Registry,
        delivery: Delivery,
        *,
        clock: Clock,
        drained: Callable[[], frozenset[str]],
    ) -> None:
        self._live = live
        self._orders = orders
        self._registry = registry
        self._delivery = delivery
        self._clock = clock
        self._drained = drained
        self._requests: dict[str, PlotRequest] = {}
        self._doing: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        registry.when_changed(lambda _name: self.wake())

    def add(self, id: str, request: PlotRequest) -> None:
        """Looks for a talent for a plot from now on."""
        self._requests[id] = request
        self._wake.set()

    def forget(self, id: str) -> None:
        """The plot needs no talent any more. Harmless when repeated."""
        self._requests.pop(id, None)

    def wake(self) -> None:
        """Looks again, where somebody waits."""
        if self._requests:
            self._wake.set()

    @property
    def waiting(self) -> int:
        """Plots that no talent has yet."""
        return len(self._requests)

    def talents(self) -> tuple[NodeView, ...]:
        """The talents that have reported to this cloud, with their directories."""
        return tuple(view for view in self._registry.views() if view.report.talent is not None)

    async def run(self) -> None:
        """Hands plots to talents until cancelled."""
        while True:
            self._wake.clear()
            again = AGAIN_S if await self._hand_out() else None
            try:
                async with self._clock.timeout(again):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Ends what it does besides. Harmless when repeated."""
        await end(*self._doing)

    async def _hand_out(self) -> bool:
        """Gives plots to talents; whether some could not be handed over for now."""
        held = Counter(plot.node for plot in self._live.values() if plot.node is not None)
        drained, stuck = self._drained(), False
        ready = [view.report for view in self.talents() if view.state is NodeState.READY and view.report.name not in drained]
        for id, request in list(self._requests.items()):
            talent, why = place(request, [Candidate(report, held[report.name]) for report in ready])
            if not talent:
                await self._waits(id, why)
                continue
            try:
                await self._order(id, request, talent)
            except EcnodeError as error:  # its outbox is full, or the disk is: the plot stays here and is handed out later
                await self._waits(id, f"{talent}: {error.message}")
                stuck = True
            else:
                held[talent] += 1
        return stuck

    async def _order(self, id: str, request: PlotRequest, talent: str) -> None:
        """Gives a plot to a talent: record and message are kept together."""
        before = self._live.get(id)
        if before is None:
            self._requests.pop(id, None)
            return
        after = before.replace(node=talent, reason="", updated_at=self._clock.wall())
        create = PlotCreate(plot=id, task_id=before.task_id, request=request)
        _, receipt = await self._delivery.post(self._orders.change(Change(before, after)), talent, PLOT_CREATE, create)
        self._requests.pop(id, None)
        self._orders.tell(after)
        log.info("plot placed", extra={"plot": id, "task": before.task_id, "peer": talent})
        self._begin(self._after_create(id, receipt), f"plot {id} ordered")

    async def _after_create(self, id: str, receipt: Receipt[PlotAnswer]) -> None:
        """A talent that refuses an order outright tells no step of it."""
        try:
            answer = await receipt.reply()
            fault = "" if answer.is_success else answer.msg
        except Rejected as error:
            fault = error.message
        except EcnodeError:
            return
        plot = self._live.get(id)
        if not fault or plot is None or plot.step:
            return  # its own steps tell it, or will
        after, step = advance(plot, "fail", self._clock.wall(), f"refused: {fault}")
        try:
            self._orders.tell(await self._orders.write(self._orders.change(Change(plot, after, (step,)))))
        except Conflict:
            log.info("refused plot has moved on", extra={"plot": id, "reason": fault})

    async def _waits(self, id: str, reason: str) -> None:
        plot = self._live.get(id)
        if plot is None or plot.reason == reason[:2000]:
            return
        after = plot.replace(reason=reason[:2000], updated_at=self._clock.wall())
        log.info("plot waits for a talent", extra={"plot": id, "reason": reason})
        try:
            self._orders.tell(await self._orders.write(self._orders.change(Change(plot, after))))
        except EcnodeError as error:  # stopped at the same moment, or the disk is full: it is said the next time
            log.info("waiting plot not told why", extra={"plot": id, "reason": error.message})

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = begin(work, name)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)
