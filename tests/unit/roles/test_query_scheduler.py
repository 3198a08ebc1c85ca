"""The cloud's loop against an edge that does what the test says: starts, restarts, losses, strays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from delivering import Sender
from pydantic import ValidationError
from reports import PATIENT, a_report

from node.clock import ManualClock
from node.errors import Busy, Conflict, Forbidden, Internal, Invalid, PeerUnreachable
from node.model.cluster import JobReport, LinkReport, NodeReport, Received, Role, ServiceReport, SourceReport
from node.model.video import (
    EPOCH_STEP,
    Constraint,
    Outcome,
    Placement,
    Query,
    QueryRequest,
    Resolution,
    Result,
    StageRole,
    Tally,
    VideoConf,
)
from node.model.wire.job import JOB_PLAN, JOB_PROGRESS, JOB_START, JOB_STOP, Failure, JobPlan, JobProgress, JobStart, JobStop
from node.model.wire.member import NODE_REPORT, Report
from node.pipeline.video.planner.base import Scheduler
from node.pipeline.video.planner.loading import load_scheduler
from node.pipeline.video.profile import runtime_of
from node.roles.cloud.query_manager import QueryManager
from node.roles.cloud.scheduler import CALL_TIMEOUT_S, NO_OFFER_PATIENCE_S, QueryScheduler
from node.roles.shared.delivery import Delivery
from node.roles.shared.registry import Registry
from node.storage import open_store
from node.transport.base import Answer
from node.transport.limits import MESSAGE_BYTES
from node.transport.loopback import LoopbackHub, LoopbackTransport
from node.transport.options import LinkOptions

SERVICES = tuple(
    ServiceReport(name=name, profile=dict.fromkeys(("360p", "480p", "720p", "1080p"), 0.01), profile_objects=4)
    for name in ("face_detection", "face_alignment")
)


@dataclass
class Edge:
    """An edge as the cloud sees it."""

    hub: LoopbackHub
    clock: ManualClock
    boot: int = 1
    started: list[JobStart] = field(default_factory=list)
    plans: list[JobPlan] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    refuses: Exception | None = None
    keeps_strays: Exception | None = None
    silent: bool = False
    linked: bool = True
    asked: int = 0
    epochs: dict[str, int] = field(default_factory=dict)

    async def open(self) -> None:
        self.transport = self.hub.transport("edge-1", {Role.EDGE}, self.clock, LinkOptions("edge-1", **PATIENT))
        self.transport.answer(JOB_START, self._start)
        self.transport.answer(JOB_PLAN, self._plan)
        self.transport.answer(JOB_STOP, self._stop)
        await self.transport.start()
        self.sender = Sender(self.transport, "cloud-1")

    async def report(self) -> None:
        report: NodeReport = a_report(
            "edge-1",
            Role.EDGE,
            boot=self.boot,
            workers=1,
            services=SERVICES,
            sources=(SourceReport(id=0, name="lobby", fps=25.0, height=720),),
            jobs=tuple(
                JobReport(query=query, attempt=attempt, epoch=self.epochs.get(query, 0))
                for query, attempt in self.running.items()
            ),
            links=(LinkReport(peer="cloud-1", rtt_ms=1.0),) if self.linked else (),
        )
        await self.transport.call("cloud-1", NODE_REPORT, Report(report=report), timeout=1.0)

    async def progress(self, query: Query, **changes: object) -> bool:
        message = JobProgress(query=query.id, attempt=query.attempt, tally=Tally()).replace(**changes)
        return (await self.sender.send(JOB_PROGRESS, message)).wanted

    async def _start(self, _call, message: JobStart) -> Answer[Received]:
        if self.refuses:
            raise self.refuses
        self.started.append(message)
        self.running[message.query] = message.attempt
        return Answer(Received())

    async def _plan(self, _call, message: JobPlan) -> Answer[Received]:
        self.plans.append(message)
        return Answer(Received())

    async def _stop(self, _call, message: JobStop) -> Answer[Received]:
        self.asked += 1
        if self.keeps_strays:
            raise self.keeps_strays
        if self.silent:
            await asyncio.Event().wait()
        self.stopped.append(message.query)
        self.running.pop(message.query, None)
        return Answer(Received())


class Stumbling:
    """A planner that breaks for the queries that the test names."""

    def __init__(self, planner: Scheduler) -> None:
        self._planner = planner
        self.breaks_for: set[str] = set()

    def plan(self, job_uid, *known):
        if job_uid in self.breaks_for:
            raise ZeroDivisionError(job_uid)
        return self._planner.plan(job_uid, *known)

    def observe(self, job_uid, plan, result) -> None:
        self._planner.observe(job_uid, plan, result)

    def failed(self, job_uid, plan, stage) -> None:
        self._planner.failed(job_uid, plan, stage)

    def forget(self, job_uid) -> None:
        self._planner.forget(job_uid)

    def explain(self, job_uid):
        return self._planner.explain(job_uid)

    def safe(self, job_uid):
        return self._planner.safe(job_uid)


class Cloud:
    @classmethod
    async def make(cls, hub: LoopbackHub, clock: ManualClock, store) -> Cloud:
        transport = hub.transport("cloud-1", {Role.CLOUD}, clock, LinkOptions("cloud-1", **PATIENT))
        return cls(transport, clock, store, await Delivery.open(store, transport, clock, 1, max_message=MESSAGE_BYTES))

    def __init__(self, transport: LoopbackTransport, clock: ManualClock, store, delivery: Delivery) -> None:
        self.clock = clock
        self.store = store
        self.transport = transport
        here = a_report("cloud-1", Role.CLOUD, workers=1, services=SERVICES)
        self.registry = Registry(lambda: here, clock, suspect_after=6.0, dead_after=20.0)
        self.registry.register(self.transport)
        self.planner = planner = Stumbling(load_scheduler("robust"))
        self.manager = QueryManager(
            store=store,
            registry=self.registry,
            transport=self.transport,
            delivery=delivery,
            clock=clock,
            members=["edge-1", "edge-2"],
        )
        self.manager.register()
        self.drained: set[str] = set()
        self.scheduler = QueryScheduler(
            manager=self.manager,
            planner=planner,
            store=store,
            registry=self.registry,
            transport=self.transport,
            clock=clock,
            tick=1.0,
            dead_after=20.0,
            drained=lambda: self.drained,
        )

    async def submit(self) -> Query:
        request = QueryRequest(node="edge-1", source="lobby", pipeline=("face_detection", "face_alignment"))
        query, new = await self.manager.submit(request)
        assert new
        return query


@pytest.fixture
async def system(tmp_path):
    clock, hub = ManualClock(), LoopbackHub()
    store = await open_store("sqlite:///:memory:", tmp_path, clock)
    cloud, edge = await Cloud.make(hub, clock, store), Edge(hub, clock)
    await cloud.transport.start()
    await edge.open()
    await clock.advance(0.0)
    await edge.report()
    loop = asyncio.create_task(cloud.scheduler.run())
    yield cloud, edge
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    await edge.transport.stop()
    await cloud.transport.stop()
    await store.close()


async def until(cloud: Cloud, condition) -> None:
    """Gives the store's threads and the calls under way their turns; the clock stands still meanwhile."""
    for _ in range(5000):
        if condition():
            return
        await cloud.store.queries.live()
    raise AssertionError("it did not come about")


async def settle(cloud: Cloud) -> None:
    """Enough turns for a whole round of the scheduler."""
    for _ in range(200):
        await cloud.store.queries.live()


async def state(cloud: Cloud, query: Query) -> str:
    return (await cloud.store.queries.get(query.id)).state


async def started(cloud: Cloud, edge: Edge, times: int = 1) -> Query:
    query = await cloud.submit()
    await until(cloud, lambda: len(edge.started) == times)
    return await cloud.store.queries.get(query.id)


def a_result(query: Query) -> Result:
    assert query.plan is not None
    return Result(
        attempt=query.attempt,
        n_loop=1,
        cam_frame_id=1,
        conf_frame_id=1,
        captured_at=1.0,
        latency=0.1,
        delay=0.05,
        stage_ms={"face_detection": 20.0, "face_alignment": 10.0},
        plan=query.plan.digest(),
        plan_epoch=query.plan.epoch,
        width=640,
        height=480,
        output={"bbox": [[0, 0, 10, 10]]},
    )


async def test_an_accepted_query_is_planned_and_started(system):
    cloud, edge = system
    query = await started(cloud, edge)
    assert (query.state, query.attempt) == ("running", 1)
    assert edge.started[0].plan == query.plan
    assert set(query.plan.flow_mapping) == {"face_detection", "face_alignment"}


@pytest.mark.parametrize(("node", "error"), [("edge-2", PeerUnreachable), ("edge-3", Invalid)])
async def test_a_member_that_is_away_is_unavailable_and_a_stranger_invalid(system, node, error):
    cloud, _ = system
    with pytest.raises(error, match=node):
        await cloud.manager.submit(QueryRequest(node=node, source="lobby", pipeline=("face_detection",)))


async def test_results_are_kept_and_an_outcome_ends_the_query(system):
    cloud, edge = system
    query = await started(cloud, edge)
    assert await edge.progress(query, results=(a_result(query),), tally=Tally(captured=1, processed=1))
    assert [result for _, result in await cloud.manager.results(query.id, 0, 10, 0.0)] == [a_result(query)]
    assert await edge.progress(query, outcome=Outcome(state="finished"))
    assert await state(cloud, query) == "finished"
    assert not await edge.progress(query)


async def test_results_of_an_attempt_that_was_never_begun_are_refused(system):
    cloud, edge = system
    query = await started(cloud, edge)
    with pytest.raises(Conflict, match="never begun"):
        await edge.progress(query.replace(attempt=7))


async def test_results_of_a_superseded_attempt_are_kept_and_move_nothing(system):
    cloud, edge = system
    query = await started(cloud, edge)
    await next_attempt(cloud, query)
    tally = Tally(captured=4, processed=4, in_flight=1)
    late = await edge.progress(query, results=(a_result(query),), tally=tally, outcome=Outcome(state="finished"))
    assert not late
    after = await cloud.store.queries.get(query.id)
    assert (after.state, after.tally) == ("running", Tally(captured=5, processed=4, failed=1))
    assert [result for _, result in await cloud.manager.results(query.id, 0, 10, 0.0)] == [a_result(query)]


async def test_results_that_come_after_a_stop_are_kept_and_add_up(system):
    cloud, edge = system
    query = await started(cloud, edge)
    await cloud.manager.stop(query.id)
    assert not await edge.progress(query, results=(a_result(query),), tally=Tally(captured=2, processed=2, in_flight=1))
    after = await cloud.store.queries.get(query.id)
    assert (after.state, after.tally) == ("stopped", Tally(captured=3, processed=2, skipped=1))


async def test_a_changed_constraint_reaches_the_edge_as_a_newer_plan(system):
    cloud, edge = system
    query = await started(cloud, edge)
    await cloud.manager.constrain(query.id, Constraint(delay=0.001))
    await until(cloud, lambda: bool(edge.plans))
    assert edge.plans[0].plan.epoch == query.plan.epoch + EPOCH_STEP


async def test_why_a_plan_was_chosen_is_kept_with_the_five_best(system):
    cloud, edge = system
    query = await started(cloud, edge)
    (first,) = await cloud.manager.decisions(query.id, 10)
    assert (first.epoch, first.kept) == (query.plan.epoch, False)
    assert first.reason.startswith("first plan: ")
    assert len(first.best) == 5
    assert first.predicted == first.best[0]
    for _ in range(12):
        await cloud.clock.advance(1.0)
        await settle(cloud)
        await edge.report()
    kept = (await cloud.manager.decisions(query.id, 10))[1:]
    assert len(kept) == 1
    assert kept[0].kept
    assert kept[0].reason.startswith("kept: ")


async def test_two_results_in_a_row_that_break_the_limit_are_looked_at_at_once(system):
    cloud, edge = system
    query = await started(cloud, edge)
    await cloud.manager.constrain(query.id, Constraint(latency=0.2))
    await settle(cloud)
    query = await cloud.store.queries.get(query.id)
    asked: list[str] = []
    plan = cloud.planner.plan
    cloud.planner.plan = lambda uid, *known: asked.append(uid) or plan(uid, *known)
    late = [a_result(query).replace(n_loop=number, latency=0.9) for number in (1, 2)]
    assert await edge.progress(query, results=(late[0],), tally=Tally(captured=1, processed=1))
    await settle(cloud)
    assert not asked
    assert await edge.progress(query, results=(late[1],), tally=Tally(captured=2, processed=2))
    await until(cloud, lambda: bool(asked))


async def test_an_edge_on_its_safe_plan_gets_a_new_one_after_a_rest(system):
    cloud, edge = system
    query = await started(cloud, edge)
    edge.epochs[query.id] = query.plan.epoch + 1
    for _ in range(12):
        await edge.report()
        await cloud.clock.advance(1.0)
        await settle(cloud)
        if edge.plans:
            break
    assert edge.plans[0].plan.epoch == query.plan.epoch + EPOCH_STEP
    assert edge.plans[0].plan.same_choice(query.plan)


async def test_a_plan_whose_message_was_lost_is_sent_again(system):
    cloud, edge = system
    query = await started(cloud, edge)
    await cloud.manager.constrain(query.id, Constraint(delay=0.001))
    await until(cloud, lambda: bool(edge.plans))
    edge.epochs[query.id] = query.plan.epoch
    edge.plans.clear()
    for _ in range(8):
        await edge.report()
        await cloud.clock.advance(1.0)
        await settle(cloud)
    assert edge.plans
    assert edge.plans[0].plan == (await cloud.store.queries.get(query.id)).plan


async def test_a_plan_with_stages_elsewhere_comes_with_a_safe_one(system):
    cloud, edge = system
    query = await started(cloud, edge)
    start = edge.started[0]
    away = {place.node for place in start.plan.flow_mapping.values()} - {"edge-1"}
    assert (start.safe is not None) == bool(away)
    if start.safe is not None:
        assert start.safe.plan.epoch == query.plan.epoch + 1
        assert {place.node for place in start.safe.plan.flow_mapping.values()} == {"edge-1"}


def by_hand(node: str = "edge-1") -> tuple[VideoConf, dict[str, Placement]]:
    place = Placement(node=node, role=StageRole.HOST if node == "edge-1" else StageRole.CLOUD)
    return VideoConf(fps=1, resolution=Resolution.P360), {"face_detection": place, "face_alignment": place}


async def test_a_plan_chosen_by_hand_stays_until_the_constraint_changes(system):
    cloud, edge = system
    query = await started(cloud, edge)
    chosen = await cloud.manager.choose(query.id, *by_hand())
    assert edge.plans[-1].plan == chosen.plan
    assert (chosen.plan.video_conf, chosen.plan.flow_mapping) == by_hand()
    for _ in range(3):
        await cloud.clock.advance(1.0)
        await settle(cloud)
    assert (await cloud.store.queries.get(query.id)).plan == chosen.plan
    assert await cloud.manager.choose(query.id, *by_hand()) == chosen
    assert [message.plan for message in edge.plans[-2:]] == [chosen.plan] * 2
    await cloud.manager.constrain(query.id, Constraint(accuracy=1.0))
    await until(cloud, lambda: edge.plans[-1].plan.epoch > chosen.plan.epoch)


async def test_a_plan_chosen_by_hand_is_given_up_when_a_node_of_it_is_lost(system):
    cloud, edge = system
    query = await started(cloud, edge)
    chosen = await cloud.manager.choose(query.id, *by_hand("cloud-1"))
    edge.linked = False
    await edge.report()
    await cloud.clock.advance(1.0)
    await until(cloud, lambda: edge.plans[-1].plan.epoch > chosen.plan.epoch)
    assert {place.node for place in edge.plans[-1].plan.flow_mapping.values()} == {"edge-1"}


async def test_a_plan_chosen_before_the_start_is_the_one_that_is_started(system):
    cloud, edge = system
    cloud.planner.breaks_for.add((query := await cloud.submit()).id)
    chosen = await cloud.manager.choose(query.id, *by_hand())
    await until(cloud, lambda: bool(edge.started))
    assert edge.started[0].plan == chosen.plan


async def test_a_plan_that_does_not_fit_is_refused_with_every_fault(system):
    cloud, edge = system
    query = await started(cloud, edge)
    there = Placement(node="edge-1", role=StageRole.HOST)
    mapping = {
        "face_detection": there.replace(node="edge-9"),
        "face_alignment": there.replace(model_id=7),
        "car_detection": there,
    }
    with pytest.raises(Invalid) as refused:
        await cloud.manager.choose(query.id, VideoConf(), mapping)
    assert [problem.path for problem in refused.value.problems] == [f"flow_mapping.{stage}" for stage in mapping]
    with pytest.raises(Invalid, match="does not fit"):
        await cloud.manager.choose(query.id, VideoConf(), {"face_detection": there})
    await cloud.manager.stop(query.id)
    with pytest.raises(Conflict, match="stopped"):
        await cloud.manager.choose(query.id, *by_hand())


async def test_the_newest_results_come_with_the_figures_of_their_windows(system):
    cloud, edge = system
    query = await started(cloud, edge)
    results = tuple(a_result(query).replace(n_loop=number, delay=float(number)) for number in range(1, 41))
    assert await edge.progress(query, results=results, tally=Tally(captured=40, processed=40))
    found = await cloud.manager.newest(query.id, 10)
    assert [result.n_loop for result, _ in found] == list(range(31, 41))
    assert found[0][1] == runtime_of(results[1:31])
    assert found[-1][1] == runtime_of(results)
    assert len(await cloud.manager.newest(query.id, 500)) == 40


async def test_an_edge_that_was_restarted_gets_the_query_again(system):
    cloud, edge = system
    query = await started(cloud, edge)
    edge.boot, edge.running = 2, {}
    await edge.report()
    await cloud.clock.advance(1.0)
    await until(cloud, lambda: len(edge.started) == 2)
    assert (edge.started[1].query, edge.started[1].attempt) == (query.id, 2)


async def test_a_job_that_is_not_reported_yet_is_not_started_twice(system):
    cloud, edge = system
    query = await started(cloud, edge)
    edge.running = {}
    await edge.report()
    await cloud.clock.advance(2.0)
    await settle(cloud)
    assert len(edge.started) == 1
    assert await state(cloud, query) == "running"


async def test_a_silent_edge_fails_its_queries_only_when_it_is_lost(system):
    cloud, edge = system
    query = await started(cloud, edge)
    for _ in range(19):
        await cloud.clock.advance(1.0)
    assert await state(cloud, query) == "running"
    for _ in range(3):
        await cloud.clock.advance(1.0)
        await cloud.store.queries.live()
    ended = await cloud.store.queries.get(query.id)
    assert ended.state == "failed"
    assert ended.reason.startswith("node_lost: 'edge-1'")


async def test_a_start_that_the_edge_refuses_fails_the_query_with_its_words(system):
    cloud, edge = system
    edge.refuses = Invalid("the camera is painted over")
    query = await cloud.submit()
    for _ in range(200):
        if await state(cloud, query) == "failed":
            break
    assert (await cloud.store.queries.get(query.id)).reason == "the camera is painted over"


async def test_stages_leave_a_node_that_fails_them(system):
    cloud, edge = system
    query = await started(cloud, edge)
    stage, place = next(iter(query.plan.flow_mapping.items()))
    failures = tuple(Failure(plan_epoch=query.plan.epoch, stage=stage) for _ in range(4))
    assert await edge.progress(query, failures=failures)
    await cloud.clock.advance(1.0)
    await until(cloud, lambda: bool(edge.plans))
    assert edge.plans[0].plan.flow_mapping[stage].node != place.node


async def test_one_failing_job_stops_the_tick_for_all(system):
    """A planner that breaks over one query keeps no other waiting."""
    cloud, edge = system
    broken = await started(cloud, edge)
    cloud.planner.breaks_for.add(broken.id)
    assert await edge.progress(broken, results=(a_result(broken),))
    whole = await cloud.submit()
    await until(cloud, lambda: len(edge.started) == 2)
    assert edge.started[1].query == whole.id


async def test_a_job_whose_query_is_over_is_stopped(system):
    cloud, edge = system
    query = await started(cloud, edge)
    await cloud.store.queries.transition(query.id, "stop")
    await edge.report()
    await cloud.clock.advance(1.0)
    await until(cloud, lambda: query.id in edge.stopped)


@pytest.mark.parametrize("refusal", [Forbidden("no"), Internal("a fault over there"), PeerUnreachable("gone")])
async def test_an_edge_that_will_not_stop_a_stray_job_does_not_end_the_cloud(system, refusal):
    cloud, edge = system
    edge.running = {"q-" + "0" * 26: 1}
    edge.keeps_strays = refusal
    await edge.report()
    await cloud.clock.advance(1.0)
    await started(cloud, edge)


async def test_an_edge_that_does_not_answer_is_left_alone_until_the_next_round(system):
    cloud, edge = system
    edge.running = {f"q-{number:026}": 1 for number in range(100)}
    edge.silent = True
    await edge.report()
    await cloud.clock.advance(1.0)
    await settle(cloud)
    assert edge.asked == 1
    await cloud.submit()
    for rounds in range(2, 5):  # one may have begun before the query came, and waits its time out
        await cloud.clock.advance(CALL_TIMEOUT_S)
        await settle(cloud)
        assert edge.asked <= rounds
    assert len(edge.started) == 1


async def test_an_edge_that_is_full_is_not_asked_again_at_every_tick(system):
    cloud, edge = system
    edge.refuses = Busy("16 jobs run on this edge already")
    query = await cloud.submit()
    for _ in range(4):
        await settle(cloud)
        await edge.report()
        await cloud.clock.advance(1.0)
    assert (await cloud.store.queries.get(query.id)).attempt == 1
    edge.refuses = None
    await cloud.clock.advance(2.0)
    await until(cloud, lambda: bool(edge.started))
    assert edge.started[0].attempt == 2


async def test_a_query_from_before_a_restart_waits_for_nodes_that_still_measure(system):
    cloud, edge = system
    cloud.planner.plan = lambda *_known: None
    query = await cloud.submit()
    await settle(cloud)
    old = query.replace(id="q-" + "0" * 26, created_at=1.0)
    await cloud.store.queries.create(old)
    await cloud.clock.advance(1.0)
    await settle(cloud)
    assert await state(cloud, old) == "unscheduled"
    for _ in range(int(NO_OFFER_PATIENCE_S) + 1):
        await edge.report()
        await cloud.clock.advance(1.0)
        await settle(cloud)
    assert (await cloud.store.queries.get(old.id)).reason.startswith("no reachable node offers")


async def test_a_result_that_arrives_while_the_store_is_read_ends_the_wait(system):
    cloud, edge = system
    query = await started(cloud, edge)
    read = cloud.store.queries.results

    async def read_and_then_arrives(*which):
        found = await read(*which)
        if not found:
            await edge.progress(query, results=(a_result(query),), tally=Tally(captured=1, processed=1))
        return found

    cloud.store.queries.results = read_and_then_arrives
    assert len(await cloud.manager.results(query.id, 0, 10, 5.0)) == 1


async def test_a_query_whose_edge_counts_without_end_can_still_be_stopped(system):
    cloud, edge = system
    query = await started(cloud, edge)
    with pytest.raises(ValidationError, match="tally"):
        await edge.progress(query, tally=Tally(captured=2**53, processed=2**53))
    await cloud.store.queries.append(query.id, 1, [], Tally(captured=2**52, failed=2**52))
    await cloud.store.queries.append(query.id, await next_attempt(cloud, query), [], Tally(captured=2**53, skipped=2**53))
    assert (await cloud.manager.stop(query.id)).state == "stopped"


async def next_attempt(cloud: Cloud, query: Query) -> int:
    return (await cloud.store.queries.begin_attempt(query.id)).attempt


@pytest.mark.parametrize("drained", ["cloud-1", "edge-1"])
async def test_a_drained_node_gets_no_stage_and_what_runs_there_is_moved(system, drained):
    cloud, edge = system
    query = await started(cloud, edge)
    await cloud.manager.choose(query.id, *by_hand(drained))
    cloud.drained.add(drained)
    await cloud.manager.constrain(query.id, Constraint(accuracy=0.5))  # gives the hand's choice up
    await cloud.clock.advance(1.0)
    other = {"cloud-1": "edge-1", "edge-1": "cloud-1"}[drained]
    await until(cloud, lambda: {place.node for place in edge.plans[-1].plan.flow_mapping.values()} == {other})


async def test_a_plan_chosen_by_hand_is_given_up_when_a_node_of_it_is_drained(system):
    cloud, edge = system
    query = await started(cloud, edge)
    chosen = await cloud.manager.choose(query.id, *by_hand("cloud-1"))
    cloud.drained.add("cloud-1")
    await cloud.clock.advance(1.0)
    await until(cloud, lambda: edge.plans[-1].plan.epoch > chosen.plan.epoch)
    assert {place.node for place in edge.plans[-1].plan.flow_mapping.values()} == {"edge-1"}
