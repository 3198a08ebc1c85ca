"""How many requests came through the front door, and how long did they take?

A figure of the metrics library costs more than all checks of a request, since it guards itself against threads. Requests are
counted on one loop, so plain numbers do, and the library's figures are made from them when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from node.journal import Metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class Timings:
    """Counts of durations in seconds: `counts[i]` are those up to `BUCKETS[i]`, the last ones those beyond."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Traffic:
    """Requests by route, method and status; routes are patterns, of which there is a fixed number."""

    def __init__(self, metrics: Metrics) -> None:
        self._known: dict[tuple[str, str, int], Timings] = {}
        metrics.add(self)

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts one answer."""
        known = self._known.get((route, method, status))
        if known is None:
            # a stranger may invent methods, and each would be kept
            known = self._known.setdefault((route, method if method in METHODS else "other", status), Timings())
        known.note(seconds)

    def collect(self) -> Iterator[Metric]:
        """The figures as the metrics library wants them."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily(
            "ecnode_http_requests", "Requests at the front door.", labels=("route", "method", "status")
        )
        routes: dict[str, Timings] = {}
        for (route, method, status), timings in self._known.items():
            requests.add_metric((route, method, str(status)), sum(timings.counts))
            summed = routes.setdefault(route, Timings())
            summed.counts = [one + other for one, other in zip(summed.counts, timings.counts, strict=True)]
            summed.seconds += timings.seconds
        yield requests
        durations = HistogramMetricFamily("ecnode_http_seconds", "Time to answer a request.", labels=("route",))
        bounds = [*map(str, BUCKETS), "+Inf"]
        for route, summed in routes.items():
            durations.add_metric((route,), list(zip(bounds, accumulate(summed.counts), strict=True)), summed.seconds)
        yield durations
