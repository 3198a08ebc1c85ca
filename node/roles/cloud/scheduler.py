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
from node.model.cluster import NodeReport, NodeState, NodeView, Role
from node.model.video import QUERY_LIFE, Plan, Query, QueryState, StageRole
from node.model.wire.job import JOB_PLAN, JOB_START, JOB_STOP, Failure, JobPlan, JobStart, JobStop
from node.pipeline.video.planner.base import NodeResource, ResourceInfo, Scheduler
from node.pipeline.video.profile import runtime_of
from node.roles.cloud.query_manager import QueryManager
from node.roles.shared.registry import Registry
from node.storage import Store
from node.transport.base import Transport

log = logging.getLogger(__name__)

CALL_TIMEOUT_S: Final = 3.0
NO_OFFER_PATIENCE_S: Final = 120.0  # a node that has just started still measures its services
START_PATIENCE_S: Final = 10.0  # until a started job must stand in its edge's report
REFUSED_REST_S: Final = 5.0  # until an edge is asked again that could not start a job: one that is full stays so for a while
DEFAULT_FPS: Final = 25.0  # of a camera that does not say
MIN_RTT_S: Final = 1e-4  # a link whose round trip was not measured yet is still a link


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
        self._planner = planner
        self._store = store
        self._registry = registry
        self._transport = transport
        self._clock = clock
        self._tick = tick
        self._dead_after = dead_after
        self._drained = drained
        self._started: dict[str, _Start] = {}
        self._rests_until: dict[str, float] = {}
        self._unplanned_since: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._states: dict[str, NodeState] = {}
        manager.changed = self._wake.set
        registry.when_changed(self._node_changed)

    async def run(self) -> None:
        """Schedules until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._round(await self._store.queries.live())
            except EcnodeError as error:  # the store does not answer now
                log.warning("no query tended", extra={"reason": error.message})
            try:
                async with self._clock.timeout(self._tick):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self, queries: Sequence[Query]) -> None:
        wanted = {query.id for query in queries}
        self._forget_all_but(wanted)
        by_edge: dict[str, list[Query]] = {view.report.name: [] for view in self._registry.views()}
        for query in queries:
            by_edge.setdefault(query.node, []).append(query)
        async with asyncio.TaskGroup() as edges:
            for name, theirs in by_edge.items():
                edges.create_task(self._tend_edge(name, theirs, wanted), name=f"queries of {name}")

    async def _tend_edge(self, name: str, queries: Sequence[Query], wanted: set[str]) -> None:
        try:
            for query in queries:
                try:
                    await self._tend(query)
                except DeadlineExceeded:
                    raise
                except EcnodeError as error:
                    log.warning("query not tended", extra={"query": query.id, "reason": error.message})
                except Exception:  # the top of this role's loop: a planner is a plug-in, one must not stop the others' queries
                    log.exception("query not tended", extra={"query": query.id})
            await self._end_strays(name, wanted)
        except EcnodeError as error:
            log.warning("edge not tended any further in this round", extra={"peer": name, "reason": error.message})

    async def _tend(self, query: Query) -> None:
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
        query, newly = await self._replan(query, view)
        now = self._clock.monotonic()
        if query.plan is None:
            # not since the query was accepted: wall clocks jump, and after a restart of this cloud the nodes measure again
            if now - self._unplanned_since.setdefault(query.id, now) > NO_OFFER_PATIENCE_S:
                await self._manager.fail(query, "no reachable node offers " + ", ".join(query.pipeline))
        elif query.state is not QueryState.RUNNING:
            if now >= self._rests_until.get(query.id, now):
                await self._start(query, query.plan, view.report.boot)
        elif newly:
            await self._transport.call(query.node, JOB_PLAN, JobPlan(query=query.id, plan=query.plan), timeout=CALL_TIMEOUT_S)

    async def _replan(self, query: Query, host: NodeView) -> tuple[Query, bool]:
        """The query with its newest plan, and whether that plan is new."""
        live = self._manager.live(query.id)
        while live.unseen:
            seen = live.unseen.popleft()
            if (plan_then := live.plans.get(seen.plan_epoch)) is None:
                continue
            if isinstance(seen, Failure):
                self._planner.failed(query.id, plan_then, seen.stage)
            else:
                self._planner.observe(query.id, plan_then, seen)
        resources = self._resources(query, host)
        if live.held and query.plan is not None and not _can_run(query.plan, resources):
            live.held = False
            log.warning("plan chosen by hand cannot run any more", extra={"query": query.id})
        if live.held:
            return query, False
        choice = self._planner.plan(
            query.id,
            query.pipeline,
            resources,
            runtime_of(tuple(live.results)),
            query.constraint,
        )
        if choice is not None:
            conf, mapping = choice
            plan = Plan(epoch=query.plan.epoch + 1 if query.plan else 1, video_conf=conf, flow_mapping=mapping)
            if query.plan is None or not plan.same_choice(query.plan):
                query = await self._store.queries.set_plan(query.id, plan)
                live.remember(plan)
                log.info("new plan", extra={"query": query.id, "plan": _in_words(plan)})
                return query, True
        if query.plan is not None:
            live.remember(query.plan)
        return query, False

    async def _start(self, query: Query, plan: Plan, boot: int) -> None:
        if query.state is QueryState.UNSCHEDULED:
            query = await self._store.queries.transition(query.id, "plan")
        query = await self._store.queries.begin_attempt(query.id)
        query = await self._store.queries.transition(query.id, "start")
        self._started[query.id] = _Start(self._clock.monotonic(), boot)
        start = JobStart(
            query=query.id, attempt=query.attempt, source=query.source, pipeline=query.pipeline, graph=query.graph, plan=plan
        )
        try:
            await self._transport.call(query.node, JOB_START, start, timeout=CALL_TIMEOUT_S)
        except Unavailable as error:
            self._rests_until[query.id] = self._clock.monotonic() + REFUSED_REST_S
            await self._store.queries.transition(query.id, "interrupt", error.message)
            raise
        except Rejected as error:
            await self._manager.fail(query, error.message)

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
        for query_id in self._started.keys() - wanted:
            self._planner.forget(query_id)
        for kept in (self._started, self._rests_until, self._unplanned_since):
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

    def _resources(self, query: Query, host: NodeView) -> ResourceInfo:
        """The nodes that may run stages of this query: its edge, and the ready ones that the edge has a link to."""
        rtts = {link.peer: link.rtt_ms / 1000 for link in host.report.links}
        here = self._registry.here()
        others = [view.report for view in self._registry.views() if view.state is NodeState.READY]
        known = {report.name: report for report in [*others, here]}
        drained = self._drained()
        reachable = [report for name, report in known.items() if name in rtts and name != query.node and name not in drained]
        away = tuple(_resource(report, _role_of(report), max(rtts[report.name], MIN_RTT_S)) for report in reachable)
        home = (_resource(host.report, StageRole.HOST, 0.0),)
        offload = "always" if query.node in drained else host.report.offload  # its cameras stay, their stages go where they can
        nodes = {"auto": home + away, "never": home, "always": away or home}[offload]
        camera = next((source for source in host.report.sources if source.name == query.source), None)
        if camera is None:
            return ResourceInfo(nodes, DEFAULT_FPS)
        return ResourceInfo(nodes, camera.fps or DEFAULT_FPS, camera.height)

    def _node_changed(self, name: str) -> None:
        view = self._registry.view(name)
        state = view.state if view else NodeState.LOST
        if self._states.get(name) is not state:
            self._states[name] = state
            self._wake.set()


def _can_run(plan: Plan, resources: ResourceInfo) -> bool:
    there = {node.name: node.services for node in resources.nodes}
    return all(stage in there.get(place.node, {}) for stage, place in plan.flow_mapping.items())


def _role_of(report: NodeReport) -> StageRole:
    return StageRole.CLOUD if Role.CLOUD in report.roles else StageRole.EDGE


def _resource(report: NodeReport, role: StageRole, rtt_s: float) -> NodeResource:
    return NodeResource(
        name=report.name,
        role=role,
        workers=report.workers,
        cpu_fraction=report.cpu_fraction,
        rtt_s=rtt_s,
        services={service.name: service for service in report.services},
    )


def _in_words(plan: Plan) -> str:
    places = ", ".join(f"{stage} on {place.node}" for stage, place in plan.flow_mapping.items())
    return f"{plan.video_conf.resolution} at {plan.video_conf.fps} fps, {places}"
