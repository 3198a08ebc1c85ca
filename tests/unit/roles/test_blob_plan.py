"""Is every piece asked for until it is there, and is nobody blamed for what another one sent?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.model.blob import CHUNK_BYTES, PIECE_BYTES, Layout, Marks
from node.roles.shared.blob_plan import Plan

SIZE = 5 * CHUNK_BYTES + PIECE_BYTES + 1
SOURCES = ("a", "b", "c")


def a_plan(size: int = SIZE, there: int = 0) -> tuple[Plan, Marks]:
    marks = Marks(Layout(size))
    marks.add(range(there))
    return Plan(marks), marks


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_every_chunk_is_whole_at_the_end_and_told_once(data: st.DataObject) -> None:
    plan, marks = a_plan(there=data.draw(st.integers(0, 7)))
    whole = {chunk for chunk in range(6) if marks.has(chunk)}
    out = []
    for now in range(data.draw(st.integers(0, 60))):
        source = data.draw(st.sampled_from(SOURCES))
        match data.draw(st.sampled_from(["take", "again", "arrive", "lose", "wrong"])):
            case "take":
                ask = plan.take(source, data.draw(st.integers(1, 4)), now)
                out += [ask] if ask else []
            case "again":
                old = plan.oldest_of_others(source)
                out += [plan.again(old, source, 4, now)] if old else []
            case "arrive" if out:
                ask = out.pop(data.draw(st.integers(0, len(out) - 1)))
                marks.add(ask.pieces)
                plan.answered(ask)
                done = plan.arrived(ask)
                assert done not in whole
                whole |= {done} if done is not None else set()
            case "lose" if out:
                ask = out.pop(data.draw(st.integers(0, len(out) - 1)))
                plan.answered(ask)
                plan.leave(ask.source)
            case "wrong" if whole:
                chunk = data.draw(st.sampled_from(sorted(whole)))
                whole.remove(chunk)
                marks.drop(chunk)
                plan.wrong(chunk)
    for ask in out:
        plan.answered(ask)
        plan.leave(ask.source)
    for source in SOURCES:
        plan.leave(source)
    while (ask := plan.take("a", 4, 0)) is not None:
        marks.add(ask.pieces)
        plan.answered(ask)
        done = plan.arrived(ask)
        assert done not in whole
        whole |= {done} if done is not None else set()
    assert whole == set(range(6))


@given(st.integers(0, SIZE), st.integers(1, 4))
def test_every_piece_is_asked_for_once_and_no_ask_leaves_its_chunk(size: int, most: int) -> None:
    plan, marks = a_plan(size)
    asked = []
    while (ask := plan.take("a", most, 0)) is not None:
        assert 0 < len(ask.pieces) <= most
        assert len({marks.layout.chunk_of(piece) for piece in ask.pieces}) == 1
        asked += ask.pieces
    assert asked == list(range(marks.layout.pieces))


def test_each_source_has_chunks_of_its_own() -> None:
    plan, marks = a_plan()
    asks = [plan.take(source, 1, 0) for _ in range(4) for source in ("a", "b")]
    chunks = {source: {marks.layout.chunk_of(ask.pieces.start) for ask in asks if ask.source == source} for source in "ab"}
    assert chunks == {"a": {0}, "b": {1}}


def test_the_author_of_a_wrong_chunk_is_named() -> None:
    plan, marks = a_plan()
    ask = plan.take("a", 4, 0)
    marks.add(ask.pieces)
    plan.answered(ask)
    assert plan.arrived(ask) == 0
    marks.drop(0)
    assert plan.wrong(0) == "a"


def test_nobody_is_blamed_for_a_chunk_of_several_and_it_comes_again_from_one() -> None:
    plan, marks = a_plan(CHUNK_BYTES, there=1)
    ask = plan.take("a", 4, 0)
    marks.add(ask.pieces)
    plan.answered(ask)
    assert plan.arrived(ask) == 0
    marks.drop(0)
    assert plan.wrong(0) is None, "an earlier run has a share in it"
    again = plan.take("b", 4, 0)
    assert again.pieces == range(4)
    assert plan.take("a", 4, 0) is None, "the chunk is the other one's alone"
    marks.add(again.pieces)
    plan.answered(again)
    assert plan.arrived(again) == 0
    assert plan.wrong(0) == "b"


def test_what_a_slow_source_was_asked_for_is_asked_of_one_other() -> None:
    plan, _ = a_plan(CHUNK_BYTES)
    slow = plan.take("slow", 4, 5.0)
    assert plan.take("quick", 4, 6.0) is None
    old = plan.oldest_of_others("quick")
    assert old is slow
    assert plan.oldest_of_others("slow") is None
    assert plan.again(old, "quick", 4, 7.0).pieces == slow.pieces
    assert plan.oldest_of_others("third") is None
