"""Are values strict, and ids sortable?"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from node.model.cluster import NodeState, SourceReport, SourceState
from node.model.value import Items, Name, QueryId, Value, new_id
from node.model.video import Placement, Resolution, StageRole, VideoConf


class Sample(Value):
    count: int = 0
    share: float = 0.0
    sure: bool = False
    text: str = ""
    words: Items[str] = ()
    state: NodeState = NodeState.READY


@pytest.mark.parametrize(
    "field",
    [
        {"count": "3"},
        {"count": 3.0},
        {"count": True},
        {"share": "0.5"},
        {"share": True},
        {"sure": 1},
        {"sure": "true"},
        {"text": 5},
        {"text": b"x"},
        {"words": "abc"},
        {"words": {"a": 1}},
        {"words": [1]},
        {"state": "READY"},
        {"state": "gone"},
        {"state": 0},
        {"state": None},
    ],
    ids=str,
)
def test_nothing_is_converted_from_one_type_into_another(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate(field)


def test_a_word_comes_from_text_and_a_tuple_from_a_list() -> None:
    value = Sample.model_validate({"state": "lost", "words": ["a", "b"], "share": 1})
    assert (value.state, value.words, value.share) == (NodeState.LOST, ("a", "b"), 1.0)
    assert type(value.state) is NodeState


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Sample.model_validate({"cuont": 3})


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sample().count = 3  # type: ignore[misc]


def test_a_replaced_field_is_checked_again() -> None:
    assert Sample(count=1, text="x").replace(count=2) == Sample(count=2, text="x")
    with pytest.raises(ValidationError):
        Sample().replace(count="2")
    with pytest.raises(ValidationError):
        Sample().replace(cuont=2)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.001])
def test_a_figure_is_finite_and_not_negative(number: float) -> None:
    with pytest.raises(ValidationError):
        SourceReport(id=0, name="lobby", fps=number, state=SourceState.OPEN)


@pytest.mark.parametrize("name", ["edge-1", "a", "0", "a" * 63])
def test_a_name_is_lower_case_letters_digits_and_dashes(name: str) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "-a", "Edge", "a_b", "a.b", "a/b", "a\n", "a" * 64, "ä", "..", "a b", "a\0"])
def test_what_could_be_a_path_or_a_trick_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@given(st.floats(0, 2e11), st.floats(0, 2e11))
def test_ids_sort_by_the_time_of_their_making(one: float, other: float) -> None:
    if int(one * 1000) < int(other * 1000):
        assert new_id("q", one) < new_id("q", other)


def test_an_id_is_a_letter_and_26_characters_that_nobody_misreads() -> None:
    made = new_id("q", 1_795_300_801.0)
    assert TypeAdapter(QueryId).validate_python(made) == made
    assert re.fullmatch("q-[0-9a-z]{26}", made) and not set("ilou") & set(made[2:])


def test_a_thousand_ids_of_one_moment_differ() -> None:
    assert len({new_id("t", 1.0) for _ in range(1000)}) == 1000


def test_an_id_of_another_kind_is_no_query() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(QueryId).validate_python(new_id("t", 1.0))


def test_the_words_of_a_plan_are_text_on_the_wire() -> None:
    assert VideoConf(fps=20, resolution=Resolution.P720).model_dump(mode="json") == {
        "fps": 20,
        "resolution": "720p",
        "encoder": "JPEG",
    }
    assert Placement.model_validate({"node": "edge-1", "role": "host"}).role is StageRole.HOST
