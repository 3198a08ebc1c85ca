"""The judgement of a receiver over a batch, case by case."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from node.errors import Stale
from node.model.delivery import Batch, Position, Verdict, judge

HERE, ELSEWHERE, LIFE, OTHER_LIFE = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)
KNOWN = Position(boot=5, life=LIFE, turn=7, low=10, taken=14)


def a_batch(**changes: object) -> Batch:
    batch = Batch(stream="e" * 32, boot=5, life=LIFE, turn=8, reader=HERE, low=12, last=20, first=15, methods=("job.progress",))
    return batch.replace(**changes)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.TAKE),
        ({"first": 13}, Verdict.TAKE),  # again, because its acknowledgement was not heard
        ({"boot": 6, "life": OTHER_LIFE, "turn": 1, "low": 10, "first": 11}, Verdict.TAKE),  # after a kill
        ({"low": 14, "last": 14, "methods": ()}, Verdict.TAKE),
        ({"reader": ELSEWHERE}, Verdict.TAKE),  # this memory is newer than what the sender believes
        ({"reader": ELSEWHERE, "low": 17, "first": 18}, Verdict.ADOPT),
        ({"turn": 7}, Verdict.LATE),
        ({"turn": 3, "low": 2, "first": 3, "last": 3}, Verdict.LATE),
        ({"boot": 4, "life": OTHER_LIFE}, Verdict.OLD),
    ],
)
def test_a_batch_of_a_known_stream_is_judged_by_life_turn_and_marks(changes, verdict):
    assert judge(a_batch(**changes), KNOWN, HERE) is verdict


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"life": OTHER_LIFE}, "two nodes run as boot epoch 5"),
        ({"low": 9, "first": 10}, "sender was copied or set back: it stands at 9 to 20, heard of before were 10 to 14"),
        ({"boot": 6, "low": 10, "first": 11, "last": 13}, "sender was copied or set back"),
        ({"low": 16, "first": 17}, "receiver was set back: 16 was acknowledged and only 14 is known"),
    ],
)
def test_a_memory_that_was_copied_or_set_back_is_refused_with_a_next_step(changes, says):
    with pytest.raises(Stale, match=says) as refusal:
        judge(a_batch(**changes), KNOWN, HERE)
    assert "ecnode outbox renew" in refusal.value.hint


def test_an_unknown_stream_begins_where_its_sender_stands_unless_this_memory_has_acknowledged_it():
    assert judge(a_batch(reader="", low=0, first=1), None, HERE) is Verdict.ADOPT
    assert judge(a_batch(reader=ELSEWHERE), None, HERE) is Verdict.ADOPT
    with pytest.raises(Stale, match="receiver was set back"):
        judge(a_batch(), None, HERE)


@pytest.mark.parametrize(
    "changes", [{"first": 12}, {"first": 20, "methods": ("a.b", "a.b")}, {"methods": ("a.b",) * 65}, {"methods": ("A b",)}]
)
def test_a_batch_that_contradicts_itself_is_no_batch(changes):
    with pytest.raises(ValidationError):
        a_batch(**changes)
