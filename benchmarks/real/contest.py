"""What is each scheduler worth in a real run, and do real runs rank them as the simulation does?"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from planning.run import Trace

from node.client import Client
from node.errors import EcnodeError
from node.model.document import ResultItem
from node.model.video import Query, QueryRequest, Tally
from real.rehearsal import DROP_MBPS, TRACK, Known
from real.scene import Span, frames_of
from real.system import CLOCK, HOST, LINK_MBPS, SlowedSystem, settled, until

PLUG_INS: Final[Mapping[str, str]] = {
    "seed cold start": "planning.seed:SeedColdStart",
    "seed PID": "planning.seed:SeedPid",
    "fixed": "fixed",
    "edge only": "planning.still:EDGE_ONLY",
    "cloud only": "planning.still:CLOUD_ONLY",
    "cold_start": "cold_start",
    "pid": "pid",
    "ewma": "ewma",
    "robust": "robust",
}
"""Schedulers by their names in the simulation, as `cloud.scheduler` takes them."""

STAGES: Final = ("face_detection", "face_alignment")
APART: Final = 0.05  # utilities that are nearer than this in simulation are no order
LATE_S: Final = 2.0  # for the last results to come in
LOOK_S: Final = 0.5


@dataclass
class Run:
    """One real run: its trace, and every tally that was seen."""

    trace: Trace = field(default_factory=Trace)
    tallies: list[Tally] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        """Whether every picture had one fate at every moment that was looked at."""
        return bool(self.tallies) and all(tally.adds_up for tally in self.tallies)


def head_count() -> QueryRequest:
    """The query of the real run."""
    return QueryRequest(node=HOST, source="lobby", pipeline=STAGES, constraint=TRACK.constraint)


def begin(client: Client) -> Query:
    """A head count that gives results."""
    until(lambda: settled(client), 60.0)
    query = client.submit(head_count())
    until(lambda: client.results(query.id, 0, 1, 1.0).items, 30.0)
    return query


def race(system: SlowedSystem, known: Known) -> Run:
    """A run under the scheduler that is due, the link slow for a while."""
    run = Run()
    with system.client() as client:
        query = begin(client)
        span, started = Span(CLOCK.wall(), known.seconds), CLOCK.monotonic()
        try:
            while (now := CLOCK.monotonic() - started) < known.seconds:
                system.link.mbps = DROP_MBPS if known.drop[0] <= now < known.drop[1] else LINK_MBPS
                look(client, query, run.tallies)
                threading.Event().wait(LOOK_S)
        finally:
            system.link.mbps = LINK_MBPS
        threading.Event().wait(LATE_S)
        look(client, query, run.tallies)
        _, plans = client.plans(query.id)
        rates = {item.plan.epoch: float(item.plan.video_conf.fps) for item in plans}
        run.trace.frames = frames_of(list(results(client, query)), rates, known.truth, TRACK, span)
        run.trace.switches = [(item.since_at - span.began, item.plan) for item in plans if item.since_at > span.began]
        client.stop(query.id)
    return run


def look(client: Client, query: Query, tallies: list[Tally]) -> None:
    """Takes the query's tally down, where its node answers."""
    try:
        tallies.append(client.query(query.id).tally)
    except EcnodeError:
        return


def results(client: Client, query: Query) -> Iterator[ResultItem]:
    """Everything that the query has answered."""
    after = 0
    while items := client.results(query.id, after, 500).items:
        yield from items
        after = items[-1].cursor


def tau(simulated: Mapping[str, float], real: Mapping[str, float]) -> tuple[float, int]:
    """Kendall's rank correlation over the pairs that the simulation tells apart, and how many these are.

    Source: M. G. Kendall, "A new measure of rank correlation", Biometrika 30 (1938), page 81.
    """
    pairs = [(one, other) for one, other in combinations(real, 2) if abs(simulated[one] - simulated[other]) >= APART]
    agreed = sum(sign(simulated[one] - simulated[other]) * sign(real[one] - real[other]) for one, other in pairs)
    return (agreed / len(pairs) if pairs else 0.0), len(pairs)


def sign(value: float) -> int:
    """-1, 0 or 1."""
    return (value > 0) - (value < 0)


def profiles_of(client: Client, names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """What the nodes say that their stages take: seconds by node, stage and resolution."""
    reports = {report.name: report for report in (client.node().report, *(view.report for view in client.nodes()))}
    return {
        name: {service.name: dict(service.profile) for service in reports[name].services if service.name in STAGES}
        for name in names
    }
