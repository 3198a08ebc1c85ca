"""Does the first plan hold what the knowledge base says, and stay?"""

from __future__ import annotations

from itertools import product

from machines import CLOUD, DAG, EDGE, LIMIT, SEEN, cloud, host, peer, places, plan_of, resources, seen

from node.model.video import Constraint, Resolution, Runtime
from node.pipeline.video.planner.cold_start import ColdStart

TABLES = {"edge-1": EDGE, "cloud-1": CLOUD}


def test_28_of_32_cold_starts_violate_their_own_knowledge_base() -> None:
    """None does here: the limit is broken only where every plan breaks it."""
    info = resources(host(busy=0.0), cloud(busy=0.0), fps=30.0)
    for delay, accuracy in product((0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5), (0.5, 0.7, 0.9, 1.0)):
        plan = plan_of(ColdStart().plan("q", DAG, info, Runtime(), Constraint(delay=delay, accuracy=accuracy)))
        column = list(Resolution).index(plan.video_conf.resolution)
        total = sum(TABLES[place.node][stage][column] for stage, place in plan.flow_mapping.items())
        assert total / (30.0 / plan.video_conf.fps + 1) <= delay


def test_it_never_changes_its_mind_but_for_a_changed_constraint_or_a_node_that_is_gone() -> None:
    cold, info = ColdStart(), resources(host(), peer(), cloud())
    first = cold.plan("q", DAG, info, Runtime(), LIMIT)
    plan = plan_of(first)
    for _ in range(20):
        cold.observe("q", plan, seen(plan, dict.fromkeys(DAG, 3.0)))
        cold.failed("q", plan, DAG[0])
        assert cold.plan("q", DAG, info, SEEN, LIMIT) == first
    assert cold.plan("q", DAG, info, SEEN, Constraint(latency=0.15)) != first
    assert set(places(cold.plan("q", DAG, resources(host()), SEEN, LIMIT)).values()) == {"edge-1"}
    cold.forget("q")
    assert cold.plan("q", DAG, info, Runtime(), LIMIT) == first
