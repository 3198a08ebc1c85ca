"""What the text of a literal may say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.api.compat.literal import MAX_DEPTH, MAX_NUMBERS, MAX_PARTS, looks_like_literal, read_literal
from node.errors import Malformed, Rejected, TooLarge

PLAIN = st.text(
    st.characters(blacklist_characters="'\"\\\n", min_codepoint=32, max_codepoint=0x2FF, categories=["L", "N", "P"])
)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(NUMBERS | PLAIN, lambda inner: st.lists(inner, max_size=5) | st.tuples(inner, inner), max_leaves=20)


def as_lists(value: Any) -> Any:
    return [as_lists(part) for part in value] if isinstance(value, list | tuple) else value


def depth(value: Any) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list | tuple) else 0


@given(VALUES.filter(lambda value: depth(value) <= MAX_DEPTH))
@settings(deadline=None)  # a busy machine is no fault
def test_what_python_writes_is_read_back_with_tuples_as_lists(value: Any) -> None:
    assert read_literal(repr(value)) == as_lists(value)


@given(st.text("[](),.0123456789eE+- \n'\"ax_{}:*\\"))
@settings(max_examples=500, deadline=None)  # a busy machine is no fault
def test_any_text_gives_a_value_or_an_error_of_ours(text: str) -> None:
    try:
        read_literal(text)
    except Rejected:
        return


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[",
        "]",
        "[1",
        "[1 2]",
        "[,]",
        "[1,,2]",
        "[,1]",
        "(1]",
        "[[1], [2)]",
        "[1],[2]",
        "[1]x",
        "--1",
        "[[01]]",
        "nan",
        "f(1)",
        "[f]",
        "{}",
        "{1}",
        "[1]*9",
        "1+1",
        "[1_0]",
        "0x10",
        "[0x10]",
        "'a' 'b'",
        "'a\\n'",
        "b'a'",
        "None",
        "[True]",
        "...",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read_literal(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * (MAX_DEPTH + 1),
        "[" + "1," * (MAX_NUMBERS + 1) + "]",
        "[" + "[]," * (MAX_PARTS + 1) + "]",
        "[" + "[[1]]," * (MAX_PARTS + 1) + "]",
        "[" + "'a',1," * MAX_PARTS,
        f"[{2**53 + 1}]",
        f"[[{-(2**53) - 1}.5, {10**30}]]",
    ],
    ids=["depth", "numbers", "lists", "rows", "mixed", "large", "larger"],
)
def test_more_than_a_picture_is_too_large(text: str) -> None:
    with pytest.raises(TooLarge):
        read_literal(text)


def test_a_refusal_names_the_place_and_says_that_nothing_is_evaluated() -> None:
    with pytest.raises(Malformed, match=r"character 3, before .__import__") as refused:
        read_literal("[1,__import__('os')]")
    assert "nothing is evaluated" in refused.value.hint


@pytest.mark.parametrize(("text", "literal"), [("[1]", True), (" (1,)", True), ("/9j/4AAQ", False), ("", False)])
def test_base64_is_told_apart_from_a_list(text: str, literal: bool) -> None:
    assert looks_like_literal(text) is literal
