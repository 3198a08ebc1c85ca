"""Is a short body read as carefully as a long one?"""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, JsonValue

from node.api import reading
from node.api.reading import parse
from node.errors import Invalid, Rejected
from node.model.value import Items, Value
from node.model.video import QueryRequest


class Inner(Value):
    a: float | None = None
    b: Annotated[dict[str, JsonValue], Field(max_length=9)] = {"given": "by nobody"}


class Outer(Value):
    name: str = ""
    inner: Inner = Inner(a=1.0)
    many: Items[Inner] = ()


INNER = st.fixed_dictionaries({}, optional={"a": st.floats(0, 1), "b": st.dictionaries(st.text(max_size=3), st.integers())})
OUTER = st.fixed_dictionaries(
    {}, optional={"name": st.text(alphabet='x:"{}N\\', max_size=6), "inner": INNER, "many": st.lists(INNER, max_size=3)}
)


def slowly(content: bytes) -> Outer:
    # spaces change nothing but the length
    return parse(content + b" " * reading.SHORT_BODY, Outer)


@given(OUTER)
def test_a_short_document_reads_as_a_long_one_does(document: dict[str, JsonValue]) -> None:
    content = json.dumps(document).encode()
    try:
        expected = slowly(content)
    except Rejected as error:
        with pytest.raises(type(error)):
            parse(content, Outer)
    else:
        assert parse(content, Outer) == expected


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b'{"name":"x","name":"x"}', "name"),
        (b'{"name":"x","na\\u006de":"y"}', "name"),
        (b'{"inner":{"a":0.5,"a":0.5}}', "inner.a"),
        (b'{"many":[{"a":0.5},{"a":0.5,"a":0.1}]}', "many.1.a"),
        (b'{"inner":{"b":{"k":1,"k":1}}}', "inner.b.k"),
        (b'{"name":"x","name":":"}', "name"),
    ],
)
def test_a_key_that_came_twice_is_found_in_a_short_document(content: bytes, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(content, Outer)
    assert [fault.path for fault in caught.value.problems] == [path]


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_no_number_is_found_in_a_short_document(word: bytes) -> None:
    with pytest.raises(Invalid, match="document"):
        parse(b'{"inner":{"a":' + word + b"}}", Outer)


def test_a_colon_inside_a_text_is_no_fault() -> None:
    assert parse(b'{"name":"rtsp://camera"}', Outer).name == "rtsp://camera"


def test_a_key_that_came_twice_is_found_beside_a_graph_which_is_kept_in_two_fields() -> None:
    content = b'{"node":"edge-1","node":"edge-2","source":"lobby","pipeline":{"face_detection":[]}}'
    with pytest.raises(Invalid) as caught:
        parse(content, QueryRequest)
    assert [fault.path for fault in caught.value.problems] == ["node"]
