"""Does a table say the whole life of a record?"""

from __future__ import annotations

from enum import StrEnum

import pytest

from node.errors import Conflict
from node.lifecycle import LifeCycle
from node.model.member import MEMBER_LIFE, MemberState
from node.model.video import QUERY_LIFE, QueryState


class Lamp(StrEnum):
    OFF = "off"
    ON = "on"
    BROKEN = "broken"
    SOLD = "sold"


LAMP = LifeCycle("lamp", Lamp.OFF, {(Lamp.OFF, "press"): Lamp.ON, (Lamp.ON, "press"): Lamp.OFF, (Lamp.ON, "drop"): Lamp.BROKEN})


def test_an_event_leads_where_the_table_says() -> None:
    assert LAMP.after(Lamp.OFF, "press") is Lamp.ON


def test_a_forbidden_event_names_the_possible_ones() -> None:
    with pytest.raises(Conflict, match="a lamp that is off cannot take the event 'drop'") as caught:
        LAMP.after(Lamp.OFF, "drop")
    assert caught.value.hint == "events possible now: press"


def test_a_final_state_takes_no_event() -> None:
    with pytest.raises(Conflict) as caught:
        LAMP.after(Lamp.BROKEN, "press")
    assert caught.value.hint == "events possible now: none, this state is final"


def test_states_are_those_of_the_table_in_the_order_of_the_words() -> None:
    assert LAMP.states == (Lamp.OFF, Lamp.ON, Lamp.BROKEN)
    assert LAMP.terminal == {Lamp.BROKEN}
    assert LAMP.events(Lamp.ON) == ("press", "drop")


def test_the_diagram_has_a_line_for_each_row_and_both_ends() -> None:
    assert LAMP.diagram().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> off",
        "    off --> on: press",
        "    on --> off: press",
        "    on --> broken: drop",
        "    broken --> [*]",
    ]


def test_every_state_of_a_query_can_be_reached() -> None:
    reached = {QUERY_LIFE.start}
    while more := {target for (state, _), target in QUERY_LIFE.table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(QueryState)


def test_every_state_of_a_query_that_is_not_final_can_fail_and_be_stopped() -> None:
    for state in set(QueryState) - QUERY_LIFE.terminal:
        assert QUERY_LIFE.after(state, "fail") is QueryState.FAILED
        assert QUERY_LIFE.after(state, "stop") is QueryState.STOPPED
    assert QUERY_LIFE.terminal == {QueryState.FINISHED, QueryState.FAILED, QueryState.STOPPED}


def test_a_member_can_be_put_out_from_every_state_and_never_comes_back() -> None:
    for state in set(MemberState) - {MemberState.REVOKED}:
        assert MEMBER_LIFE.after(state, "revoke") is MemberState.REVOKED
    assert MEMBER_LIFE.terminal == {MemberState.REVOKED}
    assert set(MEMBER_LIFE.states) == set(MemberState)
