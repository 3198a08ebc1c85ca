"""The scheduler that corrects a measured knowledge base by what it sees.

The time of a stage on a node is its calibrated time at that resolution, scaled to the number of objects, plus the way there and
back, times a residual per (stage, node): the exponentially weighted mean of observed over predicted. Every combination of frame
rate, resolution and placement is priced, the best wins, and a better one must be better by a margin to be worth a switch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from node.model.video import FPS_CHOICES, Constraint, Placement, Plan, Resolution, Result, Runtime, StageRole, VideoConf
from node.pipeline.stage import SERVICES
from node.pipeline.video.planner.base import Choice, NodeResource, ResourceInfo
from node.pipeline.video.profile import accuracy_of, objects_of

ALPHA: Final = 0.3
FORGET: Final = 0.02  # per plan() call: what was seen of a node that is not used any more loses its weight in about a minute
NODES_PER_STAGE: Final = 4  # the four quickest: 5 × 4 × 4 ** stages combinations, 320 for two stages
HEADROOM: Final = 0.85  # of a limit, and of the workers' time
SWITCH_GAIN: Final = 0.02
LINK_BYTES_S: Final = 2.5e6  # 20 Mbit/s until the residual knows better
PICTURE_BYTES: Final = {"360p": 28e3, "480p": 45e3, "720p": 110e3, "1080p": 220e3}
CROP_BYTES: Final = 8e3
BYTE_PRICE: Final = 4e-8  # utility per byte and second sent away: 720p at 5 fps costs as much as a switch must gain
ACCURACY_WEIGHT: Final = 0.02
BROKEN_WORTH: Final = 0.5
RATIO_BOUNDS: Final = (0.05, 20.0)  # a single observation cannot lock a node out for ever


@dataclass(frozen=True, slots=True)
class _Known:
    """One entry of the knowledge base: a stage on a node at one resolution, seconds, without the residual."""

    compute_s: float
    objects: int
    hop_s: float
    fixed_share: float

    def at(self, objects: float) -> float:
        growth = self.fixed_share + (1 - self.fixed_share) * objects / self.objects if self.objects else 1.0
        return self.compute_s * growth + self.hop_s


@dataclass(frozen=True, slots=True)
class _Candidate:
    conf: VideoConf
    nodes: tuple[NodeResource, ...]

    def choice(self, dag: Sequence[str]) -> Choice:
        places = {stage: Placement(node=node.name, role=node.role) for stage, node in zip(dag, self.nodes, strict=True)}
        return self.conf, places


class Ewma:
    """See the module."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, Resolution], _Known] = {}
        self._residual: dict[tuple[str, str], float] = {}
        self._chosen: dict[str, Choice] = {}

    def plan(
        self,
        job_uid: str,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        user_constraint: Constraint,
    ) -> Choice | None:
        self._learn_profiles(dag, resource_info)
        self._fade()
        best: Choice | None = None
        best_utility = kept_utility = float("-inf")
        kept = self._chosen.get(job_uid)
        for candidate in self._candidates(dag, resource_info, runtime_info):
            utility = self._utility(candidate, dag, resource_info, runtime_info, user_constraint)
            if kept is not None and candidate.choice(dag) == kept:
                kept_utility = utility
            if utility > best_utility:
                best, best_utility = candidate.choice(dag), utility
        if kept is not None and best_utility - kept_utility < SWITCH_GAIN:
            return kept
        if best is not None:
            self._chosen[job_uid] = best
        return best

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        for stage, place in plan.flow_mapping.items():
            known = self._known.get((stage, place.node, plan.video_conf.resolution))
            if known is None or stage not in result.stage_ms:
                continue
            ratio = result.stage_ms[stage] / 1000 / known.at(objects_of(result))
            old = self._residual.get((stage, place.node), 1.0)
            self._residual[stage, place.node] = old + ALPHA * (_bounded(ratio) - old)

    def forget(self, job_uid: str) -> None:
        self._chosen.pop(job_uid, None)

    def _learn_profiles(self, dag: Sequence[str], resource_info: ResourceInfo) -> None:
        for stage in dag:
            for node in resource_info.offering(stage):
                service = node.services[stage]
                for resolution, seconds in service.profile.items():
                    hop = node.rtt_s + _bytes(stage, resolution, service.profile_objects) / LINK_BYTES_S if node.rtt_s else 0.0
                    self._known[stage, node.name, resolution] = _Known(
                        seconds, service.profile_objects, hop, SERVICES[stage].fixed_share
                    )

    def _fade(self) -> None:
        for key, residual in self._residual.items():
            self._residual[key] = residual + FORGET * (1.0 - residual)

    def _candidates(self, dag: Sequence[str], resource_info: ResourceInfo, runtime_info: Runtime) -> Iterator[_Candidate]:
        quickest = [self._quickest(stage, resource_info, runtime_info.obj_n) for stage in dag]
        for fps, resolution, nodes in product(FPS_CHOICES, resource_info.resolutions(), product(*quickest)):
            yield _Candidate(VideoConf(fps=fps, resolution=resolution), nodes)

    def _quickest(self, stage: str, resource_info: ResourceInfo, objects: float) -> list[NodeResource]:
        offering = resource_info.offering(stage)
        return sorted(offering, key=lambda node: self._seconds(stage, node, Resolution.P480, objects))[:NODES_PER_STAGE]

    def _seconds(self, stage: str, node: NodeResource, resolution: Resolution, objects: float) -> float:
        known = self._known.get((stage, node.name, resolution))
        return known.at(objects) * self._residual.get((stage, node.name), 1.0) if known else float("inf")

    def _utility(
        self,
        candidate: _Candidate,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        constraint: Constraint,
    ) -> float:
        """How well the constraint is held, between 0 and 1, plus a little for accuracy, minus a little for bytes.

        A choice that breaks a limit keeps the part of its worth that it holds of the limit, below every one that does not.
        """
        conf, camera = candidate.conf, resource_info.camera_fps
        seconds = [
            self._seconds(stage, node, conf.resolution, runtime_info.obj_n)
            for stage, node in zip(dag, candidate.nodes, strict=True)
        ]
        total = sum(seconds)
        fps = min(conf.fps, camera)
        load = max(
            (fps * sum(s for s, at in zip(seconds, candidate.nodes, strict=True) if at is node) / max(node.workers, 1))
            for node in candidate.nodes
        )
        excess = max(
            load / HEADROOM,
            total / (camera / fps + 1) / (HEADROOM * constraint.delay) if constraint.delay else 0.0,
            total / (HEADROOM * constraint.latency) if constraint.latency else 0.0,
        )
        services = [SERVICES[stage] for stage in dag]
        accuracy = accuracy_of(services, conf.resolution, fps, camera, runtime_info.obj_size)
        worth = min(accuracy / constraint.accuracy, 1.0) if constraint.accuracy else accuracy
        held = worth if excess <= 1.0 else worth * BROKEN_WORTH / excess
        sent = sum(
            _bytes(stage, conf.resolution, runtime_info.obj_n)
            for stage, node in zip(dag, candidate.nodes, strict=True)
            if node.role is not StageRole.HOST
        )
        return held + ACCURACY_WEIGHT * accuracy - BYTE_PRICE * sent * fps


def _bounded(ratio: float) -> float:
    low, high = RATIO_BOUNDS
    return min(max(ratio, low), high)


def _bytes(stage: str, resolution: str, objects: float) -> float:
    needs = SERVICES[stage].needs
    return (PICTURE_BYTES[resolution] if "image" in needs else 0.0) + (CROP_BYTES * objects if "faces" in needs else 0.0)
