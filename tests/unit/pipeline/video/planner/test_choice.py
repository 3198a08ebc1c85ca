"""Is the chosen combination the best there is, with few stages and with many?"""

from __future__ import annotations

from itertools import product
from time import perf_counter

import pytest
from choices import LIMITS, Given, goal, offers
from hypothesis import given, settings
from hypothesis import strategies as st

from node.model.video import FPS_CHOICES, Constraint, Resolution
from node.pipeline.video.planner.choice import BEST, every_chain, likely_chains, placed_at, rank
from node.pipeline.video.planner.lognormal import Time
from node.pipeline.video.planner.offers import Option


def test_where_the_way_alone_takes_longer_than_the_limit_the_quickest_is_the_least_bad() -> None:
    def stages(stay: float) -> list[list[Option]]:
        return [[Option(0, Time(stay, 1e-6), Time(0.0, 0.0), Time(0.0, 0.0), 1e-3, 0.0, 0.0, 0.0, 0.0)]]

    found = Given({resolution: stages(0.01 * 2**step) for step, resolution in enumerate(Resolution)})
    ranked = rank(found, goal(1, Constraint(latency=0.02, accuracy=0.2), overhead=0.5))
    assert ranked[0].resolution is Resolution.P360


@given(offers(), LIMITS, st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_nothing_that_was_left_out_is_better(found: Given, limits: Constraint, overhead: float) -> None:
    aim = goal(3, limits, overhead)
    ranked = rank(found, aim)
    every = [
        aim.judge(placed_at(chain, aim), fps, resolution).utility
        for resolution in Resolution
        for chain in product(*found.at(resolution))
        for fps in FPS_CHOICES
    ]
    assert [candidate.utility for candidate in ranked] == pytest.approx(sorted(every, reverse=True)[:BEST])


@given(offers(), LIMITS, st.sets(st.integers(0, 179), max_size=7))
@settings(max_examples=30, deadline=None)
def test_what_was_best_before_saves_work_and_changes_nothing(found: Given, limits: Constraint, before: set[int]) -> None:
    aim = goal(3, limits)
    every = [(each, chain, fps) for each in Resolution for chain in product(*found.at(each)) for fps in FPS_CHOICES]
    known = [aim.judge(placed_at(chain, aim), fps, each) for each, chain, fps in (every[place] for place in before)]
    ranked = rank(found, aim, known)
    assert [candidate.utility for candidate in ranked] == pytest.approx([candidate.utility for candidate in rank(found, aim)])
    assert len({(each.fps, each.resolution, each.placed.places) for each in ranked}) == BEST


@given(offers(stages=3, nodes=4), LIMITS)
@settings(max_examples=40, deadline=None)
def test_the_paths_of_many_stages_hold_the_quickest_placement_and_everything_at_one_node(
    found: Given, limits: Constraint
) -> None:
    stages = found.at(Resolution.P480)
    aim = goal(4, limits)
    likely, every = likely_chains(stages, aim), every_chain(stages)
    assert likely[0].mean == pytest.approx(every[0].mean)
    alone = [chain for chain in likely if len({option.place for option in chain.chain}) == 1]
    assert len(alone) == 4


@given(offers(stages=6, nodes=5))
@settings(max_examples=5, deadline=None)
def test_six_stages_on_five_nodes_are_placed_without_looking_at_all_of_them(found: Given) -> None:
    begun = perf_counter()
    ranked = rank(found, goal(5, Constraint(latency=5.0)))
    assert ranked
    assert perf_counter() - begun < 5.0  # all of them would be 312,500


def test_neighbours_on_one_node_need_no_way_between_them() -> None:
    away = Option(1, Time(0.1, 0.0), Time(0.2, 0.0), Time(0.05, 0.0), 0.1, 1e5, 1e4, 0.1, 0.01)
    home = Option(0, Time(0.1, 0.0), Time(), Time(), 0.1, 0.0, 0.0, 0.0, 0.0)
    aim = goal(2, Constraint())
    assert placed_at((away, away), aim).mean == pytest.approx(0.4)
    assert placed_at((away, home), aim).mean == pytest.approx(0.45)
    assert placed_at((home, home), aim).mean == pytest.approx(0.2)
    assert placed_at((away, away), aim).sent == 1e5
    assert placed_at((home, home), aim).rate_most == pytest.approx(0.85 / 0.2)


def test_a_stage_that_nobody_offers_leaves_nothing_to_choose() -> None:
    home = Option(0, Time(0.1, 0.0), Time(), Time(), 0.1, 0.0, 0.0, 0.0, 0.0)
    assert rank(Given({Resolution.P360: [[home], []]}), goal(1, Constraint())) == []
