"""What is true: how long stages take, how fast links are, what the camera sees, and how all that changes?

The tables are the original system's: seconds for seven objects at 360, 480, 720 and 1080p on an edge and in the cloud, and how
accuracy depends on frame rate and height. Everything random comes from the seed of the run.

Source: video.md, ground truth; the accuracy curves are those of the original's AccuracyPrediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from node.model.video import Resolution, Runtime, StageRole
from node.pipeline.stage import ServiceSpec
from node.pipeline.video.planner.accuracy import Curves, Scene

STEP_S: Final = 0.5
CAMERA_FPS: Final = 30.0
OBJECTS: Final = 7
HEIGHTS: Final = (360.0, 480.0, 720.0, 1080.0)
RESOLUTIONS: Final = tuple(Resolution)
STAGES: Final = ("face_detection", "face_alignment")
NODES: Final = ("host", "peer-1", "peer-2", "cloud")
ROLES: Final = (StageRole.HOST, StageRole.EDGE, StageRole.EDGE, StageRole.CLOUD)
HOST, CLOUD = 0, 3
EDGE_S: Final = ((0.117, 0.162, 0.382, 1.157), (0.190, 0.238, 0.623, 1.444))
CLOUD_S: Final = ((0.022, 0.040, 0.069, 0.141), (0.090, 0.138, 0.223, 0.444))
SPEED: Final = (1.0, 0.85, 1.25, 1.0)  # times a table's seconds
FIXED: Final = (1.0, 0.25)  # the part of a stage's time that does not grow with the objects
PICTURE_KB: Final = (28.0, 45.0, 110.0, 220.0)
CROP_KB: Final = (2.0, 3.0, 6.0, 12.0)
ANSWER_KB: Final = 0.3
RTT_S: Final = (0.0, 0.002, 0.002, 0.03)
LOCAL_MBPS: Final = 80.0
NOISE, LINK_NOISE = 0.08, 0.10
TAIL, TAIL_FACTOR = 0.01, 2.5
ROUND: Final = ("steady", "link", "host load", "peer load", "cloud load", "content", "mixed")
SCENARIOS: Final = (*ROUND, "node kill", "four queries")
WORKERS: Final = {"one query": (64, 64, 64, 64), "four queries": (2, 2, 2, 8)}
"""The original's figures know no limit of a machine; four queries share real ones."""

BY_RATE: Final = ((0.98, -0.75, -0.85), (0.97, -1.2, -0.78), (0.985, -0.9, -0.29), (1.0, -0.84, -0.18))
BY_HEIGHT: Final = ((0.98, -0.63, -0.006), (0.99, -0.47, -0.008), (0.99, -0.2, -0.008))
SPEEDS_PX: Final = (50.0, 150.0, 450.0, 900.0)  # what a sniffer reads for each class of speed
AREAS_PX: Final = (25_000.0, 75_000.0, 150_000.0)  # and for each class of size


def accuracy(rate: float, resolution: int, speed: int, size: int) -> float:
    """The fraction that is right, for a class of speed and one of size."""
    a, b, c = BY_RATE[speed]
    d, e, f = BY_HEIGHT[size]
    return min(max((a + b * exp(c * rate)) * (d + e * exp(f * (HEIGHTS[resolution] - 350))), 0.0), 1.0)


@cache
def table(stage: int, node: int) -> Sequence[float]:
    """Seconds at each resolution for seven objects."""
    return [seconds * SPEED[node] for seconds in (CLOUD_S if node == CLOUD else EDGE_S)[stage]]


@dataclass(frozen=True, slots=True)
class Way:
    """A frame's parts before noise: seconds of each stage, of the way to each stage, kB to the cloud, and who is passed."""

    stays: tuple[float, ...]
    hops: tuple[float, ...]
    cloud_kb: float
    nodes: tuple[int, ...]


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


def _service(name: str, needs: set[str], gives: set[str], fixed: float) -> ServiceSpec:
    return ServiceSpec(name, frozenset(needs), frozenset(gives), "", 1, fixed, dict.fromkeys(RESOLUTIONS, 1.0))


SPECS: Final[Mapping[str, ServiceSpec]] = {
    "face_detection": _service("face_detection", {"image"}, {"faces", "bbox"}, FIXED[0]),
    "face_alignment": _service("face_alignment", {"faces", "bbox"}, {"count_result"}, FIXED[1]),
}


class World:
    """One scenario with one seed, in the original's setting: its nodes, its camera, its services.

    `original` says whether the original's schedulers also have the original's system around them: a call for each stage, and no
    time-outs. `calibration_error` is the log standard deviation of a (stage, node) in the knowledge base.
    """

    nodes: tuple[str, ...] = NODES
    roles: tuple[StageRole, ...] = ROLES
    rtt_s: tuple[float, ...] = RTT_S
    camera_fps: float = CAMERA_FPS
    camera_height: int = 1080
    picture_kb: tuple[float, ...] = PICTURE_KB
    specs: Mapping[str, ServiceSpec] = SPECS
    curves: Curves = TableCurves()
    original: bool = True
    calibration_error: float = 0.25

    def __init__(self, scenario: str, seed: int, seconds: float) -> None:
        self.scenario = scenario
        self.workers = WORKERS.get(scenario, WORKERS["one query"])
        self._random = np.random.default_rng(seed)
        steps = int(seconds / STEP_S) + 2
        self._steps = steps
        busy = np.tile(np.array([0.15, 0.10, 0.10, 0.10])[:, None], (1, steps))
        wide, objects = np.full(steps, 20.0), np.full(steps, float(OBJECTS))
        speed, size = np.full(steps, 1), np.full(steps, 1)
        every = scenario == "mixed"
        if every or scenario == "link":
            wide = self._markov((20, 8, 2, 0.8), 40)
        if every or scenario == "host load":
            busy[0] = self._markov((0.05, 0.4, 0.7), 45)
        if every or scenario == "peer load":
            busy[1], busy[2] = self._markov((0.05, 0.5, 0.8), 50), self._markov((0.05, 0.5, 0.8), 50)
        if every or scenario == "cloud load":
            busy[3] = self._markov((0.05, 0.5, 0.85), 45)
        if every or scenario == "content":
            objects = self._markov((2, 7, 15, 25), 35)
            speed = self._markov((0, 1, 2, 3), 40).astype(int)
            size = self._markov((0, 1, 2), 60).astype(int)
        self.up = self._kills() if scenario == "node kill" else np.ones((4, steps), bool)
        self.worse_at = self._worse(-wide, objects, *busy, *-self.up.astype(float))
        self.wide = (wide * np.exp(self._random.normal(0, 0.08, steps))).tolist()
        self.busy = np.clip(busy + self._random.normal(0, 0.02, busy.shape), 0, 0.92)
        self.objects, self.speed, self.size = objects.tolist(), speed.tolist(), size.tolist()
        self._busy = self.busy.tolist()

    def drop_link(self, at: float, until: float, mbps: float) -> None:
        """Has the wide-area link give only that much for a while."""
        for place in range(int(at / STEP_S), int(until / STEP_S)):
            self.wide[place] *= mbps / 20.0

    def step(self, now: float) -> int:
        """The place in the traces of a time."""
        return min(int(now / STEP_S), self._steps - 1)

    def table(self, stage: int, node: int) -> Sequence[float]:
        """Seconds at each resolution."""
        return table(stage, node)

    def accuracy(self, step: int, rate: float, resolution: int) -> float:
        """The fraction that is right with so many results a second."""
        return accuracy(rate, resolution, self.speed[step], self.size[step])

    def figures(self, step: int, misread: int) -> dict[str, float]:
        """How fast and how large the objects seem; `misread` is by how many classes of speed that is off."""
        speed = min(max(self.speed[step] + misread, 0), len(SPEEDS_PX) - 1)
        return {"obj_speed": SPEEDS_PX[speed], "obj_size": AREAS_PX[self.size[step]]}

    def mbps(self, step: int) -> tuple[float, ...]:
        """The speed of the host's link to each node."""
        return 1e9, LOCAL_MBPS, LOCAL_MBPS, self.wide[step]

    def way(
        self, step: int, plan: tuple[int, int, int, int], crowd: Sequence[float] = (0.0,) * 4, *, apart: bool = False
    ) -> Way:
        """What a frame takes under (rate, resolution, node of stage 0, node of stage 1), without noise.

        `crowd` is the share of each node that other queries use. Neighbouring stages on one node are one call, or with `apart`
        one each, as the original has them.
        """
        _, resolution, *nodes = plan
        objects, rates, busy = self.objects[step], self.mbps(step), self._busy
        crops = CROP_KB[resolution] * objects
        stays, hops, cloud_kb = [], [], 0.0
        for stage, node in enumerate(nodes):
            fixed = self.specs[STAGES[stage]].fixed_share
            growth = fixed + (1 - fixed) * objects / OBJECTS
            free = (1 - busy[node][step]) * (1 - min(crowd[node], 0.95))
            stays.append(self.table(stage, node)[resolution] * growth / free)
            if node == HOST or (stage and nodes[0] == node and not apart):
                hops.append(0.0)
                continue
            kb = (crops if stage else self.picture_kb[resolution]) + ANSWER_KB
            kb += crops if stage == 0 and (nodes[1] != node or apart) else 0.0
            hops.append(kb * 8 / 1000 / rates[node] + self.rtt_s[node])
            cloud_kb += kb if self.roles[node] is StageRole.CLOUD else 0.0
        return Way(tuple(stays), tuple(hops), cloud_kb, tuple(nodes))

    def _worse(self, *traces: NDArray[np.float64]) -> list[float]:
        """When something became worse: a trace rose."""
        rises = {int(place) + 1 for trace in traces for place in np.flatnonzero(np.diff(trace) > 0)}
        return [place * STEP_S for place in sorted(rises)]

    def _kills(self) -> NDArray[np.bool_]:
        """A node other than the host is away for 40 s, then for 20 s none is, and so on."""
        up = np.ones((4, self._steps), bool)
        for start in range(int(20 / STEP_S), self._steps, int(60 / STEP_S)):
            up[self._random.integers(1, 4), start : start + int(40 / STEP_S)] = False
        return up

    def _markov(self, levels: Sequence[float], mean: float) -> NDArray[np.float64]:
        out = np.zeros(self._steps)
        level, left = self._random.integers(len(levels)), self._random.exponential(mean)
        for place in range(self._steps):
            out[place] = levels[level]
            left -= STEP_S
            if left <= 0:
                level = self._random.choice([other for other in range(len(levels)) if other != level])
                left = self._random.exponential(mean)
        return out
