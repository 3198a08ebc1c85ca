"""A value is written as its document says, whichever way it is written."""

from __future__ import annotations

import pytest
from pydantic_core import to_json

from node.model.document import PlanItem, to_document, write_document
from node.model.value import Value
from node.model.video import QUERY_LIFE, Constraint, Event, Plan, Query, QueryState, Runtime, VideoConf

PLAN = Plan(epoch=1, video_conf=VideoConf(resolution="360p", fps=1), flow_mapping={})
QUERY = Query(
    id="q-" + "0" * 26,
    name='a "name" with\ttabs, ü and \u2028',
    node="edge-1",
    source="lobby",
    pipeline=("face_detection",),
    constraint=Constraint(delay=1e-7),
    state=QUERY_LIFE.start,
    created_at=1795318519.0606916,
)
VALUES = (
    QUERY,
    QUERY.replace(plan=PLAN, ended_at=1795318520.0),
    Event(time=0.0, event="stop", state=QueryState.STOPPED),
    PlanItem(since_at=12.5, plan=PLAN),
    Runtime(),
)


@pytest.mark.parametrize("value", VALUES)
def test_the_written_document_is_the_document(value: Value) -> None:
    for _ in range(2):  # the second time it is at hand
        assert write_document(value) == to_json(to_document(value))


def test_what_is_at_hand_belongs_to_one_value() -> None:
    other = QUERY.replace(name="other")
    assert b'"other"' not in write_document(QUERY)
    assert b'"other"' in write_document(other)
