"""What does somebody who looks at a query's pictures get, and what if he never reads?"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from node.api import mjpeg
from tests.support.doors import TOKEN

NATIVE = "/api/v1/queries/{}/frames.mjpeg?fps=30"


def seen(reply: Any) -> list[bytes]:
    assert reply.headers["Content-Type"] == mjpeg.MEDIA
    parts = reply.body.split(b"--frame")
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]]


def test_pictures_come_one_after_the_other_until_the_query_ends(door: Any) -> None:
    query = door.submit()
    door.go(query.id, "stop")
    assert seen(door.raw("GET", NATIVE.format(query.id))) == [b"\xff\xd81", b"\xff\xd82", b"\xff\xd83"]
    assert door.queries.views == [True]


def test_an_edge_that_is_away_for_a_moment_is_asked_again(door: Any) -> None:
    query = door.submit()
    door.queries.shown = 6
    door.go(query.id, "stop")
    door.queries.missed = True
    assert len(seen(door.raw("GET", NATIVE.format(query.id)))) == 5
    door.queries.missed = False
    assert len(seen(door.raw("GET", NATIVE.format(query.id)))) in {3, 5}  # over meanwhile: it need not be waited for


def test_the_originals_route_shows_plain_pictures_and_drawn_ones_on_request(door: Any) -> None:
    query = door.submit()
    door.go(query.id, "stop")
    for path in ("/user/video/{}", "/video/user/video/{}?annotate=1", "/compat/video/user/video/{}?annotate=true&fps=20"):
        assert len(seen(door.raw("GET", path.format(query.id)))) == 3
    assert door.queries.views == [False, True, True]


def test_only_the_head_asks_for_no_picture(door: Any) -> None:
    query = door.submit()
    reply = door.raw("HEAD", NATIVE.format(query.id))
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"", mjpeg.MEDIA)


def test_a_viewer_that_never_reads_costs_others_nothing(door: Any) -> None:
    query = door.submit()
    door.queries.shown, door.queries.missed, door.queries.weight = 10**9, True, 2**20
    with socket.create_connection((urlsplit(door.url).hostname, urlsplit(door.url).port)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = ("GET " + NATIVE.format(query.id) + " HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}")
        line.sendall("\r\n".join((*request, "", "")).encode())
        assert line.recv(12) == b"HTTP/1.1 200"
        # others are answered meanwhile, and a second viewer gets pictures of his own
        assert door.raw("GET", f"/api/v1/queries/{query.id}").status == 200
        door.queries.shown = 3
        door.go(query.id, "stop")
        assert len(seen(door.raw("GET", NATIVE.format(query.id)))) == 2
