"""Values survive the way into a row and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import StrictBool

from node.errors import Internal
from node.model.value import Count, Items, Seconds, Text, Value, Word
from node.storage.rows import JsonField, columns, decode, encode, in_order


class Colour(Word):
    RED = "red"
    BLUE = "blue"


class Inner(Value):
    words: Items[Text] = ()


class Sample(Value):
    label: Text
    colour: Colour
    count: Count
    age: Seconds | None = None
    inner: Inner
    maybe: Inner | None = None
    flag: StrictBool = False


inners = st.builds(Inner, words=st.lists(st.text(max_size=5), max_size=3).map(tuple))
samples = st.builds(
    Sample,
    label=st.text(max_size=20),
    colour=st.sampled_from(Colour),
    count=st.integers(0, 2**53),
    age=st.none() | st.floats(0, 1e9),
    inner=inners,
    maybe=st.none() | inners,
    flag=st.booleans(),
)


@given(samples)
def test_what_is_encoded_is_decoded_as_it_was(sample: Sample) -> None:
    assert decode(Sample, list(encode(sample).values())) == sample


def test_a_nested_field_is_json_text_and_an_optional_one_may_be_null() -> None:
    made = columns(Sample, unique={"label"})
    assert [name for name, column in made.items() if isinstance(column, JsonField)] == ["inner", "maybe"]
    assert [name for name, column in made.items() if column.null] == ["age", "maybe"]
    assert [name for name, column in made.items() if column.unique] == ["label"]


@given(samples)
def test_the_row_in_order_is_the_one_by_name(sample: Sample) -> None:
    assert in_order(sample) == list(encode(sample).values())


def test_a_row_that_this_release_does_not_understand_is_an_internal_error() -> None:
    with pytest.raises(Internal, match="stored sample"):
        decode(Sample, ["l", "green", 1, None, "{}", None, 0])
