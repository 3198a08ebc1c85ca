"""What does the planner know when it is asked for a query, and what becomes of its answer?

It is told of every result and every lost frame under the plan that was then, and of the nodes as the edge of the query can
reach them. A new plan is stored before anybody hears of it; why it was chosen is kept beside it, and now and then also why not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from node.clock import Clock
from node.model.cluster import LinkReport, NodeReport, NodeState, NodeView, Role
from node.model.decision import Decision
from node.model.video import EPOCH_STEP, Plan, Query, Runtime, SafePlan, StageRole
from node.model.wire.job import Failure
from node.pipeline.graph import Dag, check_graph
from node.pipeline.video.planner.base import (
    Cautious,
    Explaining,
    Explanation,
    NodeLink,
    NodeResource,
    ResourceInfo,
    Scheduler,
    can_run,
)
from node.pipeline.video.profile import runtime_of
from node.roles.cloud.query_manager import QueryManager
from node.roles.shared.registry import Registry
from node.storage import Store

log = logging.getLogger(__name__)

DEFAULT_FPS: Final = 25.0  # of a camera that does not say
MIN_RTT_S: Final = 1e-4  # a link whose round trip was not measured yet is still a link
KEPT_EVERY_S: Final = 10.0  # why nothing was changed is worth a row so often
FAIR_SHARE: Final = 0.5  # of a core, what one more process gets at least where nobody says how many there are
SHARE_LEAST: Final = 0.05


class Planning:
    """Plans for the queries of this cloud. `drained` tells the nodes that get no work now."""

    def __init__(
        self,
        *,
        manager: QueryManager,
        planner: Scheduler,
        store: Store,
        registry: Registry,
        clock: Clock,
        drained: Callable[[], Collection[str]],
    ) -> None:
        self._manager = manager
        self._planner = planner
        self._store = store
        self._registry = registry
        self._clock = clock
        self._drained = drained
        self._told_at: dict[str, float] = {}
        self._asked: set[str] = set()

    async def replan(self, query: Query, host: NodeView, *, anew: bool = False) -> tuple[Query, bool]:
        """The query with its newest plan, and whether that plan is new; with `anew` also the same choice is a new plan."""
        self._asked.add(query.id)
        self._hear(query)
        live = self._manager.live(query.id)
        resources = self._resources(query, host)
        if live.held and query.plan is not None and not can_run(query.plan.flow_mapping, resources):
            live.held = False
            log.warning("plan chosen by hand cannot run any more", extra={"query": query.id})
        if live.held:
            return query, False
        runtime = runtime_of(tuple(live.results))
        dag = Dag.of(check_graph(query.pipeline, query.graph)) if query.graph else query.pipeline
        choice = self._planner.plan(query.id, dag, resources, runtime, query.constraint)
        newly = False
        if choice is not None:
            conf, mapping = choice
            plan = Plan(epoch=query.plan.epoch + EPOCH_STEP if query.plan else 1, video_conf=conf, flow_mapping=mapping)
            newly = query.plan is None or anew or not plan.same_choice(query.plan)
            if newly:
                query = await self._store.queries.set_plan(query.id, plan)
                log.info("new plan", extra={"query": query.id, "plan": _in_words(plan)})
        if query.plan is not None:
            live.remember(query.plan)
        await self._explain(query, runtime, newly=newly)
        return query, newly

    def safe(self, query: Query) -> SafePlan | None:
        """What the edge does by itself when the others are out of reach; None where it cannot, or need not."""
        plan, live = query.plan, self._manager.live(query.id)
        if plan is None or live.held or not isinstance(self._planner, Cautious):
            return None
        if all(place.role is StageRole.HOST for place in plan.flow_mapping.values()):
            return None
        found = self._planner.safe(query.id)
        if found is None:
            return None
        conf, mapping = found.choice
        alone = Plan(epoch=plan.epoch + 1, video_conf=conf, flow_mapping=mapping)
        live.remember(alone)
        return SafePlan(plan=alone, after=found.after_s)

    def reason(self, query_id: str) -> str:
        """Why the query has its plan, or none; empty where the planner does not say."""
        told = self._told(query_id)
        return told.reason if told is not None else ""

    def forget_all_but(self, wanted: Collection[str]) -> None:
        """The other queries are over."""
        for query_id in self._asked.difference(wanted):
            self._asked.discard(query_id)
            self._told_at.pop(query_id, None)
            self._planner.forget(query_id)

    def _hear(self, query: Query) -> None:
        live = self._manager.live(query.id)
        while live.unseen:
            seen = live.unseen.popleft()
            if (plan_then := live.plans.get(seen.plan_epoch)) is None:
                continue
            if isinstance(seen, Failure):
                self._planner.failed(query.id, plan_then, seen.stage)
            else:
                self._planner.observe(query.id, plan_then, seen)

    async def _explain(self, query: Query, runtime: Runtime, *, newly: bool) -> None:
        now = self._clock.monotonic()
        told = self._told(query.id)
        if told is None or (not newly and now - self._told_at.get(query.id, float("-inf")) < KEPT_EVERY_S):
            return
        self._told_at[query.id] = now
        decision = Decision(
            time=self._clock.wall(),
            epoch=query.plan.epoch if query.plan is not None else 0,
            kept=not newly,
            reason=told.reason,
            predicted=told.predicted,
            before=told.before,
            observed=runtime,
            best=told.best,
        )
        await self._store.queries.decide(query.id, decision)

    def _told(self, query_id: str) -> Explanation | None:
        return self._planner.explain(query_id) if isinstance(self._planner, Explaining) else None

    def _resources(self, query: Query, host: NodeView) -> ResourceInfo:
        """The nodes that may run stages of this query: its edge, and the ready ones that the edge has a link to."""
        links = {link.peer: link for link in host.report.links}
        here, now = self._registry.here(), self._clock.monotonic()
        told = {
            view.report.name: (view.report, now - view.seen_s)
            for view in self._registry.views()
            if view.state is NodeState.READY
        }
        told[here.name] = here, now
        drained = self._drained()
        reachable = {name: one for name, one in told.items() if name in links and name != query.node and name not in drained}
        away = tuple(
            _resource(report, _role_of(report), links[name], now - host.seen_s, _links(name, reachable))
            for name, (report, _) in reachable.items()
        )
        home = (_resource(host.report, StageRole.HOST, None, now, {}),)
        offload = "always" if query.node in drained else host.report.offload  # its cameras stay, their stages go where they can
        nodes = {"auto": home + away, "never": home, "always": away or home}[offload]
        camera = next((source for source in host.report.sources if source.name == query.source), None)
        fps, height = (camera.fps or DEFAULT_FPS, camera.height) if camera is not None else (DEFAULT_FPS, 0)
        return ResourceInfo(nodes, fps, height, at=now, owner=query.node)


def _role_of(report: NodeReport) -> StageRole:
    return StageRole.CLOUD if Role.CLOUD in report.roles else StageRole.EDGE


def _links(name: str, told: Mapping[str, tuple[NodeReport, float]]) -> dict[str, NodeLink]:
    """The links of a node to others that are in reach; how wide one is the other end says where this one does not."""
    report, at = told[name]
    found = {}
    for link in report.links:
        if link.peer not in told or link.peer == name:
            continue
        wide, told_at = link, at
        if not link.bytes_s:
            other, told_at = told[link.peer]
            wide = next((back for back in other.links if back.peer == name), link)
        probed = told_at - wide.measured_s if wide.bytes_s else 0.0
        found[link.peer] = NodeLink(max(link.rtt_ms / 1000, MIN_RTT_S), wide.bytes_s, probed)
    return found


def _resource(
    report: NodeReport, role: StageRole, link: LinkReport | None, told_at: float, others: Mapping[str, NodeLink]
) -> NodeResource:
    """`link` is the one from the host edge, as that reported it at the clock's time `told_at`; None for the host itself.
    `others` are those to others.
    """
    return NodeResource(
        name=report.name,
        role=role,
        workers=report.workers,
        cpu_fraction=_busy(report),
        rtt_s=max(link.rtt_ms / 1000, MIN_RTT_S) if link else 0.0,
        services={service.name: service for service in report.services},
        bytes_s=link.bytes_s if link else 0.0,
        probed_at=told_at - link.measured_s if link and link.bytes_s else 0.0,
        links=others,
    )


def _busy(report: NodeReport) -> float:
    """What one more process lacks of a core on that machine for others' sake: nothing while they leave one free.

    Where they do not, it gets its share of the run queue: with many cores a full CPU says nothing of how full it is.
    """
    free = report.cores * (1.0 - report.others_fraction)
    queue = max(report.others_running, report.cores * report.others_fraction)
    fair = report.cores / (queue + 1.0) if report.others_running else FAIR_SHARE
    return 1.0 - min(max(free, fair, SHARE_LEAST), 1.0)


def _in_words(plan: Plan) -> str:
    places = ", ".join(f"{stage} on {place.node}" for stage, place in plan.flow_mapping.items())
    return f"{plan.video_conf.resolution} at {plan.video_conf.fps} fps, {places}"
