"""Which calls of a picture get what they need straight from the node of the call before?

Those that take from one call only, on another node than that and than the host, and need no picture that only the host has;
where the plan says `by_host` it goes over the host all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.model.video import Plan
from node.model.wire.compute import Leg, StageCall
from node.pipeline.graph import Graph, Segment
from node.pipeline.stage import PICTURES, SERVICES, SOURCE_GIVES, goes_straight, inputs_of


def legs_of(graph: Graph, calls: Sequence[Segment], place: int, plan: Plan, here: str) -> tuple[Leg, ...]:
    """The legs behind the call at `place`, which is not on the host `here`, and those behind them."""
    names = {place: ""}
    found = []
    for after in range(place + 1, len(calls)):
        before, call = calls[after].before, calls[after]
        if len(before) == 1 and before[0] in names and _straight(calls[before[0]], call, plan, here):
            stages = tuple(StageCall(service=stage, model_id=plan.flow_mapping[stage].model_id) for stage in call.stages)
            wanted = tuple(sorted(wanted_at_host(graph, calls, after, plan, here)))
            found.append(Leg(node=call.node, stages=stages, wanted=wanted, after=names[before[0]]))
            names[after] = found[-1].name
    return tuple(found)


def wanted_at_host(graph: Graph, calls: Sequence[Segment], place: int, plan: Plan, here: str) -> frozenset[str]:
    """The pictures of the call at `place` that others than its legs look at."""
    needed = frozenset[str]()
    for call in calls:
        is_leg = call.before == (place,) and _straight(calls[place], call, plan, here)
        if not is_leg and graph.behind[call.stages[0]] & {*calls[place].stages}:
            needed |= inputs_of([SERVICES[stage] for stage in call.stages])
    return needed & PICTURES - SOURCE_GIVES


def _straight(before: Segment, after: Segment, plan: Plan, here: str) -> bool:
    """Whether what the one call gives goes to the next without coming by the host."""
    if here in {before.node, after.node} or before.node == after.node or plan.flow_mapping[after.stages[0]].by_host:
        return False
    return goes_straight([SERVICES[stage] for stage in before.stages], [SERVICES[stage] for stage in after.stages])
