"""What happens to a query, or to four, under a scheduler in a world?

A discrete simulation of what the node does: frames are captured at the plan's rate, results are heard of a moment after they
are made, the scheduler ticks once a second and at once after two misses, and the edge goes over to its safe plan when a frame
stays away. Nothing here decides; all decisions are the scheduler's.

What a frame covers is the time until the next one. The utility of a run is the time share of 1[delay ≤ D] · min(accuracy, A)
/ A.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, inf
from statistics import fmean
from typing import Final

import numpy as np

from node.model.video import FPS_CHOICES, Constraint, Plan, Result, Runtime
from node.pipeline.video.planner.base import Safe, Scheduler
from node.pipeline.video.planner.delay import ShadowRun
from node.pipeline.video.planner.robust import Robust
from node.pipeline.video.planner.wishes import Golden, Wish
from planning.baselines import CONTESTANTS, Oracle, Reports, use
from planning.seed import SeedColdStart
from planning.world import (
    ANSWER_KB,
    HOST,
    LINK_NOISE,
    NOISE,
    RESOLUTIONS,
    STAGES,
    TAIL,
    TAIL_FACTOR,
    World,
)

TICK_S: Final = 1.0
ORACLE_TICK_S: Final = 0.5
HEARD_S: Final = 0.15  # from a result to the cloud's knowing of it
MISSES: Final = 2
LEFT_S: Final = 0.2  # until an edge knows that a node has gone
LIFE_S: Final = 5.0  # of a frame, where nobody is less patient
RESTED_S: Final = 3.0  # on the safe plan until the cloud's plan is taken again
WINDOW: Final = 30
STAGGER_S: Final = 5.0  # between the first frames of four queries

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Track:
    """What is asked: the name, the constraint, and how many pictures are worked on at once."""

    name: str
    constraint: Constraint
    in_flight: int

    def metric(self, total: float, fps: float, camera_fps: float) -> float:
        """The figure that the constraint limits."""
        return total / (camera_fps / min(fps, camera_fps) + 1) if self.constraint.delay else total

    @property
    def limit(self) -> float:
        """Of that figure."""
        return self.constraint.delay or self.constraint.latency or inf


TRACKS: Final = (
    Track("compat", Constraint(delay=0.3, accuracy=0.9), 64),
    Track("latency", Constraint(latency=0.5, accuracy=0.6), 1),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's time of capture, the time that it covers, the limited figure (inf where it was lost), its true accuracy."""

    at: float
    covers: float
    figure: float
    accuracy: float


@dataclass
class Trace:
    """One query's run."""

    frames: list[Frame] = field(default_factory=list)
    switches: list[tuple[float, Plan]] = field(default_factory=list)
    decision_s: list[float] = field(default_factory=list)
    reasons: list[tuple[float, str]] = field(default_factory=list)

    def utility(self, track: Track, seconds: float) -> float:
        """See the module."""
        asked = track.constraint.accuracy or 1.0
        worth = weight = 0.0
        for frame in self.frames:
            covers = max(min(frame.covers, seconds - frame.at), 0.0)
            weight += covers
            if frame.figure <= track.limit:
                worth += covers * min(frame.accuracy, asked) / asked
        return worth / weight if weight else 0.0

    def held(self, track: Track) -> float:
        """The time share in which the limit held."""
        total = sum(frame.covers for frame in self.frames)
        return sum(frame.covers for frame in self.frames if frame.figure <= track.limit) / total


@dataclass
class _Query:
    uid: str
    trace: Trace
    plan: Plan
    safe: Safe | None = None
    away_since: float = -inf
    home: bool = False
    window: deque[Result] = field(default_factory=lambda: deque(maxlen=WINDOW))
    misses: int = 0
    number: int = 0
    known: dict[str, Plan] = field(default_factory=dict)


class Run:
    """One scheduler in one world."""

    def __init__(self, world: World, seed: int, track: Track, made: Callable[[World], Scheduler], seconds: float) -> None:
        self._world = world
        self._track = track
        self._seconds = seconds
        self._reports = Reports(world, seed)
        self._noise = np.random.default_rng(7000 + seed)
        self._drawn: list[list[float]] = []
        self._scheduler = made(world)
        self._is_seed = world.original and isinstance(self._scheduler, SeedColdStart)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = 0
        self._queries: list[_Query] = []

    def go(self) -> list[Trace]:
        """The traces of all queries."""
        count = 4 if self._world.scenario == "four queries" else 1
        for place in range(count):
            uid = f"q-{place}"
            self._at(place * STAGGER_S, lambda now, uid=uid: self._arrive(now, uid))
        while self._events and self._events[0][0] < self._seconds:
            now, _, act = heapq.heappop(self._events)
            act(now)
        return [query.trace for query in self._queries]

    def _at(self, when: float, act: Callable[[float], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, act))

    def _arrive(self, now: float, uid: str) -> None:
        trace = Trace()
        plan = self._decide(now, uid, (), trace)
        if plan is None:
            self._at(now + TICK_S, lambda later: self._arrive(later, uid))
            return
        query = _Query(uid, trace, plan)
        query.known[plan.digest()] = plan
        self._queries.append(query)
        self._settle(query)
        tick = ORACLE_TICK_S if isinstance(self._scheduler, Oracle) else TICK_S
        self._at(now + tick, lambda later: self._tick(later, query, tick))
        self._capture(now, query)

    def _tick(self, now: float, query: _Query, tick: float) -> None:
        self._replan(now, query)
        if isinstance(self._scheduler, Robust) and (wish := self._scheduler.wish(query.uid)) is not None:
            self._try(now, query, wish)
        self._at(now + tick, lambda later: self._tick(later, query, tick))

    def _decide(self, now: float, uid: str, results: tuple[Result, ...], trace: Trace) -> Plan | None:
        info = self._reports.info(now, self._track.in_flight)
        runtime = self._runtime(now, results)
        begun = time.thread_time()
        choice = self._scheduler.plan(uid, STAGES, info, runtime, self._track.constraint)
        trace.decision_s.append(time.thread_time() - begun)
        if choice is None:
            return None
        return Plan(epoch=len(trace.decision_s), video_conf=choice[0], flow_mapping=choice[1])

    def _runtime(self, now: float, results: tuple[Result, ...]) -> Runtime:
        if not results:
            return Runtime(**self._reports.scene(now))
        latencies = sorted(result.latency for result in results)
        return Runtime(
            delay=fmean(result.delay for result in results),
            obj_n=float(self._world.objects[self._world.step(now)]),
            latency_p50=latencies[len(latencies) // 2],
            fps=1.0,
            **self._reports.scene(now),
        )

    def _replan(self, now: float, query: _Query) -> None:
        query.misses = 0
        plan = self._decide(now, query.uid, tuple(query.window), query.trace)
        if plan is None:
            return
        back = query.home and now - query.away_since >= RESTED_S
        if not plan.same_choice(query.plan):
            query.trace.switches.append((now, plan))
            query.plan, back = plan, True
            query.known[plan.digest()] = plan
            if isinstance(self._scheduler, Robust) and (told := self._scheduler.explain(query.uid)) is not None:
                query.trace.reasons.append((now, told.reason))
        if back:
            query.home = False
        if back:
            self._settle(query)

    def _settle(self, query: _Query) -> None:
        query.safe = self._scheduler.safe(query.uid) if isinstance(self._scheduler, Robust) else None

    # Frames

    def _capture(self, now: float, query: _Query) -> None:
        plan, step = query.plan, self._world.step(now)
        if query.home and query.safe is not None:
            conf, mapping = query.safe.choice
            plan = Plan(epoch=0, video_conf=conf, flow_mapping=mapping)
            query.known[plan.digest()] = plan
        shape = self._shape(plan)
        fps = min(float(plan.video_conf.fps), self._world.camera_fps)
        way = self._world.way(step, shape, self._crowd(query, step), apart=self._is_seed)
        noise = self._draw()
        tails = [TAIL_FACTOR if noise[4 + place] < TAIL else 1.0 for place in (0, 1)]
        stays = [seconds * exp(noise[place] * NOISE) * tails[place] for place, seconds in enumerate(way.stays)]
        hops = [seconds * exp(noise[2 + place] * LINK_NOISE) for place, seconds in enumerate(way.hops)]
        total = sum(stays) + sum(hops)
        gone = not all(self._world.up[node, step] for node in way.nodes)
        patience = self._patience(query, gone)
        covers = 1 / fps if self._track.constraint.delay else max(1 / fps, min(total, patience) / self._track.in_flight)
        if gone and self._is_seed:
            covers = 1 / fps if self._track.constraint.delay else 1.0
        found = self._world.accuracy(step, 1 / covers, shape[1])
        lost = gone or max(hops) > patience
        figure = inf if lost else self._track.metric(total, fps, self._world.camera_fps)
        query.trace.frames.append(Frame(now, covers, figure, found))
        if lost and not self._is_seed:
            stage = next((STAGES[place] for place, hop in enumerate(hops) if hop > 0), STAGES[0])
            self._at(now + patience, lambda later: self._lose(later, query, plan, stage))
        elif not lost:
            result = self._result(query, plan, now, stays, hops)
            self._at(now + total + HEARD_S, lambda later: self._hear(later, query, plan, result))
        self._at(now + covers, lambda later: self._capture(later, query))

    def _patience(self, query: _Query, gone: bool) -> float:
        if self._is_seed:
            return inf
        if gone:
            return LEFT_S
        return query.safe.after_s if query.safe is not None else LIFE_S

    def _lose(self, now: float, query: _Query, plan: Plan, stage: str) -> None:
        if query.safe is not None and plan.same_choice(query.plan) and not query.home:
            query.home, query.away_since = True, now
        self._scheduler.failed(query.uid, plan, stage)
        query.misses += 1
        self._look_again(now, query)

    def _hear(self, now: float, query: _Query, plan: Plan, result: Result) -> None:
        self._scheduler.observe(query.uid, plan, result)
        query.window.append(result)
        figure = result.delay if self._track.constraint.delay else result.latency
        query.misses = query.misses + 1 if figure > self._track.limit else 0
        self._look_again(now, query)

    def _look_again(self, now: float, query: _Query) -> None:
        if query.misses >= MISSES and not self._is_seed:
            self._replan(now, query)

    def _crowd(self, query: _Query, step: int) -> tuple[float, ...]:
        if len(self._queries) < 2:
            return (0.0,) * len(self._world.nodes)
        shares = [0.0] * len(self._world.nodes)
        for other in self._queries:
            if other is not query:
                for node, share in enumerate(use(self._world, step, self._shape(other.plan), self._track.in_flight)):
                    shares[node] += share
        return tuple(shares)

    def _result(self, query: _Query, plan: Plan, now: float, stays: list[float], hops: list[float]) -> Result:
        query.number += 1
        total = sum(stays) + sum(hops)
        width, height = plan.video_conf.resolution.size
        return Result.model_construct(
            attempt=1,
            n_loop=query.number,
            cam_frame_id=query.number,
            conf_frame_id=query.number,
            captured_at=now,
            latency=total,
            delay=total / (self._world.camera_fps / min(plan.video_conf.fps, self._world.camera_fps) + 1),
            stage_ms={stage: 1000 * (stays[place] + hops[place]) for place, stage in enumerate(STAGES)},
            hop_ms={stage: 1000 * hops[place] for place, stage in enumerate(STAGES) if hops[place]},
            plan="",
            plan_epoch=plan.epoch,
            width=width,
            height=height,
            output={"count_result": {"total": int(self._world.objects[self._world.step(now)])}},
        )

    def _draw(self) -> list[float]:
        if not self._drawn:
            normal, even = self._noise.normal(0, 1, (4096, 4)), self._noise.random((4096, 2))
            self._drawn = np.hstack([normal, even]).tolist()
        return self._drawn.pop()

    # Trials

    def _try(self, now: float, query: _Query, wish: Wish) -> None:
        step, node = self._world.step(now), self._world.nodes.index(wish.node)
        if not self._world.up[node, step] or not isinstance(self._scheduler, Robust):
            return
        scheduler = self._scheduler
        if isinstance(wish, Golden):
            shape = self._shape(query.plan)
            rate = min(float(FPS_CHOICES[shape[0]]), query.trace.frames[-1].covers ** -1)
            true = self._world.accuracy(step, rate, shape[1])
            objects = int(self._world.objects[step])
            seen = self._noise.binomial(objects, true) / objects
            self._at(now + 0.5, lambda _: scheduler.judged(query.uid, wish, seen, objects))
            return
        resolution = query.plan.video_conf.resolution
        way = self._world.way(step, (0, RESOLUTIONS.index(resolution), node, node))
        noise = self._draw()
        stage_s = {stage: way.stays[place] * exp(noise[place] * NOISE) for place, stage in enumerate(wish.stages)}
        hop_s = way.hops[0] * exp(noise[2] * LINK_NOISE)
        kb = self._world.picture_kb[RESOLUTIONS.index(resolution)] + ANSWER_KB if node != HOST else 0.0
        run = ShadowRun(resolution, self._world.objects[step], stage_s, hop_s, kb * 1000)
        done = now + hop_s + sum(stage_s.values())
        self._at(done + HEARD_S, lambda _: scheduler.tried(query.uid, wish, run))

    def _shape(self, plan: Plan) -> Shape:
        first, second = (self._world.nodes.index(plan.flow_mapping[stage].node) for stage in STAGES)
        return FPS_CHOICES.index(plan.video_conf.fps), RESOLUTIONS.index(plan.video_conf.resolution), first, second


def run(world: World, name: str, seed: int, track: Track, seconds: float) -> list[Trace]:
    """The traces of one scheduler's run."""
    return Run(world, seed, track, CONTESTANTS[name], seconds).go()
