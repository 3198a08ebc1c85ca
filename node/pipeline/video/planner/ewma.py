"""The scheduler that corrects a measured knowledge base by what it sees.

The time of a stage on a node is its calibrated time at that resolution, scaled to the number of objects, plus the way there and
back, times a residual per (stage, node): the exponentially weighted mean of observed over predicted. Every combination of frame
rate, resolution and placement is priced, the best wins, and a better one must be better by a margin to be worth a switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from node.model.video import FPS_CHOICES, Constraint, Fps, Placement, Plan, Resolution, Result, Runtime, StageRole, VideoConf
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
FAILED_S: Final = 5.0  # a frame that was lost in a stage took its whole life there
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
class _Offer:
    """One stage on one node at one resolution, as it is expected now: seconds, bytes sent away, the node's workers."""

    node: NodeResource
    seconds: float
    sent: float


_Key: TypeAlias = tuple[Fps, Resolution, tuple[str, ...]]
"""A choice in short: frame rate, resolution, the node of each stage."""


class Ewma:
    """See the module."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, Resolution], _Known] = {}
        self._residual: dict[tuple[str, str], float] = {}
        self._chosen: dict[str, _Key] = {}

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
        best: tuple[_Key, tuple[_Offer, ...]] | None = None
        best_utility = kept_utility = float("-inf")
        kept = self._chosen.get(job_uid)
        kept_offers: tuple[_Offer, ...] = ()
        for resolution in resource_info.resolutions():
            offers = [self._offers(stage, resource_info, resolution, runtime_info.obj_n) for stage in dag]
            for fps in FPS_CHOICES:
                worth = _worth(dag, resolution, fps, resource_info, runtime_info, constraint=user_constraint)
                for chosen in product(*offers):
                    key = (fps, resolution, tuple(offer.node.name for offer in chosen))
                    utility = _utility(worth, chosen, min(fps, resource_info.camera_fps), resource_info, user_constraint)
                    if key == kept:
                        kept_utility, kept_offers = utility, chosen
                    if utility > best_utility:
                        best, best_utility = (key, chosen), utility
        if best is None:
            return None
        key, chosen = best if kept is None or best_utility - kept_utility >= SWITCH_GAIN else (kept, kept_offers)
        self._chosen[job_uid] = key
        places = {
            stage: Placement(node=offer.node.name, role=offer.node.role) for stage, offer in zip(dag, chosen, strict=True)
        }
        return VideoConf(fps=key[0], resolution=key[1]), places

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        for stage, place in plan.flow_mapping.items():
            known = self._known.get((stage, place.node, plan.video_conf.resolution))
            if known is None or stage not in result.stage_ms:
                continue
            low, high = RATIO_BOUNDS
            ratio = result.stage_ms[stage] / 1000 / known.at(objects_of(result))
            self._learn(stage, place.node, min(max(ratio, low), high))

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        place = plan.flow_mapping.get(stage)
        if place is None or (known := self._known.get((stage, place.node, plan.video_conf.resolution))) is None:
            return
        self._learn(stage, place.node, FAILED_S / known.at(known.objects))

    def forget(self, job_uid: str) -> None:
        self._chosen.pop(job_uid, None)

    def _learn(self, stage: str, node: str, ratio: float) -> None:
        old = self._residual.get((stage, node), 1.0)
        self._residual[stage, node] = old + ALPHA * (ratio - old)

    def _learn_profiles(self, dag: Sequence[str], resource_info: ResourceInfo) -> None:
        for stage in dag:
            for node in resource_info.offering(stage):
                service = node.services[stage]
                for resolution, seconds in service.profile.items():
                    sent = _bytes(stage, resolution, service.profile_objects)
                    hop = node.rtt_s + sent / LINK_BYTES_S if node.rtt_s else 0.0
                    self._known[stage, node.name, resolution] = _Known(
                        seconds, service.profile_objects, hop, SERVICES[stage].fixed_share
                    )

    def _fade(self) -> None:
        for key, residual in self._residual.items():
            self._residual[key] = residual + FORGET * (1.0 - residual)

    def _offers(self, stage: str, resource_info: ResourceInfo, resolution: Resolution, objects: float) -> list[_Offer]:
        """The stage on the quickest nodes."""
        offers = []
        for node in resource_info.offering(stage):
            known = self._known.get((stage, node.name, resolution))
            if known is not None:
                seconds = known.at(objects) * self._residual.get((stage, node.name), 1.0)
                sent = 0.0 if node.role is StageRole.HOST else _bytes(stage, resolution, objects)
                offers.append(_Offer(node, seconds, sent))
        return sorted(offers, key=lambda offer: offer.seconds)[:NODES_PER_STAGE]


def _worth(
    dag: Sequence[str],
    resolution: Resolution,
    fps: Fps,
    resource_info: ResourceInfo,
    runtime_info: Runtime,
    *,
    constraint: Constraint,
) -> tuple[float, float]:
    """How much of the asked accuracy is expected, and the little that accuracy is worth by itself."""
    services = [SERVICES[stage] for stage in dag]
    accuracy = accuracy_of(services, resolution, fps, resource_info.camera_fps, runtime_info.obj_size)
    asked = min(accuracy / constraint.accuracy, 1.0) if constraint.accuracy else accuracy
    return asked, ACCURACY_WEIGHT * accuracy


def _utility(
    worth: tuple[float, float],
    chosen: Sequence[_Offer],
    fps: float,
    resource_info: ResourceInfo,
    constraint: Constraint,
) -> float:
    """How well the constraint is held, between 0 and 1, plus a little for accuracy, minus a little for bytes.

    A choice that breaks a limit keeps a part of its worth, the less the further it is beyond, below every one that holds it.
    """
    total = sum(offer.seconds for offer in chosen)
    load: dict[str, float] = {}
    for offer in chosen:
        load[offer.node.name] = load.get(offer.node.name, 0.0) + fps * offer.seconds / max(offer.node.workers, 1)
    excess = max(load.values()) / HEADROOM
    if constraint.delay:
        excess = max(excess, total / (resource_info.camera_fps / fps + 1) / (HEADROOM * constraint.delay))
    if constraint.latency:
        excess = max(excess, total / (HEADROOM * constraint.latency))
    held = worth[0] if excess <= 1.0 else worth[0] * BROKEN_WORTH / excess
    return held + worth[1] - BYTE_PRICE * fps * sum(offer.sent for offer in chosen)


def _bytes(stage: str, resolution: str, objects: float) -> float:
    needs = SERVICES[stage].needs
    return (PICTURE_BYTES[resolution] if "image" in needs else 0.0) + (CROP_BYTES * objects if "faces" in needs else 0.0)
