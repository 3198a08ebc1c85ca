"""What do schedulers know of the world, and which ones are compared?

`info` is the world as heartbeats tell it: half a second late, with an error of what was measured. The oracle
alone reads the world itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Final

import numpy as np

from node.model.cluster import ServiceReport
from node.model.video import FPS_CHOICES, Constraint, Placement, Resolution, Runtime, StageRole, VideoConf
from node.pipeline.video.planner.base import Choice, NodeResource, ResourceInfo, Scheduler
from node.pipeline.video.planner.cold_start import ColdStart
from node.pipeline.video.planner.ewma import Ewma
from node.pipeline.video.planner.fixed import Fixed
from node.pipeline.video.planner.lognormal import chance_below, time_of
from node.pipeline.video.planner.pid import Pid
from node.pipeline.video.planner.robust import Robust
from planning.seed import SeedColdStart, SeedPid
from planning.still import CLOUD_ONLY, EDGE_ONLY, Still
from planning.world import LINK_NOISE, NOISE, OBJECTS, RESOLUTIONS, STAGES, World

BUSY_ERROR: Final = 0.03
MISREAD: Final = 0.1  # of the readings of how fast things move are one class off
REPORT_AGE_S: Final = 0.5


class Reports:
    """What the heartbeats of one run say."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = np.random.default_rng(1000 + seed)
        self._services = [self._calibrated(node) for node in range(len(world.nodes))]

    def info(self, now: float, in_flight: int) -> ResourceInfo:
        """The nodes as they were half a second ago."""
        world = self._world
        step = world.step(max(now - REPORT_AGE_S, 0.0))
        nodes = tuple(
            NodeResource(
                world.nodes[node],
                world.roles[node],
                world.workers[node],
                float(np.clip(world.busy[node, step] + self._random.normal(0, BUSY_ERROR), 0, 0.9)),
                world.rtt_s[node],
                self._services[node],
            )
            for node in range(len(world.nodes))
            if world.up[node, step]
        )
        return ResourceInfo(nodes, world.camera_fps, world.camera_height, at=now, in_flight=in_flight)

    def scene(self, now: float) -> dict[str, float]:
        """How fast and how large the objects seem."""
        wrong = int(self._random.choice([-1, 1])) if self._random.random() < MISREAD else 0
        return self._world.figures(self._world.step(now), wrong)

    def _calibrated(self, node: int) -> dict[str, ServiceReport]:
        found = {}
        for stage, name in enumerate(STAGES):
            error = float(np.exp(self._random.normal(0, self._world.calibration_error)))
            table = self._world.table(stage, node)
            profile = {each: seconds * error for each, seconds in zip(RESOLUTIONS, table, strict=False)}
            found[name] = ServiceReport(name=name, profile=profile, profile_objects=OBJECTS)
        return found


class Oracle(Still):
    """Knows the present of the world, though not its noise; chooses anew at every step.

    Of several queries each answers with what is best for all of them, one after the other.
    """

    def __init__(self, world: World) -> None:
        super().__init__(10, Resolution.P480, StageRole.HOST)
        self._world = world
        self._plans: dict[str, tuple[int, int, int, int]] = {}
        self._step = -1
        self._known: dict[tuple[float, ...], tuple[float, float, float]] = {}

    def plan(
        self, job_uid: str, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime, user_constraint: Constraint
    ) -> Choice | None:
        """See `Scheduler`."""
        step = self._world.step(resource_info.at)
        self._plans[job_uid] = max(
            _plans(len(self._world.nodes)), key=lambda plan: self._total(step, job_uid, plan, user_constraint, resource_info)
        )
        fps, resolution, *nodes = self._plans[job_uid]
        names, roles = self._world.nodes, self._world.roles
        places = {stage: Placement(node=names[node], role=roles[node]) for stage, node in zip(dag, nodes, strict=True)}
        return VideoConf(fps=FPS_CHOICES[fps], resolution=RESOLUTIONS[resolution]), places

    def _total(self, step: int, job_uid: str, plan: tuple[int, int, int, int], limits: Constraint, info: ResourceInfo) -> float:
        plans = {**self._plans, job_uid: plan}
        if len(plans) == 1:
            return self._utility(step, plan, limits, info.in_flight, (0.0,) * 4)
        uses = {name: use(self._world, step, each, info.in_flight) for name, each in plans.items()}
        total = 0.0
        for name, each in plans.items():
            crowd = [sum(uses[other][node] for other in plans if other != name) for node in range(len(self._world.nodes))]
            total += self._utility(step, each, limits, info.in_flight, crowd)
        return total

    def _utility(
        self, step: int, plan: tuple[int, int, int, int], limits: Constraint, in_flight: int, crowd: Sequence[float]
    ) -> float:
        world = self._world
        if not all(world.up[node, step] for node in plan[2:]):
            return -1.0
        mean, variance, cloud_kb = self._expected(step, plan, crowd)
        fps = FPS_CHOICES[plan[0]]
        limit = limits.delay * (world.camera_fps / fps + 1) if limits.delay else limits.latency or float("inf")
        rate = min(float(fps), in_flight / mean)
        found = world.accuracy(step, rate, plan[1])
        worth = min(found, limits.accuracy or 1.0) / (limits.accuracy or 1.0)
        return chance_below(limit, mean, variance) * worth + 0.02 * found - 1e-8 * 1000 * cloud_kb * rate / 1000

    def _expected(self, step: int, plan: tuple[int, int, int, int], crowd: Sequence[float]) -> tuple[float, float, float]:
        """Mean and variance of a frame's time and its kB to the cloud, which are the same at every frame rate."""
        key = (*plan[1:], *crowd)
        if step != self._step:
            self._step, self._known = step, {}
        if key not in self._known:
            way = self._world.way(step, plan, crowd)
            times = [time_of(seconds, NOISE**2) for seconds in way.stays]
            times += [time_of(seconds, LINK_NOISE**2) for seconds in way.hops]
            self._known[key] = sum(each.mean for each in times), sum(each.variance for each in times), way.cloud_kb
        return self._known[key]


def use(world: World, step: int, plan: tuple[int, int, int, int], in_flight: int) -> list[float]:
    """The share of each node that a plan takes."""
    way = world.way(step, plan)
    rate = min(float(FPS_CHOICES[plan[0]]), in_flight / (sum(way.stays) + sum(way.hops)))
    shares = [0.0] * len(world.nodes)
    for node, seconds in zip(way.nodes, way.stays, strict=True):
        shares[node] += rate * seconds / world.workers[node]
    return shares


@cache
def _plans(nodes: int) -> Sequence[tuple[int, int, int, int]]:
    return [*product(range(len(FPS_CHOICES)), range(len(RESOLUTIONS)), range(nodes), range(nodes))]


Made = Callable[[World], Scheduler]
CONTESTANTS: Final[Mapping[str, Made]] = {
    "seed cold start": lambda _: SeedColdStart(),
    "seed PID": lambda _: SeedPid(),
    "fixed": lambda _: Fixed(),
    "edge only": lambda _: EDGE_ONLY,
    "cloud only": lambda _: CLOUD_ONLY,
    "cold_start": lambda world: ColdStart(world.specs, world.curves),
    "pid": lambda world: Pid(world.specs, world.curves),
    "ewma": lambda world: Ewma(world.specs, world.curves),
    "robust": lambda world: Robust(world.specs, world.curves),
    "oracle": Oracle,
}
ORACLE: Final = "oracle"
