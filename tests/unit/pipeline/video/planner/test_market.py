"""Do queries that share a node see each other, and does nobody pay for what is free?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.pipeline.video.planner.market import CAP, PRICE_MOST, USE_PRICE, Market

SHARES = st.dictionaries(st.sampled_from(["edge-1", "edge-2", "edge-1>edge-2"]), st.floats(0, 3), max_size=3)


def test_what_others_use_is_everything_but_ones_own() -> None:
    market = Market()
    market.takes("a", {"edge-1": 0.3})
    market.takes("b", {"edge-1": 0.2})
    assert market.others("a", "edge-1") == pytest.approx(0.2)
    assert market.others("c", "edge-1") == pytest.approx(0.5)
    market.takes("b", {})
    assert market.others("a", "edge-1") == 0.0


def test_a_node_that_is_asked_for_too_much_becomes_dear_and_cheap_again() -> None:
    market = Market()
    market.takes("a", {"edge-1": 1.5})
    assert market.price("edge-1") == USE_PRICE
    market.pass_time(5.0)
    dear = market.price("edge-1")
    assert dear > 0.2
    market.takes("a", {"edge-1": 0.5})
    market.pass_time(1e3)
    assert market.price("edge-1") == USE_PRICE


def test_a_newcomer_that_finds_no_room_raises_the_price() -> None:
    market = Market()
    market.takes("a", {"edge-1": 0.8})
    market.wanted("edge-1", 1.0)
    assert market.price("edge-1") > USE_PRICE


@given(st.lists(st.tuples(st.sampled_from("abc"), SHARES, st.floats(0, 100)), max_size=30))
def test_the_sums_are_those_of_the_queries_and_prices_stay_in_bounds(steps: list[tuple[str, dict[str, float], float]]) -> None:
    market, uses = Market(), dict[str, dict[str, float]]()
    for name, shares, seconds in steps:
        market.takes(name, shares)
        uses[name] = shares
        market.pass_time(seconds)
    for resource in ("edge-1", "edge-2", "edge-1>edge-2"):
        total = sum(shares.get(resource, 0.0) for shares in uses.values())
        assert market.others("nobody", resource) == pytest.approx(total, abs=1e-6)
        assert USE_PRICE <= market.price(resource) <= PRICE_MOST + USE_PRICE
    assert CAP < 1
