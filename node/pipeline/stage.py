"""What is a stage of a pipeline, and which services can be a stage?

A service is declared here without importing what it computes with, so that a node's main process can check a pipeline; the
implementation is loaded in a worker process by its dotted name (`node.pipeline.video.service.Service` is its contract).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from node.errors import Invalid, Problem

PICTURES: Final = frozenset({"image", "faces", "clip"})  # inputs and outputs that are lists of pictures, not plain values
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")
PIPELINES_AT_HAND: Final = 64  # good ones, of a few names each; most queries run one of a few
CLIP: Final = 8  # pictures of a clip: most of a second at 10 fps
SOURCE_GIVES: Final = frozenset({"image", "clip"})  # at the head of every pipeline: a picture, and the newest ones in a row


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service: what it needs, what it gives, and who implements it.

    `fixed_share` is the part of its time for seven objects that does not grow with their number. `accuracy` says what it finds
    at each resolution, as a fraction of what there is; both are those of model 0, the default, and measured by
    `benchmarks/accuracy.py` (decisions 0005, 0008 and 0018).

    `ladder` has its models from the lightest to the heaviest: where the mean `prob` of what one found is below
    `escalate_below`, the next heavier one looks again. One that `remembers` compares a picture with those before it, and is
    told by `stream` whose they are. `cpu` and `memory_mib` are what one worker takes while it computes; `user` says that it is
    not of this program, `folder` where its module lies besides the installed ones.
    """

    name: str
    needs: frozenset[str]
    gives: frozenset[str]
    implementation: str
    models: int
    fixed_share: float
    accuracy: Mapping[str, float]
    ladder: tuple[int, ...] = (0,)
    escalate_below: float = 0.0
    remembers: bool = False
    cpu: float = 1.0
    memory_mib: float = 0.0
    user: bool = False
    folder: str = ""


_declared: Final[dict[str, ServiceSpec]] = {
    spec.name: spec
    for spec in (
        ServiceSpec(
            "face_detection",
            needs=frozenset({"image"}),
            gives=frozenset({"faces", "bbox", "prob"}),
            implementation="node.pipeline.video.faces:FaceDetection",
            models=1,
            fixed_share=0.97,
            # Of 251 faces in 50 frames of the collage, 30 to 117 px wide at 720p, found with an overlap of at least half.
            accuracy={"360p": 0.91, "480p": 1.0, "720p": 1.0, "1080p": 1.0},
        ),
        ServiceSpec(
            "face_alignment",
            needs=frozenset({"faces", "bbox"}),
            gives=frozenset({"count_result", "pose"}),
            implementation="node.pipeline.video.faces:FaceAlignment",
            models=1,
            fixed_share=0.02,
            # Of the same faces, those whose yaw, pitch and roll are all within 10 degrees of the reading at 1080p.
            accuracy={"360p": 0.81, "480p": 0.86, "720p": 1.0, "1080p": 1.0},
        ),
        ServiceSpec(
            "car_detection",
            needs=frozenset({"image"}),
            gives=frozenset({"bbox", "prob", "label", "count_result", "model_id"}),
            implementation="node.pipeline.video.vehicles:CarDetection",
            models=4,
            fixed_share=1.0,
            # Of the people and vehicles that model 0 finds in 125 frames of the street at 1080p, those it finds here as well.
            accuracy={"360p": 0.91, "480p": 0.96, "720p": 0.97, "1080p": 1.0},
            ladder=(1, 2, 0, 3),
            memory_mib=90.0,
        ),
        ServiceSpec(
            "motion_detection",
            needs=frozenset({"image"}),
            gives=frozenset({"bbox", "count_result"}),
            implementation="node.pipeline.video.motion:MotionDetection",
            models=1,
            fixed_share=1.0,
            # Of 5460 blobs that it finds at 1080p in the street and the collage, those it finds here as well.
            accuracy={"360p": 0.85, "480p": 0.85, "720p": 0.97, "1080p": 1.0},
            remembers=True,
            memory_mib=50.0,
        ),
        ServiceSpec(
            "helmet_detection",
            needs=frozenset({"clip"}),
            gives=frozenset({"clip_result"}),
            implementation="node.pipeline.video.helmets:HelmetDetection",
            models=1,
            fixed_share=1.0,
            accuracy={"360p": 1.0, "480p": 1.0, "720p": 1.0, "1080p": 1.0},  # unknown until somebody brings a model
        ),
    )
}
SERVICES: Final[Mapping[str, ServiceSpec]] = MappingProxyType(_declared)
"""Every service that can be a stage: those of this program, and those that were declared when the process started."""


def declare(spec: ServiceSpec) -> None:
    """Adds a service, or takes the place of the one of that name; when a process starts, before anything is checked.

    Raises:
        Invalid: its name, or that of something it needs or gives, is none, or it has no model to go to.
    """
    wrong = [name for name in (spec.name, *spec.needs, *spec.gives) if not _NAME.fullmatch(name)]
    if wrong or not spec.gives:
        raise Invalid(
            f"service '{spec.name}' cannot be declared: {', '.join(wrong) or 'it gives nothing'}", hint="a-z, 0-9 and _"
        )
    if sorted(spec.ladder) != list(range(spec.models)):
        raise Invalid(f"service '{spec.name}' has {spec.models} models and the ladder {spec.ladder}", hint="name each once")
    if spec.escalate_below and (spec.models == 1 or "model_id" not in spec.gives):
        raise Invalid(f"service '{spec.name}' has no heavier model to go to", hint="take escalate_below away")
    _declared[spec.name] = spec
    _checked.cache_clear()


def inputs_of(stages: Sequence[ServiceSpec]) -> frozenset[str]:
    """What stages that run one after the other need from outside."""
    needs: frozenset[str] = frozenset()
    have: frozenset[str] = frozenset()
    for stage in stages:
        needs |= stage.needs - have
        have |= stage.gives
    return needs


def goes_straight(before: Sequence[ServiceSpec], after: Sequence[ServiceSpec]) -> bool:
    """Whether the node of the stages before has every picture that those after need; values travel with it anyway."""
    needs = inputs_of(after) & PICTURES
    return not needs & SOURCE_GIVES and needs <= frozenset[str]().union(*(spec.gives for spec in before))


def check_pipeline(pipeline: Sequence[str]) -> tuple[ServiceSpec, ...]:
    """The services of a pipeline in order.

    Raises:
        Invalid: an unknown or repeated service, or an input that no earlier stage gives; every fault is named.
    """
    return _checked(tuple(pipeline))


@lru_cache(maxsize=PIPELINES_AT_HAND)
def _checked(pipeline: tuple[str, ...]) -> tuple[ServiceSpec, ...]:
    problems: list[Problem] = []
    have = set(SOURCE_GIVES)
    stages: list[ServiceSpec] = []
    for place, name in enumerate(pipeline):
        spec = SERVICES.get(name)
        if spec is None:
            faults = [f"no service '{name}'; there are: {', '.join(SERVICES)}"]
        else:
            faults = [f"'{name}' stands in the pipeline twice"] if spec in stages else []
            if missing := spec.needs - have:
                faults.append(f"'{name}' needs {', '.join(sorted(missing))}, which no earlier stage gives")
            have |= spec.gives
            stages.append(spec)
        problems += [Problem(f"pipeline.{place}", fault) for fault in faults]
    if problems:
        hint = "stages run in list order, each on what came before"
        raise Invalid("the pipeline cannot run", problems=problems, hint=hint)
    return tuple(stages)
