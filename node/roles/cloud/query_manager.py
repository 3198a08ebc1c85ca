"""Who accepts queries, remembers them and hands out their results?

The query manager is the front door's view of the cloud role, and the place where the edges' results arrive. Every answer
comes from the store; only the newest few results of running queries are kept at hand, for their runtime figures.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Invalid, NotFound, PeerUnreachable, Problem
from node.model.decision import Decision
from node.model.value import new_id
from node.model.video import (
    EPOCH_STEP,
    QUERY_LIFE,
    Constraint,
    Event,
    Placement,
    Plan,
    Query,
    QueryRequest,
    QueryState,
    Result,
    Runtime,
    VideoConf,
)
from node.model.wire.job import (
    JOB_PICTURE,
    JOB_PLAN,
    JOB_PROGRESS,
    JOB_STOP,
    Failure,
    JobPictureRequest,
    JobPlan,
    JobProgress,
    JobProgressReply,
    JobStop,
)
from node.pipeline.graph import check_graph
from node.pipeline.stage import SERVICES
from node.pipeline.video.profile import WINDOW, runtime_of
from node.roles.cloud.views import View, Views
from node.roles.shared.delivery import Delivery, Effect
from node.roles.shared.registry import Registry
from node.storage import Store
from node.storage.queries import Progressed
from node.transport.base import Peer, Transport

log = logging.getLogger(__name__)

PICTURE_TIMEOUT_S: Final = 5.0
PLAN_TIMEOUT_S: Final = 3.0
STOP_TIMEOUT_S: Final = 2.0
UNSEEN: Final = 120  # four seconds at 30 fps, twice the longest tick that makes sense
MISSES: Final = 2  # results in a row that break a limit, or frames that were lost: then the next tick is not waited for
PLANS_AT_HAND: Final = 8  # results of a plan arrive a few frames after the next one was chosen


class Live:
    """What is kept at hand of a running query.

    `unseen` are the results that the planner was not told of yet; `held` says that the plan was chosen by hand and is to stay.
    """

    def __init__(self) -> None:
        self.results: deque[Result] = deque(maxlen=WINDOW)
        self.unseen: deque[Result | Failure] = deque(maxlen=UNSEEN)
        self.plans: dict[int, Plan] = {}
        self.held = False
        self.misses = 0

    def missed(self, limits: Constraint, results: Sequence[Result], failures: Sequence[Failure]) -> bool:
        """Whether, with these, so many in a row were bad that the plan wants another look."""
        for result in results:
            late = limits.latency is not None and result.latency > limits.latency
            late = late or (limits.delay is not None and result.delay > limits.delay)
            self.misses = self.misses + 1 if late else 0
        self.misses += len(failures)
        if self.misses < MISSES:
            return False
        self.misses = 0
        return True

    def remember(self, plan: Plan) -> None:
        """Keeps the plan for the results that will come under it."""
        self.plans[plan.epoch] = plan
        for epoch in sorted(self.plans)[:-PLANS_AT_HAND]:
            del self.plans[epoch]


class QueryManager:
    """Queries of this cloud.

    `members` are the names of the nodes that are admitted, joined or not; `changed` is called when the scheduler has something
    to do.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        transport: Transport,
        delivery: Delivery,
        clock: Clock,
        members: Container[str],
    ) -> None:
        self._members = members
        self._store = store
        self._registry = registry
        self._transport = transport
        self._delivery = delivery
        self._clock = clock
        self._live: dict[str, Live] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._views = Views(transport)
        self.changed: Callable[[], None] = lambda: None

    def register(self) -> None:
        """Takes the edges' results; only before the transport starts."""
        self._delivery.answer(JOB_PROGRESS, self._progress)

    def live(self, query_id: str) -> Live:
        """What is at hand of a query that is not over."""
        return self._live.setdefault(query_id, Live())

    # The front door

    async def submit(self, request: QueryRequest) -> tuple[Query, bool]:
        """The accepted query, and whether it is new; the same id with the same request is accepted once.

        Raises:
            Invalid: unknown node, source or service; each is named.
            PeerUnreachable: a member that has not joined since this cloud was started.
            Conflict: the id stands for another request.
        """
        self._check(request)
        now = self._clock.wall()
        query, new = await self._store.queries.create(request.accepted(request.id or new_id("q", now), now))
        if new:
            log.info("query accepted", extra={"query": query.id, "node": query.node, "source": query.source})
            self.changed()
        return query, new

    async def get(self, ref: str) -> Query:
        """One query by id, unique prefix, name or @last."""
        return await self._store.queries.get(await self._store.queries.resolve(ref))

    async def list(self, state: QueryState | None, limit: int, after: str | None) -> tuple[Query, ...]:
        """Queries, newest first."""
        return await self._store.queries.list(state, limit, after)

    async def constrain(self, ref: str, constraint: Constraint) -> Query:
        """Changes what must hold, from the next plan on.

        Raises:
            Conflict: the query is over.
        """
        query = await self.get(ref)
        if query.state in QUERY_LIFE.terminal:
            raise Conflict(f"query {query.id} is {query.state}", hint="submit a new one")
        query = await self._store.queries.set_constraint(query.id, constraint)
        self.live(query.id).held = False
        self.changed()
        return query

    async def stop(self, ref: str) -> Query:
        """Stops a query; one that is stopped already stays so.

        Raises:
            Conflict: the query has finished or failed.
        """
        query = await self.get(ref)
        if query.state is not QueryState.STOPPED:
            query = await self._store.queries.transition(query.id, "stop")
            self._over(query)
            await self._tell_stop(query)
        return query

    async def results(self, ref: str, after: int, limit: int, wait: float) -> tuple[tuple[int, Result], ...]:
        """Results behind the cursor `after`; where there are none yet, waits up to `wait` seconds for one, or for the end."""
        query_id = await self._store.queries.resolve(ref)
        deadline = self._clock.monotonic() + wait
        while (left := deadline - self._clock.monotonic()) > 0:
            bell = self._bells.setdefault(query_id, asyncio.Event())  # before the store is read: it rings for what comes later
            over = (await self._store.queries.get(query_id)).state in QUERY_LIFE.terminal
            found = await self._store.queries.results(query_id, after, limit)
            if over:
                self._ring(query_id)
            if over or found:
                return found
            try:
                async with self._clock.timeout(left):
                    await bell.wait()
            except TimeoutError:
                break
        return await self._store.queries.results(query_id, after, limit)

    async def runtime(self, ref: str) -> Runtime:
        """The figures of the newest results."""
        query_id = await self._store.queries.resolve(ref)
        if query_id in self._live:
            return runtime_of(tuple(self._live[query_id].results))
        return runtime_of(await self._store.queries.newest(query_id, WINDOW))

    async def newest(self, ref: str, count: int) -> tuple[tuple[Result, Runtime], ...]:
        """The last results, oldest first, each with the figures of the window that it ended."""
        found = await self._store.queries.newest(await self._store.queries.resolve(ref), count + WINDOW - 1)
        return await asyncio.to_thread(_with_figures, found, count)  # a hundred of them take 20 ms

    async def choose(self, ref: str, video_conf: VideoConf, flow_mapping: Mapping[str, Placement]) -> Query:
        """The query under a plan of its user's choice. Repeating it tells the edge again.

        The scheduler leaves it alone until the constraint changes, a node of the plan cannot be used, or this cloud is started
        anew.

        Raises:
            Invalid: a stage without a place, a place without a stage, a node or a model that is not there.
            Conflict: the query is over, or was planned anew at the same moment.
            PeerUnreachable, DeadlineExceeded: the edge does not answer; the plan is kept all the same.
        """
        query = await self.get(ref)
        if query.state in QUERY_LIFE.terminal:
            raise Conflict(f"query {query.id} is {query.state}", hint="submit a new one")
        self._check_mapping(query, flow_mapping)
        epoch = query.plan.epoch + EPOCH_STEP if query.plan else 1
        plan = Plan(epoch=epoch, video_conf=video_conf, flow_mapping=dict(flow_mapping))
        live = self.live(query.id)
        before, live.held = live.held, True  # first of all: the scheduler may come by while the store writes
        try:
            if query.plan is not None and plan.same_choice(query.plan):
                plan = query.plan
            else:
                query = await self._store.queries.set_plan(query.id, plan)
                log.info("plan chosen by hand", extra={"query": query.id, "epoch": plan.epoch})
        except EcnodeError:
            live.held = before
            raise
        live.remember(plan)
        if query.state is QueryState.RUNNING:
            await self._transport.call(query.node, JOB_PLAN, JobPlan(query=query.id, plan=plan), timeout=PLAN_TIMEOUT_S)
        self.changed()
        return query

    async def picture(self, ref: str) -> tuple[bytes, Result]:
        """The newest processed frame as an annotated JPEG, and its result.

        Raises:
            NotFound: the job has none, or is over.
            PeerUnreachable: its edge is away.
        """
        query = await self.get(ref)
        answer = await self._transport.call(
            query.node, JOB_PICTURE, JobPictureRequest(query=query.id), timeout=PICTURE_TIMEOUT_S
        )
        if len(answer.blobs) != 1 or answer.body.result is None:
            raise NotFound(f"'{query.node}' sent no picture of query {query.id}")
        return bytes(answer.blobs[0]), answer.body.result

    @asynccontextmanager
    async def view(self, ref: str, *, drawn: bool) -> AsyncIterator[View]:
        """The pictures of a query one after the other, for as long as the view is held.

        Raises:
            Busy: too many views are held.
        """
        query = await self.get(ref)
        with self._views.hold(query, drawn=drawn) as view:
            yield view

    async def plans(self, ref: str) -> tuple[tuple[float, Plan], ...]:
        """The plans of a query with the wall time of each, oldest first."""
        return await self._store.queries.plans(await self._store.queries.resolve(ref))

    async def decisions(self, ref: str, limit: int) -> tuple[Decision, ...]:
        """Why a query has its plans, oldest first."""
        return await self._store.queries.decisions(await self._store.queries.resolve(ref), limit)

    async def events(self, ref: str) -> tuple[Event, ...]:
        """What happened to a query, oldest first."""
        return await self._store.queries.events(await self._store.queries.resolve(ref))

    # What else ends a query

    async def fail(self, query: Query, reason: str) -> None:
        """Ends a query that cannot go on."""
        log.warning("query failed", extra={"query": query.id, "reason": reason})
        self._over(await self._store.queries.transition(query.id, "fail", reason))

    async def _tell_stop(self, query: Query) -> None:
        try:
            await self._transport.call(query.node, JOB_STOP, JobStop(query=query.id), timeout=STOP_TIMEOUT_S)
        except EcnodeError as error:  # the scheduler's search for strays will find the job, or its results be refused
            log.info("edge not told of the stop yet", extra={"query": query.id, "reason": error.message})

    def _over(self, query: Query) -> None:
        self._live.pop(query.id, None)
        self._ring(query.id)

    def _ring(self, query_id: str) -> None:
        """Wakes those who wait for news of one query, and nobody else."""
        if (bell := self._bells.pop(query_id, None)) is not None:
            bell.set()

    def _check_mapping(self, query: Query, flow_mapping: Mapping[str, Placement]) -> None:
        stages = dict.fromkeys((*query.pipeline, *flow_mapping))
        problems = []
        for stage in stages:
            place = flow_mapping.get(stage)
            if place is None or stage not in query.pipeline:
                fault = "has no place" if place is None else f"is no stage of query {query.id}"
            elif place.node != self._registry.here().name and self._registry.view(place.node) is None:
                fault = f"no node '{place.node}' has joined"
            elif place.model_id >= SERVICES[stage].models:
                fault = f"has no model {place.model_id}"
            else:
                continue
            problems.append(Problem(f"flow_mapping.{stage}", fault))
        if problems:
            raise Invalid("the plan does not fit the query", problems=problems)

    def _check(self, request: QueryRequest) -> None:
        check_graph(request.pipeline, request.graph)
        report = self._registry.report(request.node)
        if report is None and request.node in self._members:
            raise PeerUnreachable(f"'{request.node}' has not joined since this cloud was started", hint="submit it again")
        if report is None:
            known = ", ".join(node.report.name for node in self._registry.views() if node.report.sources)
            problem = Problem("node", f"no node '{request.node}' has joined; nodes with cameras: {known or 'none'}")
        elif all(request.source != source.name for source in report.sources):
            known = ", ".join(source.name for source in report.sources)
            problem = Problem("source", f"'{request.node}' has no source '{request.source}'; it has: {known or 'none'}")
        else:
            return
        raise Invalid(f"{problem.path}: {problem.message}", problems=[problem], hint="ecnode status lists the nodes")

    def _progress(self, peer: Peer, progress: JobProgress) -> Effect[Progressed, JobProgressReply]:
        return Effect(
            apply=self._store.queries.progress(peer.name, progress),
            reply=lambda done: JobProgressReply(wanted=done.current),
            then=partial(self._progressed, progress),
        )

    def _progressed(self, progress: JobProgress, done: Progressed) -> None:
        self._store.queries.told(done)
        query = done.query
        if done.ended:
            log.info("query over", extra={"query": query.id, "state": query.state, "reason": query.reason})
            self._over(query)
        elif done.current:
            live = self.live(query.id)
            live.results.extend(progress.results)
            live.unseen.extend([*progress.results, *progress.failures])
            if live.missed(query.constraint, progress.results, progress.failures):
                self.changed()
        self._ring(query.id)


def _with_figures(results: Sequence[Result], count: int) -> tuple[tuple[Result, Runtime], ...]:
    first = max(0, len(results) - count)
    return tuple(
        (results[place], runtime_of(results[max(0, place - WINDOW + 1) : place + 1])) for place in range(first, len(results))
    )
