"""The scheduler that turns one knob until the delay is what it should be.

The original's PID, with its faults put right: the controller lives as long as the query, its integral is bounded and stops
where the ladder ends, and work moves back when there is time again. The knob is a ladder: of all combinations, ordered by
their predicted time, those that are more accurate than every quicker one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.model.video import FPS_CHOICES, Constraint, Placement, Plan, Result, Runtime, VideoConf
from node.pipeline.graph import graph_of
from node.pipeline.stage import SERVICES, ServiceSpec
from node.pipeline.video.planner.accuracy import Curves, HeldResults
from node.pipeline.video.planner.base import Choice, ResourceInfo, can_run
from node.pipeline.video.planner.choice import Goal, every_placement
from node.pipeline.video.planner.delay import Asked, DelayModel
from node.pipeline.video.planner.market import CAP, Market

GAINS: Final = (2.0, 0.5, 0.3)
HEADROOM: Final = 0.85  # of the limit: the set point
PERIOD_S: Final = 3.0  # a step must show in the results before the next
DOWN_MOST, UP_MOST = 3, 1  # rungs at a time


@dataclass(slots=True)
class _Knob:
    constraint: Constraint
    names: tuple[str, ...]
    ladder: list[Choice]
    rung: int
    at: float
    integral: float = 0.0
    error: float = 0.0


class Pid:
    """See the module."""

    def __init__(self, services: Mapping[str, ServiceSpec] = SERVICES, curves: Curves | None = None) -> None:
        self._services = services
        self._curves = curves or HeldResults()
        self._delays = DelayModel(services, Market(), telemetry=False)
        self._knobs: dict[str, _Knob] = {}

    def plan(
        self,
        job_uid: str,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        user_constraint: Constraint,
    ) -> Choice | None:
        """See `Scheduler`."""
        knob, names = self._knobs.get(job_uid), tuple(node.name for node in resource_info.nodes)
        if knob is None or knob.constraint != user_constraint or not can_run(knob.ladder[knob.rung][1], resource_info):
            ladder = self._ladder(Asked(job_uid, dag, resource_info, _objects(resource_info)), runtime_info, user_constraint)
            if not ladder:
                return None
            knob = self._knobs[job_uid] = _Knob(user_constraint, names, ladder, len(ladder) // 2, resource_info.at)
        elif resource_info.at - knob.at >= PERIOD_S and runtime_info.fps > 0:
            _turn(knob, runtime_info, resource_info.at)
        return knob.ladder[knob.rung]

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """Nothing to learn; `plan` reads the mean of the newest results."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """Nothing to learn."""

    def forget(self, job_uid: str) -> None:
        """See `Scheduler`."""
        self._knobs.pop(job_uid, None)

    def _ladder(self, asked: Asked, runtime: Runtime, constraint: Constraint) -> list[Choice]:
        info, free = asked.info, [CAP] * len(asked.info.nodes)
        self._delays.learn(asked)
        scene = self._curves.scene([self._services[stage] for stage in asked.dag], info.camera_fps, runtime)
        nothing = [0.0] * len(free)
        graph = graph_of(asked.dag)
        takes = graph.takes if graph.forks else ()
        goal = Goal(constraint, info.camera_fps, info.in_flight, 0.0, scene, free, nothing, free, nothing, takes=takes)
        rungs = []
        offers = self._delays.offers(asked)
        for resolution in offers.resolutions:
            for placed in every_placement(offers.at(resolution), goal):
                for fps in FPS_CHOICES:
                    judged = goal.judge(placed, fps, resolution)
                    time = placed.mean / (info.camera_fps / min(fps, info.camera_fps) + 1) if constraint.delay else placed.mean
                    rungs.append((time, -judged.accuracy, fps, resolution, placed.places))
        ladder: list[Choice] = []
        best = 0.0
        for _, worth, fps, resolution, places in sorted(rungs):
            if -worth > best:
                best = -worth
                nodes = [info.nodes[place] for place in places]
                mapping = {
                    stage: Placement(node=node.name, role=node.role) for stage, node in zip(asked.dag, nodes, strict=True)
                }
                ladder.append((VideoConf(fps=fps, resolution=resolution), mapping))
        return ladder


def _turn(knob: _Knob, runtime: Runtime, now: float) -> None:
    """One step of the controller; without a limit it climbs to the top."""
    limit, seen = knob.constraint.delay, runtime.delay
    if limit is None:
        limit, seen = knob.constraint.latency, runtime.latency_p50
    if limit is None:
        knob.rung = min(knob.rung + UP_MOST, len(knob.ladder) - 1)
        return
    proportional, integral, derivative = GAINS
    error = (limit * HEADROOM - seen) / limit
    knob.integral = max(-1.0, min(knob.integral + error * (now - knob.at) * 0.1, 1.0))
    out = proportional * error + integral * knob.integral + derivative * (error - knob.error)
    knob.error, knob.at = error, now
    rung = knob.rung + max(-DOWN_MOST, min(round(out), UP_MOST))
    knob.rung = max(0, min(rung, len(knob.ladder) - 1))
    if knob.rung != rung:
        knob.integral = 0.0


def _objects(info: ResourceInfo) -> float:
    return float(max((service.profile_objects for node in info.nodes for service in node.services.values()), default=0))
