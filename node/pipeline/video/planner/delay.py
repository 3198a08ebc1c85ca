"""How long does each stage take on each node, and how sure is that?

A stage's time is its calibrated time at the resolution, times its growth with the number of objects, stretched by what else the
node does, times a residual per (stage, node). The way to a node takes its round trip and the bytes over the link's speed, which
is a residual too. All are lognormal; `offers.py` has what a choice is made from.

Source: video.md, model of delay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, expm1, log
from typing import Final, NamedTuple, TypeVar

from node.model.video import Plan, Resolution, Result, StageRole
from node.pipeline.graph import Graph, graph_of, segments
from node.pipeline.stage import PICTURES, SOURCE_GIVES, ServiceSpec, goes_straight
from node.pipeline.video.planner.base import NodeLink, NodeResource, ResourceInfo
from node.pipeline.video.planner.market import Market
from node.pipeline.video.planner.offers import Hop, Moved, Offers, Pace, Spot
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
            self._take_load(machine, node, asked.info.at)
            self._take_link(machine, NodeLink(node.rtt_s, node.bytes_s, node.probed_at))
            for peer, way in node.links.items():
                self._take_link(self._machine(node.name, peer), way)
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

    def observe(self, job_uid: str, host: str, plan: Plan, result: Result, graph: Graph) -> None:
        """A result of the query, whose camera is at `host`, and whose stages are those of `graph`."""
        resolution, objects = plan.video_conf.resolution, objects_of(result)
        nodes = {stage: plan.flow_mapping[stage].node for stage in graph.stages if stage in plan.flow_mapping}
        if len(nodes) != len(graph.stages) or not result.stage_ms.keys() >= nodes.keys():
            return
        for call in segments(graph, tuple(nodes.values())):
            stage, node, hop = call.stages[0], call.node, result.hop_ms.get(call.stages[0], 0.0) / 1000
            if node != host and hop > 0.0:
                sent = self._bytes_in(stage, resolution, objects) + ANSWER_BYTES
                if stage in result.direct:
                    self._read_straight(host, nodes[graph.before[graph.stages.index(stage)][0]], node, sent, hop)
                else:
                    over_host = [one for one in _next(graph, call.stages[-1]) if one not in result.direct]
                    back = max((self._bytes_back(call.stages[-1], one, resolution, objects) for one in over_host), default=0.0)
                    self._read_link(host, node, sent + back, hop)
            for one in call.stages:
                spent = result.stage_ms[one] / 1000 - (hop if one == stage else 0.0)
                self._arrived(one, node)
                self._read_stage(job_uid, (host, node), one, resolution, objects=objects, spent=max(spent, 1e-5))

    def tried(self, job_uid: str, host: str, node: str, run: ShadowRun) -> None:
        """A shadow run on `node`."""
        self._read_link(host, node, run.sent, run.hop_s)
        for stage, seconds in run.stage_s.items():
            self._arrived(stage, node)
            self._read_stage(
                job_uid, (host, node), stage, run.resolution, objects=run.objects, spent=max(seconds, 1e-5), trial=True
            )

    def lost(self, host: str, node: str, stage: str, after_s: float) -> None:
        """A frame was lost on its way from `host`, or who handed it on, to that stage: the link took all its time, or where it
        did not move the stage.
        """
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
            home = node.role is StageRole.HOST or node.name == host
            stages: list[Pace | None] = []
            for stage in asked.dag:
                pace = None
                if stage in node.services and node.services[stage].profile:
                    profile, residual = node.services[stage].profile, self._residual(stage, node.name)
                    growth = self._growth(stage, node.services[stage].profile_objects, asked.objects)
                    spread = expm1(residual.variance + residual.noise + jump)
                    loss = self._losses.get((stage, node.name))
                    sure = 1 - loss.chance if loss is not None else 1.0
                    pace = Pace(profile, growth * exp(residual.value) * calm, crowd, spread, sure)
                stages.append(pace)
            others = {} if home else self._hops_to(place, asked)
            spots.append(Spot(place, max(node.workers, 1), stages, home, self._hop(machine, machine.rtt_s), others))
        return Offers(spots, {resolution: self._moved(asked, resolution) for resolution in asked.info.resolutions()})

    def _hop(self, machine: _Machine, rest_s: float) -> Hop:
        way = self._link(machine)
        return Hop(rest_s, 1 / (LINK_BYTES_S * exp(way.value)), expm1(way.variance + way.noise))

    def _hops_to(self, place: int, asked: Asked) -> dict[int, Hop]:
        """The ways to a node from others that have a link to it, the host left out."""
        node, host = asked.info.nodes[place].name, asked.info.host
        return {
            before: self._hop(self._machine(other.name, node), self._rest_s(host, other.name, node))
            for before, other in enumerate(asked.info.nodes)
            if node in other.links and other.name != host
        }

    def _rest_s(self, host: str, before: str, node: str) -> float:
        """What the way from one node to the next adds to a frame's time besides its bytes: the way there, and that the answer
        comes from the last of both instead of from the first.
        """
        there, back, saved = self._machine(before, node), self._machine(host, node), self._machine(host, before)
        return (there.rtt_s + back.rtt_s - saved.rtt_s) / 2

    def _moved(self, asked: Asked, resolution: Resolution) -> list[Moved]:
        graph, objects = graph_of(asked.dag), asked.objects
        found = []
        for stage, takes in zip(graph.stages, graph.takes, strict=True):
            back = max((self._bytes_back(stage, one, resolution, objects) for one in _next(graph, stage)), default=0.0)
            straight = len(takes) == 1 and goes_straight([self.services[graph.stages[takes[0]]]], [self.services[stage]])
            enter = self._bytes_in(stage, resolution, objects) + ANSWER_BYTES
            found.append(Moved(enter, back, takes[0] if straight else -1))
        return found

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
        """Pictures that come back because the next stage needs them elsewhere."""
        if not self.services[following].needs & self.services[stage].gives & PICTURES - SOURCE_GIVES:
            return 0.0
        return CROP_BYTES[resolution] * objects

    # What is learned

    def _arrived(self, stage: str, node: str) -> None:
        loss = self._losses.get((stage, node))
        if loss is not None:
            loss.strikes = 0
            loss.chance *= 1 - LOSS_SHARE

    def _take_link(self, machine: _Machine, way: NodeLink) -> None:
        machine.rtt_s = way.rtt_s
        if way.probed_at > machine.probed_at and way.bytes_s > 0:
            machine.probed_at = way.probed_at
            self._link(machine).read(log(way.bytes_s / LINK_BYTES_S))

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

    def _read_straight(self, host: str, before: str, node: str, sent: float, hop_s: float) -> None:
        """As `_read_link`, of a way past the host."""
        rest_s = self._rest_s(host, before, node)
        self._read_link(before, node, sent, hop_s - rest_s + self._machine(before, node).rtt_s)

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


def _next(graph: Graph, stage: str) -> list[str]:
    """The stages that take from one."""
    return [one for one, direct in zip(graph.stages, graph.before, strict=True) if stage in direct]


def _bound(kept: dict[K, V]) -> None:
    while len(kept) > KNOWN_MOST:
        del kept[next(iter(kept))]
