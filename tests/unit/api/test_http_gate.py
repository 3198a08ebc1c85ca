"""Who comes through the front door, and what does it say to the others?"""

from __future__ import annotations

import json
import logging
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.api.server import ROUTES, HttpServer, split
from node.clock import ManualClock, SystemClock
from node.errors import Busy, ConfigInvalid, Unavailable
from node.journal import Metrics

TOKEN = "a-token-of-the-tests-0123456789"


def test_health_is_open_and_the_rest_is_not(door: Any) -> None:
    assert door.raw("GET", "/healthz", token=None).status == 200
    assert door.raw("GET", "/readyz", token=None).status == 200
    for route in ROUTES:
        if route.scope > 0:
            path = route.path.replace("{ref}", "q-1").replace("{id}", "k-1")
            reply = door.raw(route.method, path, token=None)
            assert reply.status == 401, route
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer wrong-token-0123456789", "Bearer ", "Basic YTpi", "Bearer \xff\xfe"])
def test_a_wrong_credential_is_unauthorized(door: Any, header: str) -> None:
    reply = door.raw("GET", "/api/v1/node", token=None, headers={"Authorization": header})
    assert (reply.status, reply.json["code"]) == (401, "EC-UNAUTHORIZED")


def test_a_foreign_host_header_is_forbidden(door: Any) -> None:
    reply = door.raw("GET", "/healthz", headers={"Host": "evil.example"})
    assert (reply.status, reply.json["code"]) == (403, "EC-FORBIDDEN")
    assert "http.hosts" in reply.json["hint"]


@pytest.mark.parametrize("host", ["localhost:7480", "LOCALHOST", "127.0.0.1:1"])
def test_an_allowed_host_may_carry_any_port_and_case(door: Any, host: str) -> None:
    assert door.raw("GET", "/healthz", headers={"Host": host}).status == 200


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: evil.example\r\n", b"Host: [::1\r\n"])
def test_a_missing_doubled_or_broken_host_gets_nothing(door: Any, hosts: bytes) -> None:
    with socket.create_connection((urlsplit(door.url).hostname, urlsplit(door.url).port), timeout=5) as line:
        line.sendall(b"GET /api/v1/node HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
        status = int(line.makefile("rb").readline().split()[1])
    assert status in {400, 403}


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_a_page_of_another_origin_changes_nothing(door: Any, headers: dict[str, str]) -> None:
    assert door.raw("POST", "/api/v1/queries", b"{}", headers=headers).status == 403
    assert door.raw("GET", "/api/v1/queries", headers=headers).status == 200


def test_an_origin_that_is_no_address_is_foreign(door: Any) -> None:
    assert door.raw("POST", "/api/v1/queries", b"{}", headers={"Origin": "http://[::1"}).status == 403


def test_broken_requests_leave_no_traceback_in_the_log(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    post = f"POST /api/v1/queries HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    json_type = b"Content-Type: application/json\r\n"
    for start in (
        b"GARBAGE\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        post + b"Content-Length: abc\r\n\r\n",
        post + json_type + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        post + json_type + b'Content-Length: 100\r\n\r\n{"half":',
    ):
        with socket.create_connection((urlsplit(door.url).hostname, urlsplit(door.url).port), timeout=5) as line:
            line.sendall(start)
            line.shutdown(socket.SHUT_WR)
            while line.recv(4096):
                continue
    assert door.raw("GET", "/healthz").status == 200
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


def test_every_answer_has_a_request_id_and_takes_a_sane_one(door: Any) -> None:
    assert len(door.raw("GET", "/healthz").headers["X-Request-Id"]) == 16
    assert door.raw("GET", "/healthz", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    reply = door.raw("GET", "/nothing", headers={"X-Request-Id": "no spaces"})
    assert reply.json["request_id"] == reply.headers["X-Request-Id"] != "no spaces"


def test_a_problem_has_the_shape_that_is_promised(door: Any) -> None:
    reply = door.raw("GET", "/api/v1/queries/q-none")
    assert reply.status == 404
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert set(reply.json) == {"type", "title", "status", "code", "detail", "hint", "errors", "request_id"}
    assert (reply.json["status"], reply.json["code"]) == (404, "EC-NOT-FOUND")


def test_an_unknown_path_is_a_problem_too(door: Any) -> None:
    reply = door.raw("GET", "/nowhere", token=None)
    assert (reply.status, reply.json["code"]) == (404, "EC-NOT-FOUND")


def test_a_wrong_method_names_the_right_ones(door: Any) -> None:
    reply = door.raw("PUT", "/api/v1/queries", b"{}")
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, HEAD, POST"
    assert reply.json["code"] == "EC-REJECTED"


def test_a_path_of_its_own_is_not_taken_for_the_name_of_a_member(door: Any) -> None:
    assert door.raw("PUT", "/api/v1/peers/pending", b"{}").headers["Allow"] == "GET, HEAD"
    assert door.raw("PUT", "/api/v1/peers/edge-1", b"{}").headers["Allow"] == "DELETE"


def test_asking_for_the_head_alone_needs_the_same_scope(door: Any) -> None:
    assert door.raw("HEAD", "/api/v1/node", token=None).status == 401
    reply = door.raw("HEAD", "/api/v1/node")
    assert (reply.status, reply.body) == (200, b"")


def test_a_fault_of_the_program_shows_no_traceback(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    door.queries.broken = ZeroDivisionError("secret detail")
    with caplog.at_level(logging.ERROR):
        reply = door.raw("GET", "/api/v1/queries/q-1")
    assert (reply.status, reply.json["code"]) == (500, "EC-INTERNAL")
    assert "secret detail" not in reply.body.decode()
    assert any(record.exc_info for record in caplog.records)


def test_what_may_work_later_says_when_to_ask_again(door: Any) -> None:
    door.queries.broken = Busy("the queue is full")
    reply = door.raw("GET", "/api/v1/queries/q-1")
    assert (reply.status, reply.json["code"], reply.headers["Retry-After"]) == (503, "EC-BUSY", "1")


def test_a_component_that_is_not_ready_is_named(door: Any) -> None:
    door.health.found["assets"] = "yunet is missing"
    reply = door.raw("GET", "/readyz", token=None)
    assert reply.status == 503
    assert reply.json == {"ready": False, "components": {"store": None, "transport": None, "assets": "yunet is missing"}}


def test_the_metrics_text_parses_and_counts_by_route(door: Any) -> None:
    for path in ("/nowhere/1", "/nowhere/2", "/healthz"):
        door.raw("GET", path)
    text = door.raw("GET", "/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    counts = {sample.labels["route"]: sample.value for sample in samples if sample.name == "ecnode_http_requests_total"}
    assert counts["unknown"] == 2
    assert counts["/healthz"] == 1
    assert any(sample.name == "process_resident_memory_bytes" for sample in samples)


def test_this_machine_needs_no_token_where_the_config_says_so(open_door: Any) -> None:
    settings = type(open_door.__call__.__defaults__[0])
    door = open_door(settings(auth="loopback"))
    assert door.raw("GET", "/api/v1/node", token=None).status == 200
    assert door.raw("GET", "/api/v1/node", token=None, headers={"X-Forwarded-For": "10.0.0.9"}).status == 401


def test_a_door_for_everybody_needs_a_token(open_door: Any) -> None:
    settings = type(open_door.__call__.__defaults__[0])
    with pytest.raises(ConfigInvalid, match="none"):
        HttpServer(settings(listen=("0.0.0.0:0",), auth="none"), "x" * 32, None, ManualClock(), Metrics())  # type: ignore[arg-type]
    with pytest.raises(ConfigInvalid, match="token"):
        HttpServer(settings(listen=("0.0.0.0:0",), auth="loopback"), "", None, ManualClock(), Metrics())  # type: ignore[arg-type]
    with pytest.raises(ConfigInvalid, match="HOST:PORT"):
        split("7480")


def test_several_addresses_are_bound_and_a_taken_one_is_named(open_door: Any) -> None:
    settings = type(open_door.__call__.__defaults__[0])
    door = open_door(settings(listen=("127.0.0.1:0", "localhost:0")))
    assert len(door.server.urls) >= 2
    taken = urlsplit(door.url).netloc
    with pytest.raises(Unavailable, match=taken):
        open_door(settings(listen=("127.0.0.1:0", taken)))


def test_stopping_answers_the_long_polls_and_takes_less_than_two_seconds(door: Any) -> None:
    import threading

    query = door.submit()
    answers: list[Any] = []
    with door.client() as client:
        poll = threading.Thread(target=lambda: answers.append(client.results(query.id, wait=25.0)))
        poll.start()
        assert door.queries.polled.wait(5)
        clock = SystemClock()
        began = clock.monotonic()
        door.run(door.server.stop())
        door.run(door.server.stop())
        poll.join(5)
    assert clock.monotonic() - began < 2.0
    assert answers[0].items == ()


def test_a_silent_connection_is_closed_and_a_speaking_one_is_not() -> None:
    from node.api.connections import HEAD_TIMEOUT, MAX_CONNECTIONS, Connections

    class Line:
        closed = False

        def force_close(self) -> None:
            self.closed = True

    clock = ManualClock()
    watch = Connections(clock)
    silent, speaking = Line(), Line()
    watch._look([silent, speaking])
    watch.heard(speaking)
    clock._now += HEAD_TIMEOUT
    watch._look([silent, speaking])
    assert (silent.closed, speaking.closed) == (True, False)
    crowd = [Line() for _ in range(MAX_CONNECTIONS)]
    watch._look([speaking, *crowd])
    assert sum(line.closed for line in crowd) == 1
    assert not speaking.closed


def test_a_caller_that_drips_is_cut_off(open_door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from node.api import connections, reading

    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.2)
    monkeypatch.setattr(connections, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(reading, "BODY_TIMEOUT", 0.2)
    door = open_door()
    post = f"POST /api/v1/queries HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    for start, answer in (
        (b"GET /healthz HT", b""),
        (post + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 408"),
    ):
        with socket.create_connection((urlsplit(door.url).hostname, urlsplit(door.url).port), timeout=5) as line:
            line.sendall(start)
            assert line.recv(12) == answer


def test_no_body_above_a_mebibyte_is_read(door: Any) -> None:
    reply = door.raw("POST", "/api/v1/queries", json.dumps({"name": "x" * 2**20}).encode())
    assert (reply.status, reply.json["code"]) == (413, "EC-TOO-LARGE")
