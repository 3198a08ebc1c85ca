"""What would a scheduler like to know that running on as it is will not tell?

Two kinds of trials, both made with low priority and both without a consequence for the query: a shadow run of stages on the
node that least is known of, and a golden sample, one picture looked at as well as possible on the idlest node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, runtime_checkable

from node.model.video import Resolution
from node.pipeline.video.planner.base import NodeResource
from node.pipeline.video.planner.delay import DelayModel, ShadowRun
from node.pipeline.video.planner.explain import Look

SHADOW_S: Final = 5.0  # between two shadow runs of one cloud
GOLDEN_S: Final = 10.0  # between two golden samples of a query
UNSURE: Final = 0.15**2  # log variance below which nothing is worth a shadow run
IDLE: Final = 0.7  # of a node beyond which it is spared


@dataclass(frozen=True, slots=True)
class Shadow:
    """Run these first stages of the pipeline on that node as well, at the resolution of the plan."""

    node: str
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Golden:
    """Run all stages on that node, at the best resolution of the camera."""

    node: str
    stages: tuple[str, ...]
    resolution: Resolution


Wish: TypeAlias = Shadow | Golden


@runtime_checkable
class Curious(Protocol):
    """What a scheduler can do that has things tried."""

    def wish(self, job_uid: str) -> Wish | None:
        """What it would like to be tried for this query now; asking is taking."""

    def tried(self, job_uid: str, wish: Shadow, run: ShadowRun) -> None:
        """A wished shadow run was made."""

    def judged(self, job_uid: str, _wish: Golden, seen: float, objects: int) -> None:
        """A wished golden sample was compared with what the query held."""


class Wishes:
    """The trials that are due."""

    def __init__(self, delays: DelayModel) -> None:
        self._delays = delays
        self._shadow_at = float("-inf")
        self._golden_at: dict[str, float] = {}

    def next(self, job_uid: str, host: str, look: Look, now: float) -> Wish | None:
        """The next trial for a query, at most one of each kind in its time."""
        if now - self._shadow_at >= SHADOW_S and (shadow := self._shadow(host, look)) is not None:
            self._shadow_at = now
            return shadow
        if now - self._golden_at.setdefault(job_uid, now) >= GOLDEN_S and (golden := _golden(look)) is not None:
            self._golden_at[job_uid] = now
            return golden
        return None

    def forget(self, job_uid: str) -> None:
        """The query is over."""
        self._golden_at.pop(job_uid, None)

    def _shadow(self, host: str, look: Look) -> Shadow | None:
        used = look.names(look.chosen) if look.chosen is not None else ()
        unsure = []
        for node in look.info.nodes:
            stages = _offered_first(node, look.dag)
            fresh = tuple(stage for stage, at in zip(look.dag, used, strict=False) if at != node.name)
            if stages and set(stages) & set(fresh):
                unsure.append((self._delays.uncertainty(host, node.name, stages), node.name, stages))
        variance, name, stages = max(unsure, default=(0.0, "", ()))
        return Shadow(name, stages) if variance > UNSURE else None


def _golden(look: Look) -> Golden | None:
    able = [node for node in look.info.nodes if _offered_first(node, look.dag) == tuple(look.dag) and node.cpu_fraction < IDLE]
    if not able:
        return None
    return Golden(min(able, key=lambda node: node.cpu_fraction).name, tuple(look.dag), look.info.resolutions()[-1])


def _offered_first(node: NodeResource, dag: Sequence[str]) -> tuple[str, ...]:
    """The first stages of the pipeline, as far as the node offers all of them."""
    stages: list[str] = []
    for stage in dag:
        if stage not in node.services or not node.services[stage].profile:
            break
        stages.append(stage)
    return tuple(stages)
