"""How good can a configuration be, and how good is it really?

Expected: what the services find at a resolution, times the share of camera frames whose held result still fits. Real: now and
then one picture is looked at as well as possible (a golden sample) and compared with what the query holds at that moment; how
far the two are apart is a bias of the query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from node.model.video import Resolution, Runtime
from node.pipeline.stage import ServiceSpec
from node.pipeline.video.profile import found_at, held_share

BIAS_LEAST, BIAS_MOST = 0.3, 1.25
BIAS_VARIANCE: Final = 0.15**2  # before anything was compared: the curves come from other scenes
BIAS_DRIFT: Final = 0.02**2 / 10  # a second
READING_NOISE: Final = 0.08**2  # of a golden sample besides that of its few objects
CLEARLY_EXPECTED: Final = 0.05  # below it a ratio says nothing


class Scene(Protocol):
    """The expected accuracy of one query's configurations, while its scene stays as it is."""

    def expected(self, resolution: Resolution, rate: float, age: float) -> float:
        """The fraction of objects that are right, with `rate` results a second that are `age` seconds old when they come."""


class Curves(Protocol):
    """Where scenes come from: what is known of services and moving objects."""

    def scene(self, services: Sequence[ServiceSpec], camera_fps: float, runtime: Runtime) -> Scene: ...


@dataclass(frozen=True, slots=True)
class _Held:
    found: Mapping[Resolution, float]
    camera_fps: float
    size: float
    speed: float

    def expected(self, resolution: Resolution, rate: float, age: float) -> float:
        return self.found[resolution] * held_share(rate, self.camera_fps, self.size, self.speed, age)


class HeldResults:
    """The services' own curves, and boxes that drift away from their objects.

    Source: video.md, model of accuracy.
    """

    def scene(self, services: Sequence[ServiceSpec], camera_fps: float, runtime: Runtime) -> Scene:
        """See `Curves`."""
        found = {resolution: found_at(services, resolution) for resolution in Resolution}
        return _Held(found, camera_fps, runtime.obj_size, runtime.obj_speed)


class Bias:
    """How much better or worse one query does than its curves say: a factor, 1 until golden samples say otherwise."""

    __slots__ = ("_variance", "factor", "samples")

    def __init__(self) -> None:
        self.factor = 1.0
        self.samples = 0
        self._variance = BIAS_VARIANCE

    def age(self, seconds: float) -> None:
        """So much time has gone by."""
        self._variance = min(self._variance + BIAS_DRIFT * seconds, BIAS_VARIANCE)

    def read(self, seen: float, expected: float, objects: int) -> None:
        """A golden sample found `objects` objects, of which the held result had the fraction `seen` right."""
        if expected < CLEARLY_EXPECTED or objects < 1:
            return
        spread = max(seen * (1 - seen), 0.02) / objects
        noise = spread / expected**2 + READING_NOISE
        gain = self._variance / (self._variance + noise)
        self.factor += gain * (seen / expected - self.factor)
        self.factor = max(BIAS_LEAST, min(self.factor, BIAS_MOST))
        self._variance *= 1 - gain
        self.samples += 1


@dataclass(frozen=True, slots=True)
class Biased:
    """A scene under a query's bias."""

    curves: Scene
    factor: float

    def expected(self, resolution: Resolution, rate: float, age: float) -> float:
        """See `Scene`."""
        return min(self.curves.expected(resolution, rate, age) * self.factor, 1.0)
