"""What goes in through the front door comes out of it again, whole or in part, and never through the node's memory whole."""

from __future__ import annotations

import hashlib
import http.client
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from blobs import content
from doors import TOKEN, Reply

BLOBS = "/api/v1/blobs"
DATA = content(2 * 2**20 + 12_345)
ID = hashlib.sha256(DATA).hexdigest()
OCTETS = {"Content-Type": "application/octet-stream"}


def put(door: Any, data: bytes = DATA, query: str = "", headers: Mapping[str, str] = {}) -> Reply:
    reply: Reply = door.raw("POST", BLOBS + query, data, headers={**OCTETS, **headers})
    return reply


def get(door: Any, **headers: str) -> Reply:
    reply: Reply = door.raw("GET", f"{BLOBS}/{ID}", headers={name.replace("_", "-"): value for name, value in headers.items()})
    return reply


def test_content_is_stored_under_its_digest_and_comes_back(door: Any) -> None:
    reply = put(door)
    assert (reply.status, reply.headers["Location"], reply.headers["ETag"]) == (201, f"{BLOBS}/{ID}", f'"{ID}"')
    assert (reply.json["id"], reply.json["size"], reply.json["complete"]) == (ID, len(DATA), True)
    found = get(door)
    assert (found.status, found.body, found.headers["ETag"]) == (200, DATA, f'"{ID}"')
    assert found.headers["Content-Length"] == str(len(DATA))
    assert found.headers["X-Content-Type-Options"] == "nosniff"


def test_the_same_again_changes_nothing(door: Any) -> None:
    assert [put(door).status for _ in range(3)] == [201, 200, 200]
    assert len(door.raw("GET", BLOBS).json["items"]) == 1


def test_nothing_is_content_too(door: Any) -> None:
    empty = put(door, b"").json["id"]
    found = door.raw("GET", f"{BLOBS}/{empty}")
    assert (found.status, found.body) == (200, b"")


def test_a_body_of_unknown_length_is_taken_and_counted(door: Any) -> None:
    line = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=10)
    headers = {**OCTETS, "Authorization": f"Bearer {TOKEN}"}
    line.request("POST", BLOBS, iter([DATA[:70_000], DATA[70_000:]]), headers, encode_chunked=True)
    assert line.getresponse().status == 201
    line.close()
    line.request("POST", BLOBS, iter([*[bytes(2**20)] * 4, b"!"]), headers, encode_chunked=True)
    assert line.getresponse().status == 413
    line.close()
    assert len(door.raw("GET", BLOBS).json["items"]) == 1


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-9", 0, 10), ("5-", 5, None), ("-7", -7, None), ("1048570-1048585", 1048570, 1048586), (f"10-{10**18}", 10, None)],
)
def test_a_range_is_answered_with_that_part(door: Any, asked: str, start: int, stop: int | None) -> None:
    put(door)
    found = get(door, Range=f"bytes={asked}")
    first = start % len(DATA)
    assert (found.status, found.body) == (206, DATA[start:stop])
    assert found.headers["Content-Range"] == f"bytes {first}-{first + len(found.body) - 1}/{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=9-5", f"bytes={len(DATA)}-", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(door: Any, asked: str) -> None:
    put(door)
    assert get(door, Range=asked).status == 416


@pytest.mark.parametrize(
    "headers", [{"Range": "bytes=0-1,5-6"}, {"Range": "lines=1-2"}, {"Range": "bytes=0-5", "If_Range": '"x"'}]
)
def test_a_range_that_does_not_apply_asks_for_all(door: Any, headers: Mapping[str, str]) -> None:
    put(door)
    found = get(door, **headers)
    assert (found.status, len(found.body)) == (200, len(DATA))


def test_what_the_caller_has_is_not_sent_again(door: Any) -> None:
    put(door)
    found = get(door, If_None_Match=f'W/"x", "{ID}"')
    assert (found.status, found.body) == (304, b"")


def test_the_head_alone_tells_the_size(door: Any) -> None:
    put(door)
    found = door.raw("HEAD", f"{BLOBS}/{ID}")
    assert (found.status, found.headers["Content-Length"], found.body) == (200, str(len(DATA)), b"")


def test_a_deleted_blob_is_gone(door: Any) -> None:
    put(door)
    gone = door.raw("DELETE", f"{BLOBS}/{ID}")
    assert (gone.status, gone.json["id"]) == (200, ID)
    assert get(door).status == door.raw("DELETE", f"{BLOBS}/{ID}").status == 404
    assert put(door).status == 201


def test_the_list_goes_on_where_it_ended(door: Any) -> None:
    ids = sorted(put(door, content(10, seed)).json["id"] for seed in range(5))
    first = door.raw("GET", f"{BLOBS}?limit=3").json
    second = door.raw("GET", f"{BLOBS}?limit=3&after={first['next']}").json
    assert [item["id"] for item in first["items"] + second["items"]] == ids
    assert second["next"] is None


def test_content_that_is_not_what_was_promised_is_refused(door: Any) -> None:
    assert put(door, query=f"?id={'0' * 64}").status == 409
    assert put(door, b"short", query="?id=short").status == 422
    assert put(door, query=f"?id={ID}").status == 201


def test_more_than_one_upload_may_be_is_refused_before_a_byte_of_it(door: Any) -> None:
    target = urlsplit(door.url)
    with socket.create_connection((target.hostname, target.port), timeout=5) as line:
        head = f"POST {BLOBS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        line.sendall(f"{head}Content-Type: application/octet-stream\r\nContent-Length: {10**12}\r\n\r\n".encode())
        assert b" 413 " in line.makefile("rb").readline()


def test_the_quota_holds(door: Any) -> None:
    statuses = [put(door, content(4 * 2**20, seed)).status for seed in range(5)]
    assert statuses == [201, 201, 201, 201, 507]
    assert door.raw("DELETE", f"{BLOBS}/{door.raw('GET', BLOBS).json['items'][0]['id']}").status == 200
    assert put(door, content(4 * 2**20, 9)).status == 201


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json"}, {"Content-Encoding": "gzip"}])
def test_only_plain_bytes_are_taken(door: Any, headers: Mapping[str, str]) -> None:
    assert put(door, b"short", headers=headers).status == 415


def test_an_upload_that_breaks_off_leaves_nothing(door: Any) -> None:
    target = urlsplit(door.url)
    with socket.create_connection((target.hostname, target.port), timeout=5) as line:
        head = f"POST {BLOBS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        line.sendall(f"{head}Content-Type: application/octet-stream\r\nContent-Length: 4000000\r\n\r\n".encode() + bytes(2**20))
        line.shutdown(socket.SHUT_WR)
        line.makefile("rb").read()
    assert door.raw("GET", BLOBS).json["items"] == []


@pytest.mark.parametrize("id", ["..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "x" * 64, ID.upper(), "0" * 65, "%00" * 64])
def test_an_id_that_is_none_names_no_file(door: Any, id: str) -> None:
    for method in ("GET", "DELETE"):
        assert door.raw(method, f"{BLOBS}/{id}").status in {404, 405, 422}


def test_an_idempotency_key_is_told_to_be_needless(door: Any) -> None:
    assert put(door, b"short", headers={"Idempotency-Key": "k"}).status == 400


def test_a_pull_without_a_way_to_peers_is_told(door: Any) -> None:
    reply = door.raw("POST", f"{BLOBS}/{ID}/pull", b'{"sources":["edge-1"],"wait":0.1}')
    assert (reply.status, reply.json["code"]) == (503, "EC-UNAVAILABLE")
    put(door)
    assert door.raw("POST", f"{BLOBS}/{ID}/pull", b'{"sources":["edge-1"]}').json["complete"]
    assert door.raw("POST", f"{BLOBS}/{'x' * 64}/pull", b'{"sources":["edge-1"]}').status == 422
