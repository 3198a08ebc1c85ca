"""Which pipelines can run, and what is told of those that can not?"""

from __future__ import annotations

import importlib

import pytest

from node.errors import Invalid
from node.model.video import Resolution
from node.pipeline.stage import PICTURES, SERVICES, SOURCE_GIVES, check_pipeline


def problems(*pipeline: str) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        check_pipeline(pipeline)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_a_pipeline_gives_its_services_in_order() -> None:
    assert [spec.name for spec in check_pipeline(["face_detection", "face_alignment"])] == ["face_detection", "face_alignment"]
    assert [spec.name for spec in check_pipeline(["face_detection"])] == ["face_detection"]


def test_an_unknown_service_is_named_with_the_known_ones() -> None:
    assert problems("face_detektion") == [("pipeline.0", "no service 'face_detektion'; there are: " + ", ".join(SERVICES))]


def test_a_stage_before_the_one_that_feeds_it_is_told_what_it_lacks() -> None:
    assert problems("face_alignment", "face_detection") == [
        ("pipeline.0", "'face_alignment' needs bbox, faces, which no earlier stage gives")
    ]


def test_a_repeated_stage_is_refused() -> None:
    assert problems("face_detection", "face_detection") == [("pipeline.1", "'face_detection' stands in the pipeline twice")]


def test_every_fault_is_told_at_once() -> None:
    assert [path for path, _ in problems("nothing", "face_alignment", "face_detection", "face_detection")] == [
        "pipeline.0",
        "pipeline.1",
        "pipeline.3",
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_a_declared_service_can_be_run(name: str) -> None:
    spec = SERVICES[name]
    module, _, attribute = spec.implementation.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute).run)
    assert spec.name == name
    assert spec.models >= 1
    assert 0.0 <= spec.fixed_share <= 1.0


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_finds_no_less_in_a_larger_picture(name: str) -> None:
    curve = [SERVICES[name].accuracy[resolution] for resolution in Resolution]
    assert curve == sorted(curve)
    assert 0.0 < curve[0] <= curve[-1] == 1.0


def test_what_a_camera_gives_is_a_picture() -> None:
    assert SOURCE_GIVES <= PICTURES
