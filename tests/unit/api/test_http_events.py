"""Does a listener hear everything once, in order, and can it neither hold up the node nor be held up for ever?"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from node.api import events as streams
from node.clock import SystemClock
from node.errors import Busy, NotFound
from node.model.event import Topic
from node.roles.shared import events
from node.roles.shared.events import EventBus, encode

TOKEN = "a-token-of-the-tests-0123456789"
PATH = "/api/v1/events"


@contextmanager
def listening(door: Any, query: str = "", last: str = "") -> Iterator[Iterator[tuple[str, str, Any]]]:
    connection = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=10)
    headers = {"Authorization": f"Bearer {TOKEN}", **({"Last-Event-ID": last} if last else {})}
    connection.request("GET", f"{PATH}?{query}" if query else PATH, headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    try:
        yield read(answer)
    finally:
        answer.close()
        connection.close()


def read(lines: Any) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        text = line.decode().rstrip("\n")
        if text.startswith(":"):
            yield "", "comment", None
        elif text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}


def bus(door: Any) -> EventBus:
    found = door.server._door.ports.events
    assert isinstance(found, EventBus)
    return found


def tell(door: Any, *numbers: int, topic: Topic = Topic.NODES) -> None:
    async def publish() -> None:
        for number in numbers:
            bus(door).publish(topic, "node", "edge-1", {"number": number})

    door.run(publish())


def test_the_first_event_is_a_snapshot_and_then_comes_what_happens(door: Any) -> None:
    old = door.submit()
    with listening(door) as heard:
        identity, event, data = next(heard)
        assert (event, identity) == ("snapshot", bus(door).name(1))
        assert [query["id"] for query in data["queries"]] == [old.id]
        assert [view["report"]["name"] for view in data["nodes"]] == ["edge-1", "edge-2"]
        new = door.submit()
        tell(door, 7)
        (_, first, query), (_, second, node) = next(heard), next(heard)
        assert (first, query["id"], query["created_at"][-1]) == ("query", new.id, "Z")
        assert (second, node) == ("node", {"number": 7})


def test_only_the_chosen_topics_are_told(door: Any) -> None:
    with listening(door, "topics=nodes") as heard:
        assert set(next(heard)[2]) == {"nodes"}
        door.submit()
        tell(door, 1)
        assert next(heard)[1:] == ("node", {"number": 1})


def test_a_listener_that_comes_back_goes_on_where_it_stopped(door: Any) -> None:
    with listening(door) as heard:
        last, _, _ = next(heard)
    tell(door, 1, 2, 3)
    with listening(door, last=last) as heard:
        found = [next(heard) for _ in range(3)]
    assert [data["number"] for _, _, data in found] == [1, 2, 3]
    with listening(door, last=found[1][0]) as heard:
        assert next(heard)[2] == {"number": 3}


@pytest.mark.parametrize("last", ["00000000-1", "nonsense", "x-99", "-"])
def test_a_listener_from_before_a_restart_is_told_to_begin_again(door: Any, last: str) -> None:
    with listening(door, last=last) as heard:
        assert [next(heard)[1] for _ in range(2)] == ["resync", "snapshot"]


def test_a_gap_is_told(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(door) as heard:
        last, _, _ = next(heard)
    monkeypatch.setattr(events, "RING_EVENTS", 3)
    tell(door, 1, 2, 3, 4)
    with listening(door, last=last) as heard:
        assert [next(heard)[1] for _ in range(2)] == ["resync", "snapshot"]
    with listening(door, last=bus(door).name(1)) as heard:
        assert next(heard)[2] == {"number": 2}


def test_a_query_is_followed_to_its_end(door: Any) -> None:
    query, other = door.submit(name="head count"), door.submit()
    with listening(door, "query=head%20count") as heard:
        assert next(heard)[2]["query"]["id"] == query.id
        door.go(other.id, "plan", "start")
        door.go(query.id, "plan", "start")
        door.run(door.store.queries.begin_attempt(query.id))
        door.give_results(query.id, [1, 2])
        door.go(query.id, "end")
        told = list(heard)
    assert {data["id"] for _, _, data in told} == {query.id}
    assert [event for _, event, _ in told] == ["query", "query", "query", "progress", "query", "end"]
    assert told[3][2]["tally"]["captured"] == 2
    assert told[-1][2]["state"] == "finished"


def test_a_query_that_is_over_is_told_with_its_end_also_to_who_comes_back(door: Any) -> None:
    query = door.submit()
    door.go(query.id, "stop")
    for last in ("", bus(door).name(bus(door).number)):
        with listening(door, f"query={query.id}", last=last) as heard:
            *_, (_, event, data) = heard
        assert (event, data["state"]) == ("end", "stopped")


def test_without_follow_what_is_at_hand_is_told_and_the_stream_ends(door: Any) -> None:
    tell(door, 1, 2)
    with listening(door, "follow=false") as heard:
        assert [data["number"] for _, _, data in heard] == [1, 2]


def test_silence_is_broken_by_comments(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.05)
    with listening(door) as heard:
        assert [next(heard)[1] for _ in range(3)] == ["snapshot", "comment", "comment"]


def drained(line: socket.socket) -> bytes:
    """What still comes over a line until it ends, with or without a reset."""
    found = b""
    try:
        while piece := line.recv(65536):
            found = found[-100:] + piece
    except ConnectionResetError:
        pass
    return found


def test_a_reader_that_is_too_slow_is_cut_with_a_log_line(
    door: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "RING_EVENTS", 8)
    monkeypatch.setattr(streams, "WRITE_TIMEOUT", 0.2)
    with socket.create_connection((urlsplit(door.url).hostname, urlsplit(door.url).port), timeout=10) as line:
        line.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        line.recv(1)

        async def flood() -> None:
            for _ in range(400):
                bus(door).publish(Topic.NODES, "node", "edge-1", {"text": "x" * 60_000})
                await SystemClock().sleep(0.005)
                if "listener cut" in caplog.text:
                    return

        door.run(flood())
        assert "listener cut" in caplog.text
        assert not drained(line).endswith(b"0\r\n\r\n")
    with listening(door) as heard:
        assert next(heard)[1] == "snapshot"


def test_listeners_are_bounded(open_door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_LISTENERS", 2)
    door = open_door()
    with listening(door) as first, listening(door) as second:
        next(first), next(second)
        reply = door.raw("GET", PATH)
        assert (reply.status, reply.json["code"], reply.headers["Retry-After"]) == (503, "EC-BUSY", "1")


@pytest.mark.parametrize(
    "query", ["topics=projects", "topics=nodes,", "topics=", "follow=perhaps", "query=", "topic=nodes", "query=a&session=b"]
)
def test_a_wrong_wish_is_explained(door: Any, query: str) -> None:
    assert door.raw("GET", f"{PATH}?{query}").status == 422


def test_a_query_that_nobody_knows_is_not_found(open_door: Any) -> None:
    assert open_door().raw("GET", f"{PATH}?query=none").status == 404
    assert open_door(with_queries=False).raw("GET", f"{PATH}?query=none").status == 404
    assert open_door().raw("GET", f"{PATH}?session=none").status == 404


def test_stopping_ends_the_streams(door: Any) -> None:
    with listening(door) as heard:
        next(heard)
        door.run(door.server.stop())
        assert list(heard) == []


def test_the_client_goes_on_over_a_broken_line(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from node.client import stream

    monkeypatch.setattr(stream, "REDIAL_AFTER", 0.01)
    query = door.submit()
    found: list[Any] = []
    ready = threading.Event()

    def follow() -> None:
        with door.client() as client:
            for event in client.follow(query=query.id):
                found.append(event)
                ready.set()

    caller = threading.Thread(target=follow)
    caller.start()
    assert ready.wait(5)
    door.go(query.id, "plan")

    async def cut() -> None:
        for line in door.server._runner.server.connections:
            line.force_close()

    door.run(cut())
    door.go(query.id, "start", "end")
    caller.join(10)
    assert [event.event for event in found] == ["snapshot", "query", "query", "query", "query", "end"]
    assert [event.data.get("state") for event in found[1:]] == ["unscheduled", "ready", "running", "finished", "finished"]


def test_the_client_hears_why_it_may_not_listen(door: Any) -> None:
    with door.client() as client:
        with pytest.raises(NotFound):
            next(client.follow(query="none"))
        door.server._door.listening._value = 0
        with pytest.raises(Busy):
            next(client.follow())


async def test_the_ring_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RING_BYTES", 1000)
    ring = EventBus()
    for number in range(50):
        ring.publish(Topic.NODES, "node", "edge-1", {"text": "x" * 100, "number": number})
    assert 1 <= len(ring.after(0)) <= 10
    assert ring.after(0)[-1].number == ring.number
    assert ring.cursor(ring.name(ring.oldest)) == ring.oldest
    assert ring.cursor(ring.name(ring.oldest - 1)) is None
    assert ring.cursor(ring.name(ring.number + 1)) is None


def test_an_event_is_one_line_of_data_whatever_its_text() -> None:
    assert encode("node", {"text": "a\nb\r\nc\u2028"}, "x-1").count(b"\n") == 4
