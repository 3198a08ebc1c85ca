"""Can a caller take results away as they come and as files, without missing one or getting one twice?"""

from __future__ import annotations

import csv
import http.client
import io
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from node.model.document import ResultItem, from_document
from node.model.export import COLUMNS
from tests.support.doors import TOKEN

ROUTE = "/api/v1/queries/{}/results.{}"


@pytest.fixture
def query(door: Any) -> str:
    made = door.submit().id
    door.run(door.store.queries.begin_attempt(made))
    door.give_results(made, [1, 2, 3])
    return str(made)


def events(body: bytes) -> list[tuple[str, str, Any]]:
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found


def test_a_table_has_a_column_for_every_field_of_a_result(door: Any, query: str) -> None:
    reply = door.raw("GET", ROUTE.format(query, "csv"))
    assert reply.headers["Content-Type"].startswith("text/csv")
    assert query in reply.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [row["cursor"] for row in rows] == ["1", "2", "3"]
    assert tuple(rows[0]) == COLUMNS
    assert json.loads(rows[0]["output"]) == {"bbox": [[1, 2, 3, 4]]}
    assert rows[1]["captured_at"] == "2023-11-14T22:13:22.500Z"


def test_a_line_of_json_is_the_result_that_a_page_has(door: Any, query: str) -> None:
    reply = door.raw("GET", ROUTE.format(query, "jsonl") + "?after=1")
    found = [from_document(ResultItem, json.loads(line)) for line in reply.body.splitlines()]
    with door.client() as client:
        assert tuple(found) == client.results(query, after=1).items


def test_more_results_than_a_page_are_written_page_by_page(door: Any, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.setattr("node.api.results.PAGE", 2)
    door.give_results(query, range(4, 10))
    assert len(door.raw("GET", ROUTE.format(query, "jsonl")).body.splitlines()) == 9


def test_results_are_told_as_they_come_and_the_end_closes_the_stream(door: Any, query: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=10)
    connection.request("GET", ROUTE.format(query, "sse"), headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    while not answer.readline().startswith(b"id: 3"):
        pass
    door.queries.polled.wait(10)
    door.give_results(query, [4])
    door.go(query, "stop")
    rest = events(answer.read())
    connection.close()
    assert [(id, kind) for id, kind, _ in rest if kind == "result"][-1:] == [("4", "result")]
    assert rest[-1][1] == "end"
    assert rest[-1][2]["state"] == "stopped"


def test_a_reader_that_comes_back_goes_on_behind_its_last_event(door: Any, query: str) -> None:
    door.go(query, "stop")
    headers = {"Last-Event-ID": "2"}
    kinds = [(id, kind) for id, kind, _ in events(door.raw("GET", ROUTE.format(query, "sse"), headers=headers).body)]
    assert kinds == [("3", "result"), ("", "end")]
    assert door.raw("GET", ROUTE.format(query, "sse"), headers={"Last-Event-ID": "x"}).status == 400


def test_files_of_an_unknown_query_are_not_found(door: Any) -> None:
    for form in ("csv", "jsonl", "sse"):
        assert door.raw("GET", ROUTE.format("q-none", form)).status == 404
