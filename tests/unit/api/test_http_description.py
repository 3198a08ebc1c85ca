"""Is the description of the API true to the table it is made from?"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from node.api.compat import video
from node.api.examples import EXAMPLES
from node.api.reading import parse
from node.api.route import Route
from node.api.server import DESCRIBED as ROUTES

REFS = re.compile(r'"\$ref": "#/components/schemas/([^"]+)"')


@pytest.fixture
def described(door: Any) -> Any:
    return door.raw("GET", "/api/v1/openapi.json", token=None).json


def operation(described: Any, route: Route) -> Any:
    return described["paths"][re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path)][route.method.lower()]


def test_every_route_of_the_table_is_described(described: Any) -> None:
    for route in ROUTES:
        found = operation(described, route)
        assert set(map(str, route.answers)) <= set(found["responses"])
        assert {"400", "403", "500"} <= set(found["responses"])
        ways = ("bearer", "token") if route.group else ("bearer",)
        assert found["security"] == ([{way: [route.scope.name.lower()]} for way in ways] if route.scope else [])
    described_routes = sum(len(item) for item in described["paths"].values())
    assert described_routes == len(ROUTES)
    names = [one["operationId"] for item in described["paths"].values() for one in item.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=lambda route: f"{route.method} {route.path}")
def test_the_example_of_a_body_fits_its_model(described: Any, route: Route) -> None:
    content = operation(described, route)["requestBody"]["content"]["application/json"]
    assert route.body is not None
    assert content["example"] == EXAMPLES[route.body]
    parse(json.dumps(content["example"]).encode(), route.body)


def test_every_reference_leads_somewhere(described: Any) -> None:
    wanted = set(REFS.findall(json.dumps(described)))
    assert {"Query", "ProblemDetails", "NodeCard"} <= wanted <= set(described["components"]["schemas"])


def test_wall_times_are_described_as_they_are_answered(described: Any) -> None:
    fields = described["components"]["schemas"]["Query"]["properties"]
    assert fields["created_at"]["format"] == "date-time"
    assert [kind["type"] for kind in fields["ended_at"]["anyOf"]] == ["string", "null"]


def test_parameters_of_the_path_and_the_query_string_are_described(described: Any) -> None:
    results = described["paths"]["/api/v1/queries/{ref}/results"]["get"]["parameters"]
    assert {(one["in"], one["name"], one["required"]) for one in results} == {
        ("path", "ref", True),
        ("query", "after", False),
        ("query", "limit", False),
        ("query", "wait", False),
    }


def test_the_manual_shows_every_route_and_needs_nothing_from_elsewhere(door: Any) -> None:
    reply = door.raw("GET", "/api/docs", token=None)
    text = reply.body.decode()
    assert reply.headers["Content-Type"].startswith("text/html")
    for route in ROUTES:
        assert f"<b>{route.method}</b><code>{route.path}</code>" in text
    assert "head count" in text
    assert not re.search(r"<script|src=|href=.?https?://|url\(|@import", text)
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


def test_a_refusal_fits_the_described_problem(door: Any, described: Any) -> None:
    shape = described["components"]["schemas"]["ProblemDetails"]
    problem = door.raw("GET", "/api/v1/queries?limt=1").json
    assert set(problem) == set(shape["properties"])


def test_the_routes_of_the_originals_are_described_where_they_always_stand(door: Any, described: Any) -> None:
    originals = {path: item for path, item in described["paths"].items() if path.startswith("/compat/video/")}
    assert {path.removeprefix("/compat/video") for path in originals} == {route.path for route in video.ROUTES}
    for item in originals.values():
        for one in item.values():
            assert one["tags"] == ["compat/video"]
            refusal = one["responses"]["401"]["content"]["application/json"]["schema"]
            assert refusal == {"$ref": "#/components/schemas/OriginalFailure"}
    told = {tag["name"]: tag["description"] for tag in described["tags"]}
    assert "http.compat" in told["compat/video"]
    failure = door.raw("GET", "/compat/video/query/get_plan/GLOBAL_ID_9").json
    assert set(failure) == set(described["components"]["schemas"]["OriginalFailure"]["properties"])


@pytest.mark.parametrize("open_groups", [(), ("video",)])
def test_a_group_that_needs_no_token_from_this_machine_is_described_so(open_door: Any, open_groups: tuple[str, ...]) -> None:
    door = open_door(replace(open_door.__call__.__defaults__[0], compat_open=open_groups))
    described = door.raw("GET", "/api/v1/openapi.json", token=None).json
    asked = described["paths"]["/compat/video/get_service_list"]["get"]["security"]
    assert ({} in asked) == bool(open_groups)
    assert {} not in described["paths"]["/api/v1/node"]["get"]["security"]


def test_an_answer_of_the_originals_routes_fits_what_is_described(door: Any, described: Any) -> None:
    example = described["paths"]["/compat/video/query/submit_query"]["post"]
    refused = door.raw("POST", "/compat/video/query/submit_query", b"{}")
    assert str(refused.status) in example["responses"]
    door.submit()
    plan = door.raw("GET", "/compat/video/query/get_runtime/" + door.submit().id)
    wanted = described["components"]["schemas"]["OriginalRuntime"]
    assert set(plan.json) == set(wanted["properties"]) == set(wanted["required"])
