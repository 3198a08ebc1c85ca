"""Do the bodies of the wire survive every codec, and who may send them?"""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue, ValidationError
from wire_examples import EXAMPLES

from node.model.cluster import Role
from node.model.value import Value
from node.model.wire import METHODS
from node.model.wire.compute import ComputeRequest
from node.model.wire.job import JobProgress
from node.model.wire.method import Method

BOTH = [(method, side) for method in METHODS for side in (0, 1)]


def name(value: object) -> str:
    return value.name if isinstance(value, Method) else ("request", "reply")[int(str(value))]


def test_every_verb_stands_for_one_method() -> None:
    names = [method.name for method in METHODS]
    assert sorted(set(names)) == sorted(names)
    assert all(part.isidentifier() for verb in names for part in verb.split("."))


def test_every_method_has_callers_and_only_the_cloud_gives_orders() -> None:
    callers = {method.name: method.callers for method in METHODS}
    assert all(callers.values())
    assert {verb for verb, roles in callers.items() if roles == {Role.CLOUD}} == {
        "task.start",
        "task.go",
        "task.stop",
        "task.revise",
        "task.log",
        "job.start",
        "job.plan",
        "job.stop",
        "job.trial",
        "job.picture",
        "member.roster",
        "plot.cached",
        "plot.control",
        "plot.create",
        "plot.log",
        "plot.pending",
        "plot.status",
        "plot.stop",
        "relay.give",
        "relay.give_data",
    }
    assert {verb for verb, roles in callers.items() if not roles <= set(Role)} == {"member.join"}
    assert callers["job.progress"] == {Role.EDGE}
    assert callers["node.report"] == callers["blob.manifest"] == callers["blob.chunk"] == set(Role)


@pytest.mark.parametrize(("method", "side"), BOTH, ids=name)
def test_a_body_comes_back_from_json_as_it_was(method: Method[Value, Value], side: int) -> None:
    body = EXAMPLES[method.name][side]
    assert type(body).model_validate_json(body.model_dump_json()) == body


@pytest.mark.parametrize(("method", "side"), BOTH, ids=name)
def test_a_body_comes_back_from_plain_data_as_it_was(method: Method[Value, Value], side: int) -> None:
    body = EXAMPLES[method.name][side]
    plain: dict[str, JsonValue] = body.model_dump(mode="json")
    assert only_plain(plain)
    assert type(body).model_validate(json.loads(json.dumps(plain))) == body


@pytest.mark.parametrize(("method", "side"), BOTH, ids=name)
def test_a_body_with_an_unknown_field_is_refused(method: Method[Value, Value], side: int) -> None:
    body = EXAMPLES[method.name][side]
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(body).model_validate({**body.model_dump(mode="json"), "caller_roles": ["cloud"]})


def test_a_reply_of_nothing_but_ok_cannot_say_no() -> None:
    (stop,) = (method for method in METHODS if method.name == "job.stop")
    assert stop.reply.model_validate({}) == stop.reply.model_validate({"ok": True})
    with pytest.raises(ValidationError):
        stop.reply.model_validate({"ok": False})


def test_the_lists_of_a_body_are_bounded() -> None:
    progress = EXAMPLES["job.progress"][0]
    assert isinstance(progress, JobProgress)
    with pytest.raises(ValidationError, match="at most 64"):
        progress.replace(results=progress.results * 65)
    with pytest.raises(ValidationError, match="at most 16"):
        ComputeRequest.model_validate({"stages": [{"service": "x"}], "pictures": [{"name": "image", "count": 1}] * 17})


def only_plain(value: object) -> bool:
    """Whether JSON and msgpack both have it."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and only_plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(only_plain, value))
    return value is None or type(value) in {bool, int, float, str}
