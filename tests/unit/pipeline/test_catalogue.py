"""Services from outside: what they must say, and what becomes of what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from node.errors import ConfigInvalid, Invalid
from node.pipeline import catalogue, stage
from node.pipeline.stage import SERVICES, check_pipeline, declare

COUNTER = {"implementation": "shop.count:count", "needs": ["image"], "gives": ["queue_length"]}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = dict(SERVICES)
    yield
    stage._declared.clear()
    stage._declared.update(before)
    stage._checked.cache_clear()


def fault(tables: dict[str, dict[str, object]]) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        catalogue.install(tables)
    (problem,) = caught.value.problems
    return f"{problem.path}: {problem.message}"


def test_a_table_with_an_implementation_is_a_service_that_a_pipeline_may_name() -> None:
    with pytest.raises(Invalid):
        check_pipeline(["queue_counter"])
    catalogue.install({"queue_counter": {**COUNTER, "cpu": 0.5, "memory": 64 * 2**20}})
    (spec,) = check_pipeline(["queue_counter"])
    assert (spec.user, spec.cpu, spec.memory_mib) == (True, 0.5, 64.0)
    assert spec.gives == {"queue_length"}


def test_a_table_may_bring_the_model_that_a_built_in_service_lacks() -> None:
    catalogue.install({"helmet_detection": {"implementation": "site.helmets:Helmets"}})
    spec = SERVICES["helmet_detection"]
    assert (spec.implementation, spec.needs, spec.gives) == ("site.helmets:Helmets", {"clip"}, {"clip_result"})


def test_a_table_of_a_built_in_service_changes_when_a_heavier_model_looks_again() -> None:
    before = SERVICES["car_detection"]
    catalogue.install({"car_detection": {"escalate_below": 0.5}})
    assert SERVICES["car_detection"] == replace(before, escalate_below=0.5)


def test_who_has_one_model_cannot_go_to_a_heavier_one() -> None:
    assert "no heavier model" in fault({"face_detection": {"escalate_below": 0.5}})


def test_a_service_that_says_nothing_of_its_inputs_is_refused_with_its_table() -> None:
    assert fault({"queue_counter": {**COUNTER, "needs": []}}).startswith("services.queue_counter: says nothing")
    assert fault({"queue_counter": {}}).startswith("services.queue_counter: is no built-in service")
    assert fault({"queue_counter": {**COUNTER, "gives": ["Queue Length"]}}).startswith("services.queue_counter: ")


def test_a_ladder_names_every_model_once() -> None:
    with pytest.raises(Invalid, match="ladder"):
        declare(replace(SERVICES["car_detection"], ladder=(0, 1)))


def test_an_entry_point_brings_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(SERVICES["motion_detection"], name="shaking", user=True)
    monkeypatch.setattr(stage, "shaking", spec, raising=False)
    points = [EntryPoint("shaking", "node.pipeline.stage:shaking", catalogue.GROUP)]
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points)
    catalogue.install({})
    assert SERVICES["shaking"] is spec


@pytest.mark.parametrize("place", ["node.pipeline.stage:SERVICES", "node.pipeline.nowhere:spec"])
def test_an_entry_point_that_is_no_service_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [EntryPoint("shaking", place, group)])
    assert fault({}).startswith("services.shaking: entry point")
