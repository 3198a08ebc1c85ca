"""How long is a query without its stages after the node that ran them was killed?

The plan of the shipped scheduler is what is killed: the other node is made slow until the query's stages are on the victim.
From the kill to the moment at which the first picture was taken under a plan that needs the victim no more is what is measured,
and besides it when that picture was answered. Both are read from the results, which the edge keeps while there is no cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from node.client import Client
from node.model.document import ResultItem
from node.model.video import EPOCH_STEP, Query, Tally
from real.contest import begin, look, results
from real.system import CLOCK, CLOUD, FACTORS, PEER, SlowedSystem, until

SLOW: Final = 4.0  # times slower than it was: nobody wants it any more
MOVE_S, ANSWER_S, BACK_S = 40.0, 20.0, 60.0
AFTER: Final = 2  # results under the new plan, until the first of them is looked for: two pictures are in work at once


@dataclass(frozen=True, slots=True)
class Failover:
    """Seconds from a kill to the first picture that was taken without the victim, and to its answer; every tally seen."""

    moved_s: float
    answered_s: float
    tallies: tuple[Tally, ...]

    @property
    def adds_up(self) -> bool:
        """Whether every picture had one fate at every moment that was looked at."""
        return all(tally.adds_up for tally in self.tallies)


def failover(system: SlowedSystem, victim: str) -> Failover:
    """Kills the cloud or the peer of a running head count, and starts it again."""
    other = PEER if victim == CLOUD else CLOUD
    tallies: list[Tally] = []
    with system.client() as client:
        query = begin(client)
        system.slow(other, FACTORS[other] * SLOW)
        try:
            until(lambda: victim in nodes_of(client, query), MOVE_S)
            look(client, query, tallies)
            killed_at = CLOCK.wall()
            system.kill(victim)
            if victim == CLOUD:
                until(lambda: system.stderr("edge-1").count("edge uses its safe plan"), ANSWER_S)
                system.restart(victim)
            found = until(lambda: _without(client, query, victim, killed_at, tallies), BACK_S)
            if victim != CLOUD:
                system.restart(victim)
        finally:
            system.slow(other, FACTORS[other])
        client.stop(query.id)
    return Failover(found.captured_at - killed_at, found.captured_at + found.latency - killed_at, tuple(tallies))


def nodes_of(client: Client, query: Query) -> set[str]:
    """The nodes of the query's plan, where the edge already answers under it; none before."""
    plan = client.query(query.id).plan
    newest = [*results(client, query)][-1]
    return {place.node for place in plan.flow_mapping.values()} if plan and newest.plan_epoch == plan.epoch else set()


def _without(client: Client, query: Query, victim: str, killed_at: float, tallies: list[Tally]) -> ResultItem | None:
    """The first result that did not need the victim, once a few have come."""
    look(client, query, tallies)
    plans = {item.plan.epoch: {place.node for place in item.plan.flow_mapping.values()} for item in client.plans(query.id)[1]}
    after = [
        item
        for item in results(client, query)
        if item.captured_at > killed_at and victim not in _needed(plans, item.plan_epoch, victim)
    ]
    return min(after, key=lambda item: item.captured_at) if len(after) >= AFTER else None


def _needed(plans: Mapping[int, set[str]], epoch: int, victim: str) -> set[str]:
    """The nodes that the plan of an epoch needs; a safe plan stands between two of the cloud's and needs the host alone."""
    if epoch in plans:
        return plans[epoch]
    return set() if epoch - EPOCH_STEP // 2 in plans else {victim}
