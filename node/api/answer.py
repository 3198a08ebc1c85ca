"""How does a value become an answer?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from pydantic import JsonValue
from pydantic_core import to_json

from node.clock import Clock
from node.model.document import Document, to_document, write_document
from node.model.value import Value


def document(value: Value, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """One value as a JSON object."""
    return written(write_document(value), status=status, headers=headers)


def page(items: Sequence[Value], following: JsonValue) -> web.Response:
    """A part of a list; `following` is what the caller passes as `after` to go on."""
    return encode({"items": [to_document(item) for item in items], "next": following})


def encode(body: Document, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON object as an answer."""
    return written(write(body), status=status, headers=headers)


def write(body: Document) -> bytes:
    """A JSON object as text; a stage's NaN becomes null, because JSON has none."""
    return to_json(body, inf_nan_mode="null")


def written(content: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Content that is JSON already, as an answer."""
    return web.Response(status=status, body=content, content_type="application/json", headers=headers)


class Fresh:
    """Content that many ask for and that is made anew once it is `seconds` old."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._made_at = float("-inf")
        self._content = b""

    def content(self, make: Callable[[], bytes]) -> bytes:
        """What `make` gives, now or a moment ago; every call passes the same one."""
        now = self._clock.monotonic()
        if now - self._made_at >= self._seconds:
            self._content = make()
            self._made_at = now
        return self._content
