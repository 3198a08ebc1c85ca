"""In which order do the stages of a pipeline run, which of them at once, and what does each see?

A pipeline is a list, or a graph that forks and joins: each stage with those whose outputs it takes. It is checked before the
first frame: every fault is named with its field. A stage sees the camera's picture and what the stages before it on its own
ways gave; what two branches give under one name is told apart in the result by the stage in front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from node.errors import Invalid, Problem
from node.model.video import in_order
from node.pipeline.stage import PICTURES, SERVICES, SOURCE_GIVES, check_pipeline, inputs_of

SEGMENTS_AT_HAND: Final = 64  # cuts of pipelines by plans; a job has one or two
HINT: Final = 'give a list, or for each stage those that it takes from, such as {"face_detection": [], …}'


@dataclass(frozen=True)
class Segment:
    """Neighbouring stages on one node: one call. `before` are places of segments that must be done first.

    `wanted` are the pictures that stages behind it look at.
    """

    stages: tuple[str, ...]
    node: str
    before: tuple[int, ...]
    wanted: frozenset[str]


@dataclass(frozen=True)
class Graph:
    """A checked pipeline. `stages` are in an order in which each stands behind all that it takes from; `before` are those."""

    stages: tuple[str, ...]
    before: tuple[tuple[str, ...], ...]

    @cached_property
    def behind(self) -> Mapping[str, frozenset[str]]:
        """All stages that each one builds on, directly or not."""
        found: dict[str, frozenset[str]] = {}
        for stage, direct in zip(self.stages, self.before, strict=True):
            found[stage] = frozenset(direct).union(*(found[one] for one in direct))
        return found

    @property
    def forks(self) -> bool:
        """Whether it is more than a list."""
        return any(direct != self.stages[place - 1 : place] for place, direct in enumerate(self.before) if place) or bool(
            self.before[0]
        )

    @cached_property
    def takes(self) -> tuple[tuple[int, ...], ...]:
        """For each stage the places of those that it takes from."""
        return tuple(tuple(self.stages.index(one) for one in direct) for direct in self.before)

    def longest(self, seconds: Mapping[str, float]) -> float:
        """The sum of the stages' seconds along the way on which it is largest; a stage that has none counts nothing.

        Source: J. E. Kelley, "Critical-path planning and scheduling", Operations Research 9 (1961), page 296.
        """
        ends: list[float] = []
        for stage, takes in zip(self.stages, self.takes, strict=True):
            ends.append(max((ends[one] for one in takes), default=0.0) + seconds.get(stage, 0.0))
        return max(ends)

    @cached_property
    def doubled(self) -> Mapping[str, tuple[str, ...]]:
        """Names that several branches give, each with the stages that give it last on their branch."""
        names = {name for stage in self.stages for name in SERVICES[stage].gives}
        last = {name: self._last(name) for name in names}
        return {name: stages for name, stages in last.items() if len(stages) > 1}

    def _last(self, name: str) -> tuple[str, ...]:
        givers = [stage for stage in self.stages if name in SERVICES[stage].gives]
        return tuple(one for one in givers if not any(one in self.behind[other] for other in givers))


class Dag(tuple[str, ...]):
    """The stages of a pipeline as planners are given them: a sequence in an order that can run, and the graph that it is of.

    A planner that knows lists only takes it for one.
    """

    graph: Graph

    @classmethod
    def of(cls, graph: Graph) -> Dag:
        """The stages of `graph`."""
        made = cls(graph.stages)
        made.graph = graph
        return made


def graph_of(dag: Sequence[str]) -> Graph:
    """The graph of what a planner is given; a plain list is one in which each stage takes from the one before."""
    return dag.graph if isinstance(dag, Dag) else _in_a_row(tuple(dag))


@lru_cache(maxsize=SEGMENTS_AT_HAND)
def segments(graph: Graph, nodes: tuple[str, ...]) -> tuple[Segment, ...]:
    """The calls of one picture under a plan that gives each stage its node, in an order in which they can run."""
    where = dict(zip(graph.stages, nodes, strict=True))
    direct = dict(zip(graph.stages, graph.before, strict=True))
    chains: list[list[str]] = []
    of: dict[str, int] = {}
    for stage in graph.stages:
        only = direct[stage][0] if len(direct[stage]) == 1 else None
        joins = only is not None and where[only] == where[stage] and chains[of[only]][-1] == only
        if joins and only is not None and sum(only in before for before in graph.before) == 1:
            of[stage] = of[only]
            chains[of[only]].append(stage)
        else:
            of[stage] = len(chains)
            chains.append([stage])
    return tuple(_segment(graph, chain, where, [of[one] for one in direct[chain[0]]]) for chain in chains)


def _segment(graph: Graph, chain: Sequence[str], where: Mapping[str, str], before: Sequence[int]) -> Segment:
    later = [SERVICES[stage] for stage in graph.stages if stage not in chain and graph.behind[stage] & {*chain}]
    wanted = inputs_of(later) & PICTURES - SOURCE_GIVES
    return Segment(tuple(chain), where[chain[0]], tuple(sorted(set(before))), wanted)


def check_graph(pipeline: Sequence[str], graph: Mapping[str, Sequence[str]]) -> Graph:
    """The pipeline, ready to run; an empty `graph` makes it the list that `pipeline` is.

    Raises:
        Invalid: an unknown or repeated service, a circle, an input that is missing or comes from two branches at once.
    """
    if not graph:
        check_pipeline(pipeline)
        return _in_a_row(tuple(pipeline))
    problems = [*_unknown(graph), *_circle(graph)]
    if sorted(pipeline) != sorted(graph):
        problems.append(Problem("graph", f"has the stages {', '.join(graph)}, the pipeline {', '.join(pipeline)}"))
    if not problems:
        checked = Graph(in_order(graph), tuple(tuple(graph[stage]) for stage in in_order(graph)))
        problems = [problem for stage in checked.stages for problem in _inputs(checked, stage)]
        if not problems:
            return checked
    raise Invalid("the pipeline cannot run", problems=problems, hint=HINT)


@lru_cache(maxsize=SEGMENTS_AT_HAND)
def _in_a_row(stages: tuple[str, ...]) -> Graph:
    return Graph(stages, tuple(stages[place - 1 : place] if place else () for place in range(len(stages))))


def _unknown(graph: Mapping[str, Sequence[str]]) -> list[Problem]:
    there = ", ".join(SERVICES)
    problems = [
        Problem(f"pipeline.{stage}", f"no service '{stage}'; there are: {there}") for stage in graph if stage not in SERVICES
    ]
    for stage, before in graph.items():
        strangers = [one for one in before if one not in graph]
        problems += [Problem(f"pipeline.{stage}", f"takes from '{one}', which is no stage here") for one in strangers]
        if len(set(before)) != len(before):
            problems.append(Problem(f"pipeline.{stage}", "names a stage twice"))
    return problems


def _circle(graph: Mapping[str, Sequence[str]]) -> list[Problem]:
    left = dict(graph)
    while free := [stage for stage, before in left.items() if not {*before} & left.keys()]:
        for stage in free:
            del left[stage]
    if not left:
        return []
    walk = [next(iter(left))]
    while walk[-1] not in walk[:-1]:
        walk.append(next(one for one in left[walk[-1]] if one in left))
    circle = walk[walk.index(walk[-1]) :]
    return [Problem(f"pipeline.{circle[0]}", f"takes from itself: {' ← '.join(circle)}")]


def _inputs(graph: Graph, stage: str) -> list[Problem]:
    problems = []
    for name in sorted(SERVICES[stage].needs - SOURCE_GIVES):
        givers = [one for one in graph.stages if one in graph.behind[stage] and name in SERVICES[one].gives]
        last = [one for one in givers if not any(one in graph.behind[other] for other in givers)]
        if not givers:
            problems.append(Problem(f"pipeline.{stage}", f"'{stage}' needs {name}, which no stage that it takes from gives"))
        elif len(last) > 1:
            problems.append(
                Problem(f"pipeline.{stage}", f"'{stage}' gets {name} from {' and '.join(last)}: take from one of them")
            )
    return problems
