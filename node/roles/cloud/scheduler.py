"""Which plan does each query get, and is it running where it should?

One loop, once a tick and at once when something changed: for every query that is not over, ask the planner, remember a new
plan before anybody hears of it, and bring the edge to what the store says. A query that fails to be tended does not keep the
others waiting.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from node.clock import Clock
from node.errors import EcnodeError, NotFound, Rejected, Unavailable
from node.model.cluster import NodeReport, NodeState, NodeView, Role
from node.model.message import JOB_PLAN, JOB_START, JOB_STOP, JobPlan, JobStart, JobStop
from node.model.video import QUERY_LIFE, Plan, Query, QueryState, StageRole
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
DEFAULT_FPS: Final = 25.0  # of a camera that does not say
MIN_RTT_S: Final = 1e-4  # a link whose round trip was not measured yet is still a link


@dataclass(frozen=True, slots=True)
class _Start:
    """When this process told the edge to start a job, and in which of the edge's lives."""

    at: float
    boot: int


class QueryScheduler:
    """The cloud's scheduler loop."""

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
    ) -> None:
        self._manager = manager
        self._planner = planner
        self._store = store
        self._registry = registry
        self._transport = transport
        self._clock = clock
        self._tick = tick
        self._dead_after = dead_after
        self._started: dict[str, _Start] = {}
        self._wake = asyncio.Event()
        self._states: dict[str, NodeState] = {}
        manager.changed = self._wake.set
        registry.when_changed(self._node_changed)

    async def run(self) -> None:
        """Schedules until cancelled."""
        while True:
            self._wake.clear()
            queries = await self._store.queries.live()
            for query in queries:
                try:
                    await self._tend(query)
                except EcnodeError as error:
                    log.warning("query not tended", extra={"query": query.id, "reason": error.message})
                except Exception:  # the top of this role's loop: planners are plug-ins, one must not stop the others' queries
                    log.exception("query not tended", extra={"query": query.id})
            await self._end_strays({query.id for query in queries})
            try:
                async with self._clock.timeout(self._tick):
                    await self._wake.wait()
            except TimeoutError:
                continue

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
        if query.plan is None:
            waited = self._clock.wall() - query.created_at
            if waited > NO_OFFER_PATIENCE_S:
                await self._manager.fail(query, "no reachable node offers " + ", ".join(query.pipeline))
        elif query.state is not QueryState.RUNNING:
            await self._start(query, query.plan, view.report.boot)
        elif newly:
            await self._transport.call(query.node, JOB_PLAN, JobPlan(query=query.id, plan=query.plan), timeout=CALL_TIMEOUT_S)

    async def _replan(self, query: Query, host: NodeView) -> tuple[Query, bool]:
        """The query with its newest plan, and whether that plan is new."""
        live = self._manager.live(query.id)
        while live.unseen:
            result = live.unseen.popleft()
            if (seen_under := live.plans.get(result.plan_epoch)) is not None:
                self._planner.observe(query.id, seen_under, result)
        choice = self._planner.plan(
            query.id,
            query.pipeline,
            self._resources(query, host),
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
        start = JobStart(query=query.id, attempt=query.attempt, source=query.source, pipeline=query.pipeline, plan=plan)
        try:
            await self._transport.call(query.node, JOB_START, start, timeout=CALL_TIMEOUT_S)
        except Unavailable as error:
            await self._store.queries.transition(query.id, "interrupt", error.message)
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

    async def _end_strays(self, wanted: set[str]) -> None:
        """Stops jobs that edges report although their queries are over, and forgets what is kept of those."""
        for query_id in self._started.keys() - wanted:
            del self._started[query_id]
            self._planner.forget(query_id)
        for view in self._registry.views():
            for job in view.report.jobs:
                if job.query not in wanted and view.state is NodeState.READY and await self._is_over(job.query):
                    try:
                        await self._transport.call(view.report.name, JOB_STOP, JobStop(query=job.query), timeout=CALL_TIMEOUT_S)
                    except Unavailable as error:
                        log.info("stray job not stopped yet", extra={"query": job.query, "reason": error.message})

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
        reachable = [report for report in [here, *others] if report.name in rtts and report.name != query.node]
        away = tuple(_resource(report, _role_of(report), max(rtts[report.name], MIN_RTT_S)) for report in reachable)
        home = (_resource(host.report, StageRole.HOST, 0.0),)
        nodes = {"auto": home + away, "never": home, "always": away or home}[host.report.offload]
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
