"""How do several queries share nodes and links?

Each node and each link is a resource of which a query takes a share. What the others take slows a query down; where the sum is
above the cap the resource has a price, and every query answers with the plan that is best at the present prices. Weights are
priorities: who weighs twice as much pays half the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

Resource: TypeAlias = str
"""A node by its name, or the link of a host to a node as `host>node`."""

CAP: Final = 0.85  # of a resource, beyond it waiting times grow without end
PRICE_RATE: Final = 0.15  # utility a second for each whole resource that is asked for above the cap
PRICE_FALL: Final = 0.05  # the same, below the cap
PRICE_MOST: Final = 2.0
USE_PRICE: Final = 0.004  # what a whole resource costs that nobody else wants: enough to leave alone what brings nothing


def link(host: str, node: str) -> Resource:
    """The name of a link."""
    return f"{host}>{node}"


class Market:
    """What queries use, and what that costs."""

    def __init__(self) -> None:
        self._uses: dict[str, dict[Resource, float]] = {}
        self._sums: dict[Resource, float] = {}
        self._prices: dict[Resource, float] = {}

    def takes(self, job_uid: str, uses: Mapping[Resource, float]) -> None:
        """From now on the query uses these shares; an empty mapping ends it."""
        for resource, share in self._uses.pop(job_uid, {}).items():
            self._add(resource, -share)
        if uses:
            self._uses[job_uid] = dict(uses)
            for resource, share in uses.items():
                self._add(resource, share)

    def others(self, job_uid: str, resource: Resource) -> float:
        """The share that everybody else uses."""
        return max(self._sums.get(resource, 0.0) - self._uses.get(job_uid, {}).get(resource, 0.0), 0.0)

    def alone(self, job_uid: str) -> bool:
        """Whether no other query runs."""
        return not self._uses.keys() - {job_uid}

    def runs(self, job_uid: str) -> bool:
        """Whether the query has been given something."""
        return job_uid in self._uses

    def price(self, resource: Resource) -> float:
        """What the use of the whole resource costs, in utility."""
        return self._prices.get(resource, 0.0) + USE_PRICE

    def wanted(self, resource: Resource, seconds: float) -> None:
        """Somebody finds no room for anything: that raises the price as if a whole resource were lacking."""
        self._move(resource, CAP + 1.0, seconds)

    def pass_time(self, seconds: float) -> None:
        """Moves the prices of `seconds`."""
        for resource in [*self._sums]:
            self._move(resource, self._sums[resource], seconds)

    def _move(self, resource: Resource, used: float, seconds: float) -> None:
        excess = used - CAP
        price = self._prices.get(resource, 0.0) + (PRICE_RATE if excess > 0 else PRICE_FALL) * excess * seconds
        if price > 0.0:
            self._prices[resource] = min(price, PRICE_MOST)
        else:
            self._prices.pop(resource, None)

    def _add(self, resource: Resource, share: float) -> None:
        total = self._sums.get(resource, 0.0) + share
        if total > 1e-9:
            self._sums[resource] = total
        elif resource in self._sums:  # its price falls while it is remembered; nobody uses it, so nobody pays
            del self._sums[resource]
            self._prices.pop(resource, None)
