"""The original's cold start and PID, as they were: written anew, with their faults kept.

A baseline only. Faults, each where it is marked:
(a) the cold start never considers the cloud for the first stage, and never a peer;
(b) "is nothing found yet" is asked of a figure whose best value is 0, so that a choice that holds the limit is replaced by the
    next one, also by one that breaks it: 28 of 32 cold starts violate their own knowledge base;
(c) predicted is total × fps / camera fps, measured is total / (camera fps / fps + 1), and no way to another node;
(d) accuracy is 0.9, whatever the configuration: the scene counts as stable always;
(e) the controller is made anew at every tick, with the time since the program began for its interval: the integral is no
    integral, the derivative nearly nothing;
(f) once the delay holds, a "stable" scene has its frame rate lowered, down to 1, and nothing ever raises it again;
(g) work is sent to the cloud and never moved back, no load, no bandwidth, no peer is looked at;
(h) a frame whose node is gone is waited for without an end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from node.model.video import FPS_CHOICES, Constraint, Fps, Placement, Plan, Resolution, Result, Runtime, StageRole, VideoConf
from node.pipeline.video.planner.base import Choice, NodeResource, ResourceInfo

GAINS: Final = (1.0, 0.1, 0.01)
LEVEL_MOST: Final = 3
CLAIMED_ACCURACY: Final = 0.9  # (d)
PERIOD_S: Final = 3.0

State = tuple[int, int, int]
"""Places of the frame rate and the resolution, and how many stages at the end of the pipeline the cloud has."""


class SeedColdStart:
    """The original's first plan, kept for good."""

    def plan(
        self, job_uid: str, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime, user_constraint: Constraint
    ) -> Choice | None:
        """See `Scheduler`."""
        return _as_choice(cold_start(dag, resource_info, user_constraint), dag, resource_info)

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """Nothing is learned."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """Nothing is learned."""

    def forget(self, job_uid: str) -> None:
        """Nothing is kept."""


class SeedPid(SeedColdStart):
    """The original's feedback."""

    _late = False  # whether the true latency is what is limited, and so what it is fed with

    def __init__(self) -> None:
        self._states: dict[str, State] = {}
        self._slots: dict[str, list[float]] = {}
        self._at: dict[str, float] = {}

    def plan(
        self, job_uid: str, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime, user_constraint: Constraint
    ) -> Choice | None:
        """See `Scheduler`."""
        state, now = self._states.get(job_uid), resource_info.at
        self._late = user_constraint.latency is not None
        if state is None:
            state = cold_start(dag, resource_info, user_constraint)
            self._at[job_uid] = now
        elif now - self._at[job_uid] >= PERIOD_S and (slot := self._slots.get(job_uid)):
            self._at[job_uid] = now
            state = _tuned(state, len(dag), fmean(slot), user_constraint, now)
            slot.clear()
        self._states[job_uid] = state
        return _as_choice(state, dag, resource_info)

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """The delays of a time slot are its runtime figures."""
        figure = result.latency if self._late else result.delay
        self._slots.setdefault(job_uid, []).append(figure)


def cold_start(dag: Sequence[str], info: ResourceInfo, constraint: Constraint) -> State:
    """The original's first plan, as (frame rate, resolution, stages in the cloud)."""
    limit = _limit(constraint)
    chosen: State = (len(FPS_CHOICES) - 1, 0, 0)
    delay_apart = accuracy_apart = 0.0
    for fps in range(len(FPS_CHOICES)):
        for resolution in range(len(Resolution)):
            for away in range(len(dag) - 1, -1, -1):  # (a)
                delay = predicted((fps, resolution, away), dag, info)
                if delay < limit:
                    delay_apart = 0.0
                    apart = abs((constraint.accuracy or 0.0) - CLAIMED_ACCURACY)
                    if not accuracy_apart or accuracy_apart > apart:  # (b)
                        chosen, accuracy_apart = (fps, resolution, away), apart
                elif not delay_apart or delay_apart > abs(limit - delay):  # (b)
                    chosen, delay_apart = (fps, resolution, away), abs(limit - delay)
    return chosen


def predicted(state: State, dag: Sequence[str], info: ResourceInfo) -> float:
    """The original's prediction (c)."""
    fps, resolution, away = state
    nodes = _nodes(len(dag), away, info)
    total = sum(node.services[stage].profile[list(Resolution)[resolution]] for stage, node in zip(dag, nodes, strict=True))
    return total * FPS_CHOICES[fps] / info.camera_fps


def _tuned(state: State, stages: int, delay: float, constraint: Constraint, since_start: float) -> State:
    fps, resolution, away = state
    proportional, integral, derivative = GAINS
    interval = max(since_start, 1e-3)
    error = _limit(constraint) - delay
    out = proportional * error + integral * error * interval + derivative * error / interval  # (e)
    level = max(-LEVEL_MOST, min(round(out), LEVEL_MOST))
    if level > 0:
        if (constraint.accuracy or 0.0) <= CLAIMED_ACCURACY:  # (d), (f)
            return max(fps - 1, 0), resolution, away
        if level >= 2 and fps + 1 < len(FPS_CHOICES):
            return fps + 1, resolution, away
        return fps, min(resolution + 1, len(Resolution) - 1), away
    if level < 0:
        if fps > 0:  # (d)
            return fps - 1, resolution, away
        if away < stages:
            return fps, resolution, away + 1  # (g)
        return fps, max(resolution - 1, 0), away
    return state


def _limit(constraint: Constraint) -> float:
    return constraint.delay or constraint.latency or float("inf")


def _nodes(stages: int, away: int, info: ResourceInfo) -> list[NodeResource]:
    roles: Mapping[StageRole, NodeResource] = {node.role: node for node in info.nodes}
    cloud = roles.get(StageRole.CLOUD) or roles[StageRole.HOST]
    return [roles[StageRole.HOST]] * (stages - away) + [cloud] * away


def _as_choice(state: State, dag: Sequence[str], info: ResourceInfo) -> Choice:
    fps, resolution, away = state
    rate: Fps = FPS_CHOICES[fps]
    nodes = _nodes(len(dag), away, info)
    places = {stage: Placement(node=node.name, role=node.role) for stage, node in zip(dag, nodes, strict=True)}
    return VideoConf(fps=rate, resolution=list(Resolution)[resolution]), places
