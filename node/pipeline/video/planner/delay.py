"""How long does each stage take on each node, and how sure is that?

A stage's time is its calibrated time at the resolution, times its growth with the number of objects, stretched by what else the
node does, times a residual per (stage, node). The way to a node takes its round trip and the bytes over the link's speed, which
is a residual too. All are lognormal; `Options` are what a choice is made from.

Source: video.md, model of delay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, expm1, log, prod
from typing import Final, NamedTuple, TypeVar

from node.model.video import Plan, Resolution, Result, StageRole
from node.pipeline.stage import PICTURES, SOURCE_GIVES, ServiceSpec
from node.pipeline.video.planner.base import NodeResource, ResourceInfo
from node.pipeline.video.planner.lognormal import Time
from node.pipeline.video.planner.market import Market
from node.pipeline.video.planner.residual import LogKalman, Residual
from node.pipeline.video.profile import objects_of

K = TypeVar("K")
V = TypeVar("V")

LINK_BYTES_S: Final = 2.5e6  # 20 Mbit/s until something was sent
PICTURE_BYTES: Final[Mapping[str, float]] = {"360p": 28e3, "480p": 45e3, "720p": 110e3, "1080p": 220e3}
CROP_BYTES: Final[Mapping[str, float]] = {"360p": 2e3, "480p": 3e3, "720p": 6e3, "1080p": 12e3}
ANSWER_BYTES: Final = 300.0  # boxes and counts
BUSY_MOST: Final = 0.95  # a node is never expected to be slower than twenty times
BUSY_SPREAD: Final = 0.03  # of what a heartbeat says
BUSY_S: Final = 1.5  # readings of a busy machine jump: a mean over so many seconds
LEAST_HOP_S: Final = 1e-4
TELLING_BYTES: Final = 8e3  # a smaller payload says little about a link's speed
LOSS_SHARE: Final = 0.5  # of what is believed, for each frame from the second on
LOSS_S: Final = 60.0  # what was lost so long ago counts a third
KNOWN_MOST: Final = 4096  # residuals and profiles kept; (stage, node, resolution) of 40 nodes with 25 services are 4000


def stage_residual() -> Residual:
    """Of a stage on a node: the calibration may be off by a quarter."""
    return LogKalman(variance=0.25**2, noise=0.12**2, drift=0.0005, ceiling=0.3**2)


def link_residual() -> Residual:
    """Of a link: until something was sent over it anything is possible."""
    return LogKalman(variance=0.6**2, noise=0.15**2, drift=0.004, ceiling=0.6**2)


class Option(NamedTuple):
    """One stage on one node at one resolution, as it is expected now.

    `enter` is the way there from anywhere else, `leave` the way back of what the next stage needs elsewhere; times per frame.
    `work` is the share of the node that one frame a second takes, `enter_share` and `leave_share` those of the link; `sure` is
    the chance that a frame is not lost there.
    """

    place: int
    stay: Time
    enter: Time
    leave: Time
    work: float
    enter_bytes: float
    leave_bytes: float
    enter_share: float
    leave_share: float
    sure: float = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """For whom options are made: the query, its stages, its nodes, and how many objects its pictures show."""

    job_uid: str
    dag: Sequence[str]
    info: ResourceInfo
    objects: float


class _Known(NamedTuple):
    seconds: float
    objects: int


@dataclass(slots=True)
class _Machine:
    busy: float = 0.0
    seen: float = float("-inf")
    link: Residual | None = None
    rtt_s: float = 0.0
    probed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ShadowRun:
    """What a run of some stages on another node took, whose result nobody used; `sent` are its bytes there and back."""

    resolution: Resolution
    objects: float
    stage_s: Mapping[str, float]
    hop_s: float
    sent: float


class _Pace(NamedTuple):
    """A stage on a node: seconds at each resolution, what they are multiplied with alone and in a crowd, relative variance,
    and the chance that a frame is not lost.
    """

    profile: Mapping[Resolution, float]
    alone: float
    crowd: float
    spread: float
    sure: float


class _Spot(NamedTuple):
    """A node: its place, the share of one worker in it, its stages, and the way there; `home` has no way."""

    place: int
    worker: float
    stages: Sequence[_Pace | None]
    home: bool
    rtt_s: float
    byte_s: float
    spread: float


class Offers:
    """The options of one query at one moment; those of a resolution are made when they are first asked for."""

    def __init__(self, spots: Sequence[_Spot], ways: Mapping[Resolution, Sequence[tuple[float, float]]]) -> None:
        self._spots = spots
        self._ways = ways
        self._made: dict[Resolution, list[list[Option]]] = {}

    @property
    def resolutions(self) -> Sequence[Resolution]:
        """Those that the camera gives, the smallest first."""
        return tuple(self._ways)

    def at(self, resolution: Resolution) -> list[list[Option]]:
        """For every stage the nodes that offer it, each by its place among the query's nodes."""
        found = self._made.get(resolution)
        if found is None:
            ways = enumerate(self._ways[resolution])
            found = self._made[resolution] = [self._stage(stage, resolution, *sizes) for stage, sizes in ways]
        return found

    def only(self, place: int) -> Offers:
        """The same with one node alone."""
        return Offers([spot for spot in self._spots if spot.place == place], self._ways)

    def count(self) -> int:
        """How many ways there are to place the stages, at all resolutions."""
        stages = range(len(next(iter(self._ways.values()), ())))
        return len(self._ways) * prod(sum(spot.stages[stage] is not None for spot in self._spots) for stage in stages)

    def _stage(self, stage: int, resolution: Resolution, enter_bytes: float, leave_bytes: float) -> list[Option]:
        found = []
        for place, worker, stages, home, rtt_s, byte_s, spread in self._spots:
            pace = stages[stage]
            if pace is None or resolution not in pace.profile:
                continue
            alone = pace.profile[resolution] * pace.alone
            mean = alone * pace.crowd
            stay = Time(mean, mean * mean * pace.spread)
            if home:
                found.append(Option(place, stay, _NO_TIME, _NO_TIME, alone * worker, 0.0, 0.0, 0.0, 0.0, pace.sure))
                continue
            enter_s, leave_s = enter_bytes * byte_s, leave_bytes * byte_s
            enter = Time(enter_s + rtt_s, (enter_s + rtt_s) ** 2 * spread)
            leave = Time(leave_s, leave_s * leave_s * spread)
            found.append(
                Option(place, stay, enter, leave, alone * worker, enter_bytes, leave_bytes, enter_s, leave_s, pace.sure)
            )
        return found


_NO_TIME: Final = Time()


@dataclass(slots=True)
class _Loss:
    """The chance that a stage on a node loses a frame: nothing for a single one, much for two in a row."""

    chance: float = 0.0
    strikes: int = 0


@dataclass(slots=True)
class DelayModel:
    """What is known of nodes and links. `telemetry` says whether the heartbeats' load counts.

    It is fed by `learn` (reports), `observe` (results), `tried` (shadow runs), `lost` (frames that never came back).
    """

    services: Mapping[str, ServiceSpec]
    market: Market
    telemetry: bool = True
    make_stage: Callable[[], Residual] = stage_residual
    make_link: Callable[[], Residual] = link_residual
    _known: dict[tuple[str, str, Resolution], _Known] = field(default_factory=dict)
    _stages: dict[tuple[str, str], Residual] = field(default_factory=dict)
    _machines: dict[tuple[str, str], _Machine] = field(default_factory=dict)
    _losses: dict[tuple[str, str], _Loss] = field(default_factory=dict)

    def learn(self, asked: Asked) -> None:
        """Takes the nodes' reports over: profiles, loads, round trips and probes of links."""
        host = asked.info.host
        for node in asked.info.nodes:
            machine = self._machine(host, node.name)
            machine.rtt_s = node.rtt_s
            self._take_load(machine, node, asked.info.at)
            if node.probed_at > machine.probed_at and node.bytes_s > 0:
                machine.probed_at = node.probed_at
                self._link(machine).read(log(node.bytes_s / LINK_BYTES_S))
            for stage in asked.dag:
                if stage in node.services:
                    service = node.services[stage]
                    for resolution, seconds in service.profile.items():
                        self._known[stage, node.name, resolution] = _Known(seconds, service.profile_objects)
        _bound(self._known)
        _bound(self._stages)
        _bound(self._machines)
        _bound(self._losses)

    def age(self, seconds: float) -> None:
        """So much time has gone by."""
        for residual in self._stages.values():
            residual.age(seconds)
        for machine in self._machines.values():
            if machine.link is not None:
                machine.link.age(seconds)
        for loss in self._losses.values():
            loss.chance *= exp(-seconds / LOSS_S)

    def observe(self, job_uid: str, host: str, plan: Plan, result: Result) -> None:
        """A result of the query, whose camera is at `host`."""
        resolution, objects = plan.video_conf.resolution, objects_of(result)
        stages = [stage for stage in plan.flow_mapping if stage in result.stage_ms]
        nodes = [plan.flow_mapping[stage].node for stage in stages]
        for place, (stage, node) in enumerate(zip(stages, nodes, strict=True)):
            spent, hop = result.stage_ms[stage] / 1000, result.hop_ms.get(stage, 0.0) / 1000
            if node != host and hop > 0.0:
                end = next((later for later in range(place, len(nodes)) if nodes[later] != node), len(nodes)) - 1
                sent = self._bytes_in(stage, resolution, objects) + ANSWER_BYTES
                following = stages[end + 1] if end + 1 < len(stages) else ""
                self._read_link(host, node, sent + self._bytes_back(stages[end], following, resolution, objects), hop)
            self._arrived(stage, node)
            self._read_stage(job_uid, (host, node), stage, resolution, objects=objects, spent=max(spent - hop, 1e-5))

    def tried(self, job_uid: str, host: str, node: str, run: ShadowRun) -> None:
        """A shadow run on `node`."""
        self._read_link(host, node, run.sent, run.hop_s)
        for stage, seconds in run.stage_s.items():
            self._arrived(stage, node)
            self._read_stage(
                job_uid, (host, node), stage, run.resolution, objects=run.objects, spent=max(seconds, 1e-5), trial=True
            )

    def lost(self, host: str, node: str, stage: str, after_s: float) -> None:
        """A frame was lost on its way to that stage: the link, or for the host itself the stage, took all its time."""
        loss = self._losses.setdefault((stage, node), _Loss())
        loss.strikes += 1
        if loss.strikes > 1:
            loss.chance += LOSS_SHARE * (1 - loss.chance)
        if node != host:
            sent = max(self._bytes_in(stage, Resolution.P480, 1), TELLING_BYTES)
            self._link(self._machine(host, node)).read(log(sent / after_s / LINK_BYTES_S))
            return
        residual = self._residual(stage, node)
        known = [entry.seconds for (name, at, _), entry in self._known.items() if (name, at) == (stage, node)]
        if known:
            residual.read(log(after_s / min(known)))

    def offers(self, asked: Asked) -> Offers:
        """What the nodes can do for the query now, at whichever resolution is looked at."""
        host = asked.info.host
        spots = []
        for place, node in enumerate(asked.info.nodes):
            calm, crowd = self._stretches(asked.job_uid, host, node.name)
            jump = (BUSY_SPREAD * calm * crowd) ** 2 if self.telemetry else 0.0
            machine = self._machine(host, node.name)
            way = self._link(machine)
            home = node.role is StageRole.HOST or node.name == host
            stages: list[_Pace | None] = []
            for stage in asked.dag:
                pace = None
                if stage in node.services and node.services[stage].profile:
                    profile, residual = node.services[stage].profile, self._residual(stage, node.name)
                    growth = self._growth(stage, node.services[stage].profile_objects, asked.objects)
                    spread = expm1(residual.variance + residual.noise + jump)
                    loss = self._losses.get((stage, node.name))
                    sure = 1 - loss.chance if loss is not None else 1.0
                    pace = _Pace(profile, growth * exp(residual.value) * calm, crowd, spread, sure)
                stages.append(pace)
            bytes_s = LINK_BYTES_S * exp(way.value)
            spread = expm1(way.variance + way.noise)
            spots.append(_Spot(place, 1 / max(node.workers, 1), stages, home, machine.rtt_s, 1 / bytes_s, spread))
        pairs = list(zip(asked.dag, [*asked.dag[1:], ""], strict=True))
        ways = {
            resolution: [
                (
                    self._bytes_in(stage, resolution, asked.objects) + ANSWER_BYTES,
                    self._bytes_back(stage, following, resolution, asked.objects),
                )
                for stage, following in pairs
            ]
            for resolution in asked.info.resolutions()
        }
        return Offers(spots, ways)

    def uncertainty(self, host: str, node: str, stages: Sequence[str]) -> float:
        """The variance of what is known of these stages on a node, its link with them."""
        known = [residual.variance for stage in stages if (residual := self._stages.get((stage, node))) is not None]
        most = max(known, default=stage_residual().variance) if len(known) == len(stages) else stage_residual().variance
        return most if node == host else max(most, self.link_uncertainty(host, node) / 4)

    def link_uncertainty(self, host: str, node: str) -> float:
        """The variance of the logarithm of a link's speed."""
        return self._link(self._machine(host, node)).variance

    # The parts of a time

    def _stretches(self, job_uid: str, host: str, node: str) -> tuple[float, float]:
        """How many times slower a stage is made by what is not ours on the node, and by the other queries there."""
        busy = self._machine(host, node).busy if self.telemetry else 0.0
        return 1.0 / (1.0 - min(busy, BUSY_MOST)), 1.0 / (1.0 - min(self.market.others(job_uid, node), BUSY_MOST))

    def _growth(self, stage: str, calibrated: float, objects: float) -> float:
        fixed = self.services[stage].fixed_share
        return fixed + (1 - fixed) * objects / calibrated if calibrated else 1.0

    def _bytes_in(self, stage: str, resolution: Resolution, objects: float) -> float:
        needs = self.services[stage].needs
        return (PICTURE_BYTES[resolution] if "image" in needs else 0.0) + (
            CROP_BYTES[resolution] * objects if "faces" in needs else 0.0
        )

    def _bytes_back(self, stage: str, following: str, resolution: Resolution, objects: float) -> float:
        """Pictures that come back because the next stage needs them elsewhere; "" is no next stage."""
        if not following or not self.services[following].needs & self.services[stage].gives & PICTURES - SOURCE_GIVES:
            return 0.0
        return CROP_BYTES[resolution] * objects

    # What is learned

    def _arrived(self, stage: str, node: str) -> None:
        loss = self._losses.get((stage, node))
        if loss is not None:
            loss.strikes = 0
            loss.chance *= 1 - LOSS_SHARE

    def _take_load(self, machine: _Machine, node: NodeResource, now: float) -> None:
        gone = now - machine.seen
        share = 1.0 if machine.seen == float("-inf") else 1.0 - exp(-max(gone, 0.0) / BUSY_S)
        machine.seen = now
        machine.busy += share * (min(node.cpu_fraction, BUSY_MOST) - machine.busy)

    def _read_stage(
        self,
        job_uid: str,
        way: tuple[str, str],
        stage: str,
        resolution: Resolution,
        *,
        objects: float,
        spent: float,
        trial: bool = False,
    ) -> None:
        host, node = way
        known = self._known.get((stage, node, resolution))
        if known is None:
            return
        growth = max(self._growth(stage, known.objects, objects), 1e-3)
        calm, crowd = self._stretches("" if trial else job_uid, host, node)
        self._residual(stage, node).read(log(spent / (known.seconds * growth * calm * crowd)))

    def _read_link(self, host: str, node: str, sent: float, hop_s: float) -> None:
        machine = self._machine(host, node)
        if sent >= TELLING_BYTES and hop_s > 0.0:
            self._link(machine).read(log(sent / max(hop_s - machine.rtt_s, LEAST_HOP_S) / LINK_BYTES_S))

    def _residual(self, stage: str, node: str) -> Residual:
        found = self._stages.get((stage, node))
        if found is None:
            found = self._stages[stage, node] = self.make_stage()
        return found

    def _link(self, machine: _Machine) -> Residual:
        if machine.link is None:
            machine.link = self.make_link()
        return machine.link

    def _machine(self, host: str, node: str) -> _Machine:
        found = self._machines.get((host, node))
        if found is None:
            found = self._machines[host, node] = _Machine()
        return found


def _bound(kept: dict[K, V]) -> None:
    while len(kept) > KNOWN_MOST:
        del kept[next(iter(kept))]
