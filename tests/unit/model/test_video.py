"""Do plans, tallies and constraints mean what they say?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from node.model.video import (
    FPS_CHOICES,
    Constraint,
    Placement,
    Plan,
    QueryRequest,
    Resolution,
    StageRole,
    Tally,
    VideoConf,
)

PLAN = Plan(
    epoch=1,
    video_conf=VideoConf(fps=10, resolution=Resolution.P480),
    flow_mapping={
        "face_detection": Placement(node="edge-1", role=StageRole.HOST),
        "face_alignment": Placement(node="cloud-1", role=StageRole.CLOUD, model_id=1),
    },
)
TALLIES = st.builds(Tally, **{field: st.integers(0, 10**6) for field in Tally.model_fields})
REQUEST = {"node": "edge-1", "source": "lobby", "pipeline": ["face_detection"]}


def test_the_digest_does_not_know_the_epoch() -> None:
    assert PLAN.replace(epoch=99).digest() == PLAN.digest()


def test_the_digest_does_not_know_the_order_of_the_stages() -> None:
    turned = dict(reversed(PLAN.flow_mapping.items()))
    assert PLAN.replace(flow_mapping=turned).digest() == PLAN.digest()


def test_the_digest_is_the_same_in_every_release() -> None:
    assert PLAN.digest() == "cf2f97fb8b471e6e"


def test_the_digest_survives_the_wire() -> None:
    assert Plan.model_validate(json.loads(PLAN.model_dump_json())).digest() == PLAN.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"video_conf": VideoConf(fps=20)},
        {"video_conf": VideoConf(resolution=Resolution.P720)},
        {"flow_mapping": {}},
        {"flow_mapping": {**PLAN.flow_mapping, "face_alignment": Placement(node="edge-2", role=StageRole.EDGE, model_id=1)}},
        {"flow_mapping": {**PLAN.flow_mapping, "face_alignment": Placement(node="cloud-1", role=StageRole.CLOUD)}},
    ],
)
def test_another_choice_has_another_digest(change: dict[str, Any]) -> None:
    other = PLAN.replace(**change)
    assert other.digest() != PLAN.digest()
    assert not other.same_choice(PLAN)


def test_a_plan_of_another_epoch_may_be_the_same_choice() -> None:
    assert PLAN.same_choice(PLAN.replace(epoch=2))
    assert PLAN.replace(epoch=2) != PLAN


@given(TALLIES, TALLIES)
def test_tallies_add_field_by_field(one: Tally, other: Tally) -> None:
    total = one + other
    assert total == other + one
    assert total.model_dump() == {field: getattr(one, field) + getattr(other, field) for field in Tally.model_fields}
    assert one + Tally() == one


@pytest.mark.parametrize("resolution", list(Resolution))
def test_a_resolution_is_named_by_its_rows(resolution: Resolution) -> None:
    width, height = resolution.size
    assert f"{height}p" == resolution
    assert width > height


def test_resolutions_and_frame_rates_are_told_from_small_to_large() -> None:
    assert sorted(Resolution, key=lambda each: each.size) == list(Resolution)
    assert sorted(FPS_CHOICES) == list(FPS_CHOICES)


@pytest.mark.parametrize("fps", [0, 15, 60, "10"])
def test_a_frame_rate_that_is_not_offered_is_refused(fps: object) -> None:
    with pytest.raises(ValidationError):
        VideoConf.model_validate({"fps": fps})


@pytest.mark.parametrize(
    "field", [{"delay": 0.0}, {"delay": -1.0}, {"latency": float("inf")}, {"accuracy": 1.1}, {"speed": 1.0}]
)
def test_a_constraint_that_cannot_be_held_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Constraint.model_validate(field)


@pytest.mark.parametrize("pipeline", [[], ["x"] * 9, ["Face"], "face_detection", ["../x"], [1]])
def test_a_pipeline_is_one_to_eight_names(pipeline: object) -> None:
    with pytest.raises(ValidationError):
        QueryRequest.model_validate({**REQUEST, "pipeline": pipeline})


def test_a_request_needs_only_node_source_and_pipeline() -> None:
    request = QueryRequest.model_validate(REQUEST)
    assert (request.id, request.name, request.constraint) == (None, "", Constraint())
