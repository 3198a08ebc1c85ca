"""The routes of the original task system, each replayed against a real node as its clients call them."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from systems import FAST, until

from node.cli.system import CLOUD, LocalSystem

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Curl:
    """A client with a token, that sends forms."""

    def __init__(self, system: LocalSystem) -> None:
        self._place = urlsplit(system.url(CLOUD)).netloc
        self.token = system.token_file(CLOUD).read_text().strip()

    def ask(self, method: str, path: str, body: str | bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """Status, and the body as JSON."""
        connection = http.client.HTTPConnection(self._place, timeout=20)
        sign = "&" if "?" in path else "?"
        try:
            target = f"{path}{sign}token={self.token}" if self.token else path
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def upload(self, name: str, content: bytes, field: str = "train") -> Any:
        head = f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        kind = {"Content-Type": "multipart/form-data; boundary=edge"}
        return self.ask("POST", "/upload", head + content + b"\r\n--edge--\r\n", kind)

    def task(self, **fields: str) -> Any:
        return self.ask("POST", "/task", urlencode(fields), FORM)

    def ended(self, number: int) -> dict[str, Any]:
        """The row of a task that is over."""
        over = {"finished", "failed", "stopped"}
        return until(lambda: (row := self.ask("GET", f"/task?task_id={number}")[1]["msg"])["state"] in over and row)


@pytest.fixture(scope="module")
def curl(assets):
    with LocalSystem(1, [], assets, pace=FAST) as running:
        running.start()
        yield Curl(running)


def test_the_originals_walk_upload_task_log_start_stop(curl: Curl) -> None:
    assert curl.upload("mine/train.py", b"import time; print('epoch 1', flush=True); time.sleep(100)") == (
        200,
        {"code": 0, "msg": "train.py"},
    )
    assert curl.task(name="digits", union_train="0", file="train.py") == (200, {"code": 0, "msg": 1})
    until(lambda: curl.ask("GET", "/task/log/1") == (200, {"code": 0, "msg": "epoch 1\n"}))
    assert curl.ask("GET", "/task/start/1") == (200, {"code": 0, "msg": 1})  # it runs already
    assert [row["id"] for row in curl.ask("GET", "/task")[1]["msg"]] == [1]
    assert curl.ask("GET", "/stop?task_id=1")[1] == {"code": 0, "msg": "stopping"}
    row = curl.ended(1)
    assert (row["name"], row["state"], row["exit_code"]) == ("digits", "stopped", None)
    assert curl.ask("POST", "/stop", "task_id=1", FORM)[1] == {"code": 0, "msg": "stopped"}  # twice is as good as once


def test_a_task_that_is_over_is_started_as_another_and_the_newer_upload_of_a_name_counts(curl: Curl) -> None:
    curl.upload("short.py", b"print('old')")
    curl.upload("short.py", b"print('new')")
    until(lambda: curl.task(name="seen", file="short.py", edge_nodes="edge-1")[0] == 200)  # the edge was heard of
    number = curl.task(name="short", file="short.py", edge_nodes="edge-1")[1]["msg"]
    assert (curl.ended(number)["node"], curl.ended(number)["exit_code"]) == ("edge-1", 0)
    until(lambda: curl.ask("GET", f"/task/log/{number}")[1]["msg"] == "new\n")
    again = curl.ask("GET", f"/task/start/{number}")[1]["msg"]
    assert again > number
    assert curl.ended(again)["state"] == "finished"


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda curl: curl.task(name="x"), 422),
        (lambda curl: curl.task(name="x", file="nobody.py"), 404),
        (lambda curl: curl.task(name="x", file="nobody.py", colour="red"), 422),
        (lambda curl: curl.task(name="x", file="short.py", edge_nodes="a,b"), 422),
        (lambda curl: curl.task(name="x", url="http://127.0.0.1/"), 501),
        (lambda curl: curl.upload("..", b"x"), 422),
        (lambda curl: curl.upload("a.py", b"x", field="test"), 422),
        (lambda curl: curl.ask("POST", "/upload", b"nothing", {"Content-Type": "text/plain"}), 415),
        (lambda curl: curl.ask("POST", "/upload", b"--", {"Content-Type": "multipart/form-data; boundary=edge"}), 400),
        (lambda curl: curl.ask("GET", "/task/log/999999"), 404),
        (lambda curl: curl.ask("GET", "/stop?task_id=one"), 422),
        (lambda curl: curl.ask("GET", "/stop?task_id=1", headers={"Sec-Fetch-Site": "cross-site"}), 403),
    ],
)
def test_a_refusal_has_its_status_twice_and_a_sentence(curl: Curl, call: Any, status: int) -> None:
    found, body = call(curl)
    assert (found, body["code"]) == (status, status), body
    assert body["msg"]


def test_no_route_opens_without_a_token(curl: Curl) -> None:
    given, curl.token = curl.token, ""
    try:
        for method, path in (("POST", "/upload"), ("POST", "/task"), ("GET", "/task"), ("GET", "/stop?task_id=1")):
            assert curl.ask(method, path)[0] == 401
        assert curl.ask("GET", "/task/start/1")[1]["code"] == 401
    finally:
        curl.token = given
