"""Does a call that is sent twice take effect once, and does a change meet the record that its sender saw?"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from node.errors import Invalid, StorageFailed
from node.model.access import TokenRequest, TokenScope

SPEC: dict[str, Any] = {"node": "edge-1", "source": "lobby", "pipeline": ["face_detection"]}
BODY = json.dumps(SPEC).encode()
QUERIES = "/api/v1/queries"
CONSTRAINT = {"delay": 0.3, "latency": None, "accuracy": None, "weight": None}  # of what these tests submit


def post(door: Any, key: str, body: bytes | None = BODY, path: str = QUERIES, **more: Any) -> Any:
    return door.raw("POST", path, body, headers={"Idempotency-Key": key}, **more)


def count(door: Any) -> int:
    return len(door.raw("GET", QUERIES).json["items"])


def test_a_repeat_gets_the_first_answer_and_makes_nothing(door: Any) -> None:
    first, again = post(door, "order-66"), post(door, "order-66")
    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body
    assert again.headers["Location"] == first.headers["Location"]
    assert (first.headers["Idempotency-Replayed"], again.headers["Idempotency-Replayed"]) == (None, "true")
    assert count(door) == 1


def test_the_same_key_with_another_body_or_path_is_a_conflict(door: Any) -> None:
    identity = post(door, "a").json["id"]
    other = json.dumps({**SPEC, "source": "road"}).encode()
    for reply in (post(door, "a", other), post(door, "a", None, f"{QUERIES}/{identity}/stop")):
        assert (reply.status, reply.json["code"]) == (409, "EC-CONFLICT")
        assert "key" in reply.json["hint"]


def test_calls_without_a_key_are_calls_of_their_own(door: Any) -> None:
    assert [door.raw("POST", QUERIES, BODY).status for _ in range(2)] == [201, 201]
    assert count(door) == 2


def test_a_stop_may_be_repeated_under_its_key(door: Any) -> None:
    identity = post(door, "a").json["id"]
    replies = [post(door, "b", None, f"{QUERIES}/{identity}/stop") for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].json["state"] == "stopped"


def test_a_refused_call_leaves_its_key_free(door: Any) -> None:
    assert post(door, "a", b'{"node":7}').status == 422
    assert post(door, "a").status == 201


@pytest.mark.parametrize("key", ["", "two words", "x" * 201, "\xfc"])
def test_a_key_is_one_word(door: Any, key: str) -> None:
    reply = post(door, key)
    assert (reply.status, reply.json["errors"][0]["path"]) == (422, "Idempotency-Key")


def test_callers_do_not_see_each_others_answers(door: Any) -> None:
    made = door.run(door.server._door.keyring.make(TokenRequest(scope=TokenScope.SUBMIT)))
    first, other = post(door, "a"), post(door, "a", token=made.secret)
    assert first.json["id"] != other.json["id"]
    assert count(door) == 2


def test_a_repeat_while_the_first_is_under_way_waits_for_its_answer(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go = threading.Event(), threading.Event()
    submit = door.queries.submit

    async def slow(request: Any) -> Any:
        began.set()
        await asyncio.get_running_loop().run_in_executor(None, go.wait)
        return await submit(request)

    monkeypatch.setattr(door.queries, "submit", slow)
    replies: list[Any] = []
    callers = [threading.Thread(target=lambda: replies.append(post(door, "a"))) for _ in range(3)]
    for caller in callers:
        caller.start()
    assert began.wait(5)
    other = post(door, "a", json.dumps({**SPEC, "source": "road"}).encode())
    assert other.status == 409
    go.set()
    for caller in callers:
        caller.join(5)
    assert [reply.status for reply in replies] == [201, 201, 201]
    assert len({reply.body for reply in replies}) == 1
    assert count(door) == 1


def test_an_answer_that_was_lost_in_a_crash_is_made_again_of_the_same_record(
    door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise StorageFailed("the crash comes here")

    with monkeypatch.context() as patch:
        patch.setattr(door.store.answers, "keep", refuse)
        assert post(door, "a").status == 507
    again = post(door, "a")
    assert (again.status, count(door)) == (200, 1)
    assert post(door, "a").body == again.body


def test_a_refusal_after_a_lost_answer_does_not_free_the_key(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise StorageFailed("the crash comes here")

    async def unknown(_: Any) -> None:
        raise Invalid("no node has joined yet")

    with monkeypatch.context() as patch:
        patch.setattr(door.store.answers, "keep", refuse)
        assert post(door, "a").status == 507
    with monkeypatch.context() as patch:
        patch.setattr(door.queries, "submit", unknown)
        assert post(door, "a").status == 422
    assert post(door, "a").status == 200
    assert count(door) == 1


def test_what_holds_a_secret_is_never_kept(door: Any) -> None:
    reply = post(door, "a", b'{"scope":"read"}', "/api/v1/tokens")
    assert (reply.status, reply.json["code"]) == (400, "EC-REJECTED")


def test_a_change_meets_the_record_that_was_read(door: Any) -> None:
    query = door.submit()
    path = f"{QUERIES}/{query.id}"
    tag = door.raw("GET", path).headers["ETag"]
    change = f"{path}/constraint"
    done = door.raw("PATCH", change, b'{"accuracy":0.9}', headers={"If-Match": tag})
    assert done.status == 200
    late = door.raw("PATCH", change, b'{"accuracy":0.5}', headers={"If-Match": tag})
    assert (late.status, late.json["code"]) == (412, "EC-STALE")
    assert done.headers["ETag"] in late.json["hint"]
    for good in (done.headers["ETag"], "*", f'"x", {done.headers["ETag"]}'):
        assert door.raw("PATCH", change, b"{}", headers={"If-Match": good}).status == 200
    assert door.raw("PATCH", change, b'{"accuracy":0.7}').json["constraint"] == CONSTRAINT | {"accuracy": 0.7}


def test_figures_do_not_change_the_etag(door: Any) -> None:
    query = door.submit()
    before = door.raw("GET", f"{QUERIES}/{query.id}").headers["ETag"]
    door.go(query.id, "plan", "start")
    assert door.raw("GET", f"{QUERIES}/{query.id}").headers["ETag"] == before


def test_changes_of_two_fields_at_once_are_both_made(door: Any) -> None:
    query = door.submit()
    path = f"{QUERIES}/{query.id}/constraint"
    callers = [
        threading.Thread(target=lambda body=body: door.raw("PATCH", path, body))  # type: ignore[misc]
        for body in (b'{"accuracy":0.9}', b'{"latency":1.5}')
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(5)
    assert door.raw("GET", f"{QUERIES}/{query.id}").json["constraint"] == CONSTRAINT | {"latency": 1.5, "accuracy": 0.9}
