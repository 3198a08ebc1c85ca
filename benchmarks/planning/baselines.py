"""What do schedulers know of the world, and which ones are compared?

`info` is the world as heartbeats tell it: half a second late, with an error of what was measured. `TableCurves` is what is
known of accuracy. The oracle alone reads the world itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Final

import numpy as np

from node.model.cluster import ServiceReport
from node.model.video import FPS_CHOICES, Constraint, Placement, Plan, Resolution, Result, Runtime, StageRole, VideoConf
from node.pipeline.stage import ServiceSpec
from node.pipeline.video.planner.accuracy import Scene
from node.pipeline.video.planner.base import Choice, NodeResource, ResourceInfo, Scheduler
from node.pipeline.video.planner.cold_start import ColdStart
from node.pipeline.video.planner.ewma import Ewma
from node.pipeline.video.planner.fixed import Fixed
from node.pipeline.video.planner.lognormal import chance_below, time_of
from node.pipeline.video.planner.pid import Pid
from node.pipeline.video.planner.robust import Robust
from planning.seed import SeedColdStart, SeedPid
from planning.world import (
    AREAS_PX,
    BY_HEIGHT,
    BY_RATE,
    CAMERA_FPS,
    CLOUD,
    FIXED,
    HEIGHTS,
    HOST,
    LINK_NOISE,
    NODES,
    NOISE,
    OBJECTS,
    RESOLUTIONS,
    RTT_S,
    SPEEDS_PX,
    STAGES,
    World,
    accuracy,
    table,
)

CALIBRATION_ERROR: Final = 0.25  # log standard deviation of a (stage, node) in the knowledge base
BUSY_ERROR: Final = 0.03
MISREAD: Final = 0.1  # of the readings of how fast things move are one class off
REPORT_AGE_S: Final = 0.5
ROLES: Final = (StageRole.HOST, StageRole.EDGE, StageRole.EDGE, StageRole.CLOUD)

SPECS: Final[Mapping[str, ServiceSpec]] = {
    "face_detection": ServiceSpec(
        "face_detection",
        frozenset({"image"}),
        frozenset({"faces", "bbox"}),
        "",
        1,
        FIXED[0],
        dict.fromkeys(RESOLUTIONS, 1.0),
    ),
    "face_alignment": ServiceSpec(
        "face_alignment",
        frozenset({"faces", "bbox"}),
        frozenset({"count_result"}),
        "",
        1,
        FIXED[1],
        dict.fromkeys(RESOLUTIONS, 1.0),
    ),
}


@dataclass(frozen=True, slots=True)
class _TableScene:
    by_rate: tuple[float, float, float]
    by_height: Mapping[Resolution, float]

    def expected(self, resolution: Resolution, rate: float, age: float) -> float:
        a, b, c = self.by_rate
        return min(max((a + b * exp(c * rate)) * self.by_height[resolution], 0.0), 1.0)


class TableCurves:
    """The original's curves, for the class of speed and size that the runtime figures speak of."""

    def scene(self, services: Sequence[ServiceSpec], camera_fps: float, runtime: Runtime) -> Scene:
        """See `Curves`."""
        d, e, f = BY_HEIGHT[_nearest(AREAS_PX, runtime.obj_size)]
        factors = {each: d + e * exp(f * (height - 350)) for each, height in zip(RESOLUTIONS, HEIGHTS, strict=True)}
        return _TableScene(BY_RATE[_nearest(SPEEDS_PX, runtime.obj_speed)], factors)


def _nearest(classes: Sequence[float], seen: float) -> int:
    return min(range(len(classes)), key=lambda place: abs(classes[place] - seen)) if seen else 1


class Reports:
    """What the heartbeats of one run say."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = np.random.default_rng(1000 + seed)
        self._services = [self._calibrated(node) for node in range(len(NODES))]

    def info(self, now: float, in_flight: int) -> ResourceInfo:
        """The nodes as they were half a second ago."""
        step = self._world.step(max(now - REPORT_AGE_S, 0.0))
        nodes = tuple(
            NodeResource(
                NODES[node],
                ROLES[node],
                self._world.workers[node],
                float(np.clip(self._world.busy[node, step] + self._random.normal(0, BUSY_ERROR), 0, 0.9)),
                RTT_S[node],
                self._services[node],
            )
            for node in range(len(NODES))
            if self._world.up[node, step]
        )
        return ResourceInfo(nodes, CAMERA_FPS, 1080, at=now, in_flight=in_flight)

    def scene(self, now: float) -> dict[str, float]:
        """How fast and how large the objects seem."""
        step = self._world.step(now)
        wrong = int(self._random.choice([-1, 1])) if self._random.random() < MISREAD else 0
        speed = min(max(self._world.speed[step] + wrong, 0), len(SPEEDS_PX) - 1)
        return {"obj_speed": SPEEDS_PX[speed], "obj_size": AREAS_PX[self._world.size[step]]}

    def _calibrated(self, node: int) -> dict[str, ServiceReport]:
        found = {}
        for stage, name in enumerate(STAGES):
            error = float(np.exp(self._random.normal(0, CALIBRATION_ERROR)))
            profile = {each: seconds * error for each, seconds in zip(RESOLUTIONS, table(stage, node), strict=True)}
            found[name] = ServiceReport(name=name, profile=profile, profile_objects=OBJECTS)
        return found


class Still:
    """A plan for good."""

    def __init__(self, fps: int, resolution: Resolution, node: int) -> None:
        self._choice = fps, resolution, node

    def plan(
        self, job_uid: str, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime, user_constraint: Constraint
    ) -> Choice | None:
        """See `Scheduler`."""
        fps, resolution, node = self._choice
        place = Placement(node=NODES[node], role=ROLES[node])
        return VideoConf(fps=fps, resolution=resolution), dict.fromkeys(dag, place)

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """Nothing is learned."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """Nothing is learned."""

    def forget(self, job_uid: str) -> None:
        """Nothing is kept."""


class Oracle(Still):
    """Knows the present of the world, though not its noise; chooses anew at every step.

    Of several queries each answers with what is best for all of them, one after the other.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._plans: dict[str, tuple[int, int, int, int]] = {}

    def plan(
        self, job_uid: str, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime, user_constraint: Constraint
    ) -> Choice | None:
        """See `Scheduler`."""
        step = self._world.step(resource_info.at)
        self._plans[job_uid] = max(PLANS, key=lambda plan: self._total(step, job_uid, plan, user_constraint, resource_info))
        fps, resolution, *nodes = self._plans[job_uid]
        places = {stage: Placement(node=NODES[node], role=ROLES[node]) for stage, node in zip(dag, nodes, strict=True)}
        return VideoConf(fps=FPS_CHOICES[fps], resolution=RESOLUTIONS[resolution]), places

    def _total(self, step: int, job_uid: str, plan: tuple[int, int, int, int], limits: Constraint, info: ResourceInfo) -> float:
        plans = {**self._plans, job_uid: plan}
        if len(plans) == 1:
            return self._utility(step, plan, limits, info.in_flight, (0.0,) * 4)
        uses = {name: use(self._world, step, each, info.in_flight) for name, each in plans.items()}
        total = 0.0
        for name, each in plans.items():
            crowd = [sum(uses[other][node] for other in plans if other != name) for node in range(4)]
            total += self._utility(step, each, limits, info.in_flight, crowd)
        return total

    def _utility(
        self, step: int, plan: tuple[int, int, int, int], limits: Constraint, in_flight: int, crowd: Sequence[float]
    ) -> float:
        world = self._world
        if not all(world.up[node, step] for node in plan[2:]):
            return -1.0
        way = world.way(step, plan, crowd)
        times = [time_of(seconds, NOISE**2) for seconds in way.stays]
        times += [time_of(seconds, LINK_NOISE**2) for seconds in way.hops]
        mean, variance = sum(each.mean for each in times), sum(each.variance for each in times)
        fps = FPS_CHOICES[plan[0]]
        limit = limits.delay * (CAMERA_FPS / fps + 1) if limits.delay else limits.latency or float("inf")
        rate = min(float(fps), in_flight / mean)
        found = accuracy(rate, plan[1], world.speed[step], world.size[step])
        worth = min(found, limits.accuracy or 1.0) / (limits.accuracy or 1.0)
        return chance_below(limit, mean, variance) * worth + 0.02 * found - 1e-8 * 1000 * way.cloud_kb * rate / 1000


def use(world: World, step: int, plan: tuple[int, int, int, int], in_flight: int) -> list[float]:
    """The share of each node that a plan takes."""
    way = world.way(step, plan)
    rate = min(float(FPS_CHOICES[plan[0]]), in_flight / (sum(way.stays) + sum(way.hops)))
    shares = [0.0] * 4
    for node, seconds in zip(way.nodes, way.stays, strict=True):
        shares[node] += rate * seconds / world.workers[node]
    return shares


PLANS: Final = [
    (fps, resolution, first, second)
    for fps in range(len(FPS_CHOICES))
    for resolution in range(len(RESOLUTIONS))
    for first in range(len(NODES))
    for second in range(len(NODES))
]
Made = Callable[[World], Scheduler]
CONTESTANTS: Final[Mapping[str, Made]] = {
    "seed cold start": lambda _: SeedColdStart(),
    "seed PID": lambda _: SeedPid(),
    "fixed": lambda _: Fixed(),
    "edge only": lambda _: Still(10, Resolution.P480, HOST),
    "cloud only": lambda _: Still(10, Resolution.P720, CLOUD),
    "cold_start": lambda _: ColdStart(SPECS, TableCurves()),
    "pid": lambda _: Pid(SPECS, TableCurves()),
    "ewma": lambda _: Ewma(SPECS, TableCurves()),
    "robust": lambda _: Robust(SPECS, TableCurves()),
    "oracle": Oracle,
}
ORACLE: Final = "oracle"
