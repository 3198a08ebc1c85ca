"""A blob goes from one real node to another, and its receiver may be killed on the way."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from blobs import content, id_of
from systems import FAST, connect, until

from node.cli.system import CLOUD, LocalSystem

MIB = 2**20
DATA = content(48 * MIB + 77)
ID = id_of(DATA)
PULL = {"sources": ["edge-1"], "wait": 30.0}


@pytest.fixture
def system(assets):
    with LocalSystem(1, [], assets, pace=FAST) as running:
        running.start()
        yield running


def ask(
    system: LocalSystem, name: str, method: str, path: str, body: bytes | None = None, *, kind: str = ""
) -> tuple[int, bytes]:
    line = http.client.HTTPConnection(urlsplit(system.url(name)).netloc, timeout=40)
    headers = {
        "Authorization": f"Bearer {system.token_file(name).read_text().strip()}",
        **({"Content-Type": kind} if kind else {}),
    }
    try:
        line.request(method, f"/api/v1/blobs{path}", body, headers)
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def pull(system: LocalSystem, **changes: Any) -> int:
    return ask(system, CLOUD, "POST", f"/{ID}/pull", json.dumps({**PULL, **changes}).encode(), kind="application/json")[0]


def listed(system: LocalSystem) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(ask(system, CLOUD, "GET", "")[1])["items"]
    return items


def served(system: LocalSystem) -> float:
    with connect(system, "edge-1") as client:
        return float(re.search(r"^\w*blob_bytes_served (\S+)", client.metrics(), re.MULTILINE)[1])


def test_a_blob_reaches_another_node_and_outlives_a_kill_of_it_on_the_way(system):
    assert ask(system, "edge-1", "POST", "", DATA, kind="application/octet-stream")[0] == 201
    assert ask(system, CLOUD, "GET", f"/{ID}")[0] == 404
    until(lambda: pull(system, wait=0.05) in {200, 504} and any(item["received"] for item in listed(system)))
    system.kill(CLOUD)
    system.restart(CLOUD)
    assert [item["id"] for item in listed(system)] == [ID]
    until(lambda: pull(system) == 200)
    assert ask(system, CLOUD, "GET", f"/{ID}") == (200, DATA)
    assert served(system) <= len(DATA) + 8 * MIB
    assert ask(system, CLOUD, "DELETE", f"/{ID}")[0] == 200
    assert ask(system, CLOUD, "GET", f"/{ID}")[0] == 404
