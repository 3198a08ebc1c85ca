"""Options and goals that a test made, for what chooses among them."""

from __future__ import annotations

from hypothesis import strategies as st

from node.model.video import Constraint, Resolution
from node.pipeline.video.planner.choice import Goal
from node.pipeline.video.planner.lognormal import Time
from node.pipeline.video.planner.offers import Offers, Option


class Scene:
    def expected(self, resolution: Resolution, rate: float, age: float) -> float:
        return (0.6 + 0.4 * list(Resolution).index(resolution) / 3) * min(1.0, 0.3 + rate / 10) / (1 + age)


class Given(Offers):
    """Options that a test made."""

    def __init__(self, options: dict[Resolution, list[list[Option]]]) -> None:
        super().__init__([], {resolution: [] for resolution in options})
        self._made = options

    def count(self) -> int:
        total = 0
        for stages in self._made.values():
            ways = 1
            for options in stages:
                ways *= len(options)
            total += ways
        return total


def goal(nodes: int, limits: Constraint, overhead: float = 0.0) -> Goal:
    return Goal(limits, 25.0, 2, overhead, Scene(), [0.85] * nodes, [0.01] * nodes, [0.85] * nodes, [0.0] * nodes)


seconds = st.floats(0.001, 2.0)


@st.composite
def offers(draw: st.DrawFn, stages: int = 2, nodes: int = 3) -> Given:
    def option(place: int) -> Option:
        stay, way = draw(seconds), draw(seconds) if place else 0.0
        enter = Time(way, (way / 5) ** 2)
        leave = Time(way / 4, (way / 20) ** 2)
        sent = 1e5 if place else 0.0
        return Option(place, Time(stay, (stay / 5) ** 2), enter, leave, stay / 2, sent, sent / 4, way / 2, way / 8)

    return Given({resolution: [[option(place) for place in range(nodes)] for _ in range(stages)] for resolution in Resolution})


LIMITS = st.builds(
    Constraint,
    delay=st.one_of(st.none(), st.floats(0.01, 2)),
    latency=st.one_of(st.none(), st.floats(0.01, 3)),
    accuracy=st.one_of(st.none(), st.floats(0.1, 1)),
)
