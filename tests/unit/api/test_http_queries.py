"""What can a caller do with queries over HTTP, and how are wrong requests answered?"""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from node.errors import Conflict, Invalid, NotFound
from node.model.video import Constraint, QueryState

SPEC: dict[str, Any] = {"node": "edge-1", "source": "lobby", "pipeline": ["face_detection"]}
ID = "q-01jd0000000000000000000000"


def faults(reply: Any) -> dict[str, str]:
    return {fault["path"]: fault["message"] for fault in reply.json["errors"]}


def test_a_new_query_is_created_and_the_same_one_again_is_not(door: Any) -> None:
    body = json.dumps({**SPEC, "id": ID}).encode()
    first, again = door.raw("POST", "/api/v1/queries", body), door.raw("POST", "/api/v1/queries", body)
    assert (first.status, again.status) == (201, 200)
    assert first.headers["Location"] == f"/api/v1/queries/{ID}"
    assert first.json == again.json
    assert first.json["created_at"].endswith("Z")
    other = door.raw("POST", "/api/v1/queries", json.dumps({**SPEC, "id": ID, "source": "road"}).encode())
    assert (other.status, other.json["code"]) == (409, "EC-CONFLICT")


def test_every_fault_is_named_by_its_path(door: Any) -> None:
    body = {"node": 7, "sorce": "lobby", "pipeline": ["ok", 3], "constraint": {"delay": "fast", "acuracy": 1}}
    reply = door.raw("POST", "/api/v1/queries", json.dumps(body).encode())
    assert (reply.status, reply.json["code"]) == (422, "EC-INVALID")
    found = faults(reply)
    assert set(found) == {"node", "source", "sorce", "pipeline.1", "constraint.delay", "constraint.acuracy"}
    assert found["source"] == "is required"
    assert found["sorce"] == "unknown field, did you mean 'source'?"
    assert found["constraint.acuracy"] == "unknown field, did you mean 'accuracy'?"


def test_a_text_is_not_taken_for_a_number(door: Any) -> None:
    reply = door.raw("POST", "/api/v1/queries", json.dumps({**SPEC, "constraint": {"delay": "0.3"}}).encode())
    assert "constraint.delay" in faults(reply)


def test_doubled_keys_are_refused_by_path(door: Any) -> None:
    body = b'{"node":"a","node":"b","source":"s","pipeline":["p"],"constraint":{"delay":1,"delay":2}}'
    reply = door.raw("POST", "/api/v1/queries", body)
    assert reply.status == 422
    assert faults(reply) == {"node": "is given twice", "constraint.delay": "is given twice"}


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_nan_is_refused_by_path(door: Any, word: bytes) -> None:
    body = b'{"node":"a","source":"s","pipeline":["p"],"constraint":{"delay":' + word + b"}}"
    reply = door.raw("POST", "/api/v1/queries", body)
    assert (reply.status, set(faults(reply))) == (422, {"constraint.delay"})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}", b"{} {}"])
def test_what_is_not_json_is_malformed(door: Any, body: bytes) -> None:
    reply = door.raw("POST", "/api/v1/queries", body)
    assert (reply.status, reply.json["code"]) == (400, "EC-MALFORMED")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"'])
def test_json_that_is_no_object_is_invalid(door: Any, body: bytes) -> None:
    assert door.raw("POST", "/api/v1/queries", body).status == 422


def test_only_plain_json_is_read(door: Any) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
        assert door.raw("POST", "/api/v1/queries", b"{}", headers=headers).status == 415


def test_a_list_is_read_page_by_page_newest_first(door: Any) -> None:
    made = [door.submit(name=f"query {number}").id for number in range(5)]
    with door.client() as client:
        first = client.queries(limit=3)
        rest = client.queries(limit=3, after=first.following)
        assert client.queries(QueryState.RUNNING).items == ()
    assert [query.id for query in (*first.items, *rest.items)] == made[::-1]
    assert rest.following is None


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("state=gone", "state"),
        ("after=x", "after"),
        ("limt=5", "limt"),
        ("limit=5&limit=6", "limit"),
    ],
)
def test_a_wrong_query_string_is_explained(door: Any, query: str, path: str) -> None:
    reply = door.raw("GET", f"/api/v1/queries?{query}")
    assert (reply.status, set(faults(reply))) == (422, {path})


@pytest.mark.parametrize("query", ["wait=31", "wait=nan", "wait=-1", "after=-1", "after=1.5"])
def test_a_wrong_wait_or_cursor_is_explained(door: Any, query: str) -> None:
    assert door.raw("GET", f"/api/v1/queries/{door.submit().id}/results?{query}").status == 422


def test_a_query_is_found_by_id_prefix_name_and_as_the_last(door: Any) -> None:
    query = door.submit(name="head count")
    with door.client() as client:
        for ref in (query.id, query.id[:-3], "head count", "@last"):
            assert client.query(ref) == query
        with pytest.raises(NotFound):
            client.query("nothing/like it")
        with pytest.raises(NotFound):
            client.query("x" * 300)


def test_a_constraint_is_merged(door: Any) -> None:
    query = door.submit()
    with door.client() as client:
        changed = client.constrain(query.id, Constraint(accuracy=0.9))
        assert changed.constraint == Constraint(delay=0.3, accuracy=0.9)
        assert client.constrain(query.id, Constraint(delay=None)).constraint == Constraint(accuracy=0.9)
        with pytest.raises(Invalid):
            client._send("PATCH", f"/queries/{query.id}/constraint", {"delay": -1})


def test_a_query_is_stopped_by_post_and_by_delete(door: Any) -> None:
    first, second = door.submit(), door.submit()
    assert door.raw("POST", f"/api/v1/queries/{first.id}/stop").json["state"] == "stopped"
    reply = door.raw("DELETE", f"/api/v1/queries/{second.id}")
    assert (reply.status, reply.json["state"]) == (200, "stopped")
    assert reply.json["ended_at"].endswith("Z")


def test_results_are_read_by_cursor(door: Any) -> None:
    query = door.submit()
    door.go(query.id, "plan", "start")
    door.run(door.store.queries.begin_attempt(query.id))
    door.give_results(query.id, [1, 2, 3, 4, 5])
    with door.client() as client:
        first = client.results(query.id, limit=3)
        rest = client.results(query.id, after=first.following, limit=3)
        nothing = client.results(query.id, after=rest.following)
    assert [item.n_loop for item in (*first.items, *rest.items)] == [1, 2, 3, 4, 5]
    assert first.items[0].captured_at == 1_700_000_001.5
    assert (nothing.items, nothing.following) == ((), rest.following)
    raw = door.raw("GET", f"/api/v1/queries/{query.id}/results").json["items"][0]
    assert raw["captured_at"] == "2023-11-14T22:13:21.500Z"
    assert "cursor" in raw


def test_a_long_poll_wakes_when_a_result_comes(door: Any) -> None:
    query = door.submit()
    door.go(query.id, "plan", "start")
    door.run(door.store.queries.begin_attempt(query.id))
    found: list[Any] = []
    with door.client() as client:
        poll = threading.Thread(target=lambda: found.append(client.results(query.id, wait=25.0)))
        poll.start()
        assert door.queries.polled.wait(5)
        door.give_results(query.id, [1])
        poll.join(5)
    assert [item.n_loop for item in found[0].items] == [1]


def test_plans_events_runtime_and_picture_are_shown(door: Any) -> None:
    query = door.submit()
    assert door.raw("GET", f"/api/v1/queries/{query.id}/plan").json == {"current": None, "history": []}
    door.go(query.id, "plan")
    with door.client() as client:
        current, history = client.plans("@last")
        assert current is not None
        assert [item.plan for item in history] == [current]
        assert [event.state for event in client.events("@last")][-1] == QueryState.READY
        assert client.runtime("@last").fps == 9.8
        assert client.picture("@last").startswith(b"\xff\xd8")
    assert door.raw("GET", f"/api/v1/queries/{query.id}/picture.jpg").headers["Content-Type"] == "image/jpeg"
    assert door.raw("GET", f"/api/v1/queries/{query.id}/events").json["items"][0]["time"].endswith("Z")


def test_a_node_without_the_role_says_which_one_has_it(open_door: Any) -> None:
    door = open_door(with_queries=False)
    reply = door.raw("GET", "/api/v1/queries")
    assert (reply.status, reply.json["code"]) == (404, "EC-NOT-FOUND")
    assert "cloud" in reply.json["detail"]
    assert door.raw("GET", "/api/v1/nodes").status == 200


def test_a_node_shows_itself_and_its_peers(door: Any) -> None:
    with door.client() as client:
        card = client.node()
        assert (card.report.name, card.fingerprint) == ("cloud-1", door.nodes.fingerprint)
        assert card.uptime_s >= 0
        assert [view.report.name for view in client.nodes()] == ["edge-1", "edge-2"]


def test_too_many_pollers_are_busy() -> None:
    import asyncio

    from node.api.polls import MAX_POLLS, Polls
    from node.errors import Busy

    async def crowd() -> None:
        polls, gate, full = Polls(), asyncio.Event(), asyncio.Event()

        async def work() -> int:
            if len(polls._tasks) == MAX_POLLS:
                full.set()
            await gate.wait()
            return 1

        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(polls.run(work, 0)) for _ in range(MAX_POLLS)]
            await full.wait()
            with pytest.raises(Busy):
                await polls.run(work, 0)
            polls.close()
        assert {task.result() for task in waiting} == {0}
        assert await polls.run(work, 7) == 7

    asyncio.run(crowd())


def test_a_refusal_keeps_its_kind_on_the_way_to_the_client(door: Any) -> None:
    door.submit(id=ID)
    with pytest.raises(Conflict):
        door.submit(id=ID, source="road")
    with pytest.raises(Invalid) as caught:
        door.submit(pipeline=[])
    assert [fault.path for fault in caught.value.problems] == ["pipeline"]
