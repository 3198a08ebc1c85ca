"""How does a value become an answer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web
from pydantic import JsonValue
from pydantic_core import to_json

from node.model.document import Document, to_document
from node.model.value import Value


def document(value: Value, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """One value as a JSON object."""
    return encode(to_document(value), status=status, headers=headers)


def page(items: Sequence[Value], following: JsonValue) -> web.Response:
    """A part of a list; `following` is what the caller passes as `after` to go on."""
    return encode({"items": [to_document(item) for item in items], "next": following})


def encode(body: Document, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON object; a stage's NaN becomes null, because JSON has none."""
    content = to_json(body, inf_nan_mode="null")
    return web.Response(status=status, body=content, content_type="application/json", headers=headers)
