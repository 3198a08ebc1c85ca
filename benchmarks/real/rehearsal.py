"""The simulated twin of the real run: the same nodes, link, camera and events, with what the nodes themselves have measured.

Nothing in it was fitted to the real run: seconds are the nodes' calibrations, boxes the clip's true ones, bytes those of the
clip's pictures, the link that of the shaper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, floor
from statistics import fmean
from typing import Final

import numpy as np
from planning.baselines import CONTESTANTS, ORACLE
from planning.run import Run, Track
from planning.world import RESOLUTIONS, STAGES, STEP_S, World

from node.model.video import IN_FLIGHT, Constraint, Resolution, StageRole
from node.pipeline.stage import SERVICES, ServiceSpec
from node.pipeline.video.planner.accuracy import HeldResults
from real.scene import Truth
from real.system import FIXED, LINK_MBPS, LINK_WAY_S, NODES, WORKERS

TRACK: Final = Track("real", Constraint(latency=0.5, accuracy=0.6), IN_FLIGHT)
DROP_MBPS: Final = 0.8
FOUND: Final = (0.912, 1.0, 1.0, 1.0)  # decision 0005: of the same faces, at each resolution
LEAD_S: Final = 1.0  # of the clip are over when the first result is there and the run begins
HELD_MOST: Final = 50  # frames
STARTS: Final = 4  # one frame in so many of a step is looked at
NEAR_MBPS: Final = 400.0  # loopback with encryption
SPECS: Final[Mapping[str, ServiceSpec]] = {
    stage: replace(SERVICES[stage], fixed_share=FIXED[stage], accuracy=dict.fromkeys(RESOLUTIONS, 1.0)) for stage in STAGES
}

Profiles = Mapping[str, Mapping[str, Mapping[Resolution, float]]]
"""Seconds by node, stage and resolution."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before the run: the nodes' calibrations, the clip, kB of its pictures, and when the link will be slow."""

    profiles: Profiles
    truth: Truth
    picture_kb: Sequence[float]
    seconds: float
    drop: tuple[float, float]
    right: dict[tuple[int, int], float] = field(default_factory=dict)
    """The share that is right, by step and frames held, as far as it was worked out."""


class Twin(World):
    """The world of the real run."""

    nodes = NODES
    roles = (StageRole.HOST, StageRole.EDGE, StageRole.CLOUD)
    rtt_s = (0.0, 0.001, 2 * LINK_WAY_S)
    camera_height = 720
    specs = SPECS
    curves = HeldResults()
    original = False
    calibration_error = 0.05

    def __init__(self, known: Known, seed: int) -> None:
        self.scenario = "real"
        self.workers = (WORKERS,) * len(NODES)
        self.camera_fps = known.truth.fps
        self.picture_kb = (*known.picture_kb, known.picture_kb[-1])[: len(RESOLUTIONS)]
        self._truth = known.truth
        self._right = known.right
        self._profiles = known.profiles
        self._random = np.random.default_rng(seed)
        self._steps = int(known.seconds / STEP_S) + 2
        self.up = np.ones((len(NODES), self._steps), bool)
        self.worse_at = [known.drop[0]]
        self.wide = (LINK_MBPS * np.exp(self._random.normal(0, 0.03, self._steps))).tolist()
        for place in range(*(int(when / STEP_S) for when in known.drop)):
            self.wide[place] *= DROP_MBPS / LINK_MBPS
        self.busy = np.zeros((len(NODES), self._steps))
        self._busy = self.busy.tolist()
        self.objects = [len(known.truth.frames[self._frame(step) % len(known.truth.frames)]) for step in range(self._steps)]

    def table(self, stage: int, node: int) -> Sequence[float]:
        """See `World`."""
        known = self._profiles[NODES[node]][STAGES[stage]]
        return [known[each] for each in RESOLUTIONS]

    def accuracy(self, step: int, rate: float, resolution: int) -> float:
        """See `World`."""
        count = max(min(floor(self.camera_fps / rate), HELD_MOST), 1)
        if (step, count) not in self._right:
            first = self._frame(step)
            frames = range(first, first + int(STEP_S * self.camera_fps), STARTS)
            self._right[step, count] = fmean(self._truth.right_for(frame, count) for frame in frames)
        return FOUND[resolution] * self._right[step, count]

    def _frame(self, step: int) -> int:
        """The frame that the camera shows at a step."""
        return int((LEAD_S + step * STEP_S) * self.camera_fps)

    def figures(self, step: int, misread: int) -> dict[str, float]:
        """See `World`."""
        return {"obj_speed": self._truth.speed * exp(0.2 * misread), "obj_size": self._truth.area}

    def mbps(self, step: int) -> tuple[float, ...]:
        """See `World`."""
        return 1e9, NEAR_MBPS, self.wide[step]


def rehearse(known: Known, seeds: Sequence[int]) -> dict[str, float]:
    """The utility of every scheduler but the one that knows everything, a mean over the seeds."""
    found = {}
    for name in CONTESTANTS:
        if name != ORACLE:
            runs = [Run(Twin(known, seed), seed, TRACK, CONTESTANTS[name], known.seconds).go()[0] for seed in seeds]
            found[name] = fmean(run.utility(TRACK, known.seconds) for run in runs)
    return found
