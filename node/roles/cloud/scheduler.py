"""Which plan does each query get, and is it running where it should?

One loop, once a tick and at once when something changed: for every query that is not over, ask the planner, remember a new
plan before anybody hears of it, and bring the edge to what the store says. A query that fails to be tended does not keep the
others waiting, an edge that does not answer is left alone until the next round, and no answer of an edge ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from node.clock import Clock
from node.errors import DeadlineExceeded, EcnodeError, NotFound, Rejected, Unavailable
from node.model.cluster import NodeReport, NodeState, NodeView
from node.model.video import QUERY_LIFE, Plan, Query, QueryState
from node.model.wire.job import JOB_PLAN, JOB_START, JOB_STOP, JobPlan, JobStart, JobStop
from node.pipeline.video.planner.base import Scheduler
from node.roles.cloud.planning import Planning
from node.roles.cloud.query_manager import QueryManager
from node.roles.cloud.trials import Trials
from node.roles.shared.registry import Registry
from node.storage import Store
from node.transport.base import Transport

log = logging.getLogger(__name__)

CALL_TIMEOUT_S: Final = 3.0
NO_OFFER_PATIENCE_S: Final = 120.0  # a node that has just started still measures its services
START_PATIENCE_S: Final = 10.0  # until a started job must stand in its edge's report
REFUSED_REST_S: Final = 5.0  # until an edge is asked again that could not start a job: one that is full stays so for a while
SAFE_REST_S: Final = 3.0  # on its safe plan an edge is left alone for so long


@dataclass(frozen=True, slots=True)
class _Start:
    """When this process told the edge to start a job, and in which of the edge's lives."""

    at: float
    boot: int


class QueryScheduler:
    """The cloud's scheduler loop. `drained` tells the nodes that get no work now; what runs there is moved."""

    def __init__(
        self,
        *,
        manager: QueryManager,
        planner: Scheduler,
        store: Store,
        registry: Registry,
        transport: Transport,
        clock: Clock,
        tick: float,
        dead_after: float,
        drained: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._manager = manager
        self._planning = Planning(
            manager=manager, planner=planner, store=store, registry=registry, clock=clock, drained=drained
        )
        self._trials = Trials(planner, transport)
        self._store = store
        self._registry = registry
        self._transport = transport
        self._clock = clock
        self._tick = tick
        self._dead_after = dead_after
        self._started: dict[str, _Start] = {}
        self._rests_until: dict[str, float] = {}
        self._unplanned_since: dict[str, float] = {}
        self._sent_at: dict[str, float] = {}
        self._away_since: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._states: dict[str, NodeState] = {}
        manager.changed = self._wake.set
        registry.when_changed(self._node_changed)

    async def run(self) -> None:
        """Schedules until cancelled."""
        async with asyncio.TaskGroup() as trials:
            while True:
                self._wake.clear()
                try:
                    await self._round(await self._store.queries.live(), trials)
                except EcnodeError as error:  # the store does not answer now
                    log.warning("no query tended", extra={"reason": error.message})
                try:
                    async with self._clock.timeout(self._tick):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _round(self, queries: Sequence[Query], trials: asyncio.TaskGroup) -> None:
        wanted = {query.id for query in queries}
        self._forget_all_but(wanted)
        by_edge: dict[str, list[Query]] = {report.name: [] for report in self._registry.reports() if report.jobs}
        for query in queries:
            by_edge.setdefault(query.node, []).append(query)
        async with asyncio.TaskGroup() as edges:
            for name, theirs in by_edge.items():
                edges.create_task(self._tend_edge(name, theirs, wanted, trials), name=f"queries of {name}")

    async def _tend_edge(self, name: str, queries: Sequence[Query], wanted: set[str], trials: asyncio.TaskGroup) -> None:
        try:
            for query in queries:
                try:
                    await self._tend(query, trials)
                except DeadlineExceeded:
                    raise
                except EcnodeError as error:
                    log.warning("query not tended", extra={"query": query.id, "reason": error.message})
                except Exception:  # the top of this role's loop: a planner is a plug-in, one must not stop the others' queries
                    log.exception("query not tended", extra={"query": query.id})
            await self._end_strays(name, wanted)
        except EcnodeError as error:
            log.warning("edge not tended any further in this round", extra={"peer": name, "reason": error.message})

    async def _tend(self, query: Query, trials: asyncio.TaskGroup) -> None:
        view = self._registry.view(query.node)
        if view is None or view.state is NodeState.LOST:
            silent = self._registry.silent_for(query.node)
            if silent >= self._dead_after:
                await self._manager.fail(query, f"node_lost: '{query.node}' has been silent for {silent:.0f} s")
            return
        if view.state is NodeState.SUSPECT:
            return
        if query.state is QueryState.RUNNING and self._vanished(query, view.report):
            query = await self._store.queries.transition(query.id, "interrupt", f"'{query.node}' does not run it any more")
        query, newly = await self._planning.replan(query, view, anew=self._left_its_plan(query, view))
        now = self._clock.monotonic()
        if query.plan is None:
            # not since the query was accepted: wall clocks jump, and after a restart of this cloud the nodes measure again
            if now - self._unplanned_since.setdefault(query.id, now) > NO_OFFER_PATIENCE_S:
                reason = self._planning.reason(query.id) or "no reachable node offers " + ", ".join(query.pipeline)
                await self._manager.fail(query, reason)
        elif query.state is not QueryState.RUNNING:
            if now >= self._rests_until.get(query.id, now):
                await self._start(query, query.plan, view.report.boot)
        elif newly:
            await self._send(query, query.plan)
        else:
            await self._send_again(query, query.plan, view)
            if not self._manager.live(query.id).held:
                self._trials.begin(trials, query, query.plan)

    async def _start(self, query: Query, plan: Plan, boot: int) -> None:
        if query.state is QueryState.UNSCHEDULED:
            query = await self._store.queries.transition(query.id, "plan")
        query = await self._store.queries.begin_attempt(query.id)
        query = await self._store.queries.transition(query.id, "start")
        self._started[query.id] = _Start(self._clock.monotonic(), boot)
        start = JobStart(
            query=query.id,
            attempt=query.attempt,
            source=query.source,
            pipeline=query.pipeline,
            graph=query.graph,
            plan=plan,
            safe=self._planning.safe(query),
        )
        self._sent_at[query.id] = self._clock.monotonic()
        try:
            await self._transport.call(query.node, JOB_START, start, timeout=CALL_TIMEOUT_S)
        except Unavailable as error:
            self._rests_until[query.id] = self._clock.monotonic() + REFUSED_REST_S
            await self._store.queries.transition(query.id, "interrupt", error.message)
            raise
        except Rejected as error:
            await self._manager.fail(query, error.message)

    async def _send(self, query: Query, plan: Plan) -> None:
        self._sent_at[query.id] = self._clock.monotonic()
        message = JobPlan(query=query.id, plan=plan, safe=self._planning.safe(query))
        await self._transport.call(query.node, JOB_PLAN, message, timeout=CALL_TIMEOUT_S)

    async def _send_again(self, query: Query, plan: Plan, view: NodeView) -> None:
        """Brings an edge that says that it has an older plan to the stored one: a message was lost."""
        epoch = _epoch_at(view, query.id)
        if epoch is not None and epoch < plan.epoch and self._is_older(query, view):
            await self._send(query, plan)

    def _left_its_plan(self, query: Query, view: NodeView) -> bool:
        """Whether the edge is on its safe plan, and has been for a while: then the plan of now is a new one again."""
        if query.plan is None or _epoch_at(view, query.id) != query.plan.epoch + 1:
            self._away_since.pop(query.id, None)
            return False
        now = self._clock.monotonic()
        return now - self._away_since.setdefault(query.id, now) >= SAFE_REST_S and self._is_older(query, view)

    def _is_older(self, query: Query, view: NodeView) -> bool:
        """Whether the edge's report was made after the newest plan was sent to it."""
        sent = self._sent_at.get(query.id, float("-inf"))
        return self._clock.monotonic() - view.seen_s > sent + CALL_TIMEOUT_S

    def _vanished(self, query: Query, report: NodeReport) -> bool:
        """Whether the edge says that it does not run what the store says it runs: it was restarted, or this cloud was."""
        if any(job.query == query.id and job.attempt == query.attempt for job in report.jobs):
            return False
        started = self._started.get(query.id)
        if started is None or started.boot != report.boot:
            return True
        return self._clock.monotonic() - started.at > START_PATIENCE_S

    def _forget_all_but(self, wanted: set[str]) -> None:
        """Drops what is kept of queries that are over."""
        self._planning.forget_all_but(wanted)
        for kept in (self._started, self._rests_until, self._unplanned_since, self._sent_at, self._away_since):
            for query_id in kept.keys() - wanted:
                del kept[query_id]

    async def _end_strays(self, name: str, wanted: set[str]) -> None:
        """Stops jobs that an edge reports although their queries are over."""
        view = self._registry.view(name)
        if view is None or view.state is not NodeState.READY:
            return
        for job in view.report.jobs:
            if job.query not in wanted and await self._is_over(job.query):
                await self._transport.call(name, JOB_STOP, JobStop(query=job.query), timeout=CALL_TIMEOUT_S)

    async def _is_over(self, query_id: str) -> bool:
        try:
            return (await self._store.queries.get(query_id)).state in QUERY_LIFE.terminal
        except NotFound:
            return True

    def _node_changed(self, name: str) -> None:
        state = self._registry.state(name) or NodeState.LOST
        if self._states.get(name) is not state:
            self._states[name] = state
            self._wake.set()


def _epoch_at(view: NodeView, query_id: str) -> int | None:
    """The epoch that the edge says it works with, None where it does not say."""
    return next((job.epoch for job in view.report.jobs if job.query == query_id and job.epoch), None)
