"""What does this API offer, in words for a program and for a person?

Both come from the route table and the models: the OpenAPI description, and a page that needs nothing from elsewhere.

Source: OpenAPI 3.1.1, RFC 9457.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from http import HTTPStatus
from typing import Final

from aiohttp import web
from pydantic import JsonValue
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from node import __version__
from node.api.answer import encode
from node.api.compat import GROUPS
from node.api.examples import EXAMPLES
from node.api.problem import ConsoleFailure, OriginalFailure, OriginalReply, ProblemDetails, failure_of
from node.api.repeats import HEADER, KEY
from node.api.route import API, DOOR, Route, Scope
from node.errors import EcnodeError, Stale
from node.model.document import Document, is_wall
from node.model.value import Value

SCHEMAS: Final = "#/components/schemas/"
_MODE: Final[JsonSchemaMode] = "validation"
_MOMENT: Final[Document] = {"type": "string", "format": "date-time"}
_HOLE: Final = re.compile(r"{(\w+)(?::[^}]*)?}")

# What the door itself may answer: a broken head, a foreign host, a head too long, a fault of ours.
_ALWAYS: Final = (400, 403, 500)
_WITH_TOKEN: Final = (401,)
_WITH_BODY: Final = (408, 413, 415, 422)
_WITH_PARAMS: Final = (422,)
_WITH_KEY: Final = (408, 409, 413, 422, 503, 507)


@cache
def describe(routes: tuple[Route, ...], open_groups: frozenset[str] = frozenset()) -> Document:
    """The OpenAPI description of the routes; callers of this machine need no token for those of `open_groups`."""
    models = sorted(_models(routes), key=lambda model: model.__name__)
    names, schemas = models_json_schema([(model, _MODE) for model in models], ref_template=SCHEMAS + "{model}")
    found = schemas.get("$defs", {})
    for schema in found.values():
        _tell_moments(schema)
    parameters = {model: found[names[(model, _MODE)]["$ref"].removeprefix(SCHEMAS)] for model in models}
    paths: dict[str, JsonValue] = {}
    for route in routes:
        item = paths.setdefault(_HOLE.sub(r"{\1}", route.path), {})
        assert isinstance(item, dict)
        item[route.method.lower()] = _operation(route, parameters, is_open=route.group in open_groups)
    return {
        "openapi": "3.1.1",
        "info": {"title": "ecnode", "version": __version__, "description": _INTRODUCTION},
        "tags": [{"name": f"compat/{group.name}", "description": group.story} for group in GROUPS],
        "paths": paths,
        "components": {
            "schemas": found,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": _SECURITY},
                "token": {"type": "apiKey", "in": "query", "name": "token", "description": _IN_QUERY},
            },
        },
    }


_INTRODUCTION: Final = (
    "Times are RFC 3339 in UTC, durations are seconds. A list answers {items, next}: pass next as `after` to go on. "
    "Every refusal is application/problem+json with a stable code and a hint. HEAD is answered wherever GET is."
)
_SECURITY: Final = (
    "Scopes, each with those before it: " + " < ".join(scope.name.lower() for scope in Scope) + ". "
    "The node's own token, in its data directory, holds them all."
)
_IN_QUERY: Final = "The same token; the originals' routes take it here as well, for their clients send no headers."


def _models(routes: Sequence[Route]) -> set[type[Value]]:
    used = (model for route in routes for model in (route.body, route.params, route.reply))
    shapes: set[type[Value]] = {ProblemDetails, OriginalFailure, OriginalReply, ConsoleFailure}
    return {*shapes, *(model for model in used if model is not None)}


def _tell_moments(schema: Document) -> None:
    """A wall time is a number inside the program and RFC 3339 at the door."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return
    for name, shape in properties.items():
        if is_wall(name) and isinstance(shape, dict):
            kinds = shape.get("anyOf")
            title: Document = {"title": shape["title"]} if "title" in shape else {}
            properties[name] = {"anyOf": [_MOMENT, {"type": "null"}], **title} if kinds else {**_MOMENT, **title}


def _operation(route: Route, models: Mapping[type[Value], Document], *, is_open: bool) -> Document:
    story = " ".join((route.handler.__doc__ or "").split())
    operation: Document = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', route.path)}".rstrip("_"),
        "tags": [_resource(route)],
        "summary": route.summary,
        "description": story if story != route.summary else "",
        "parameters": [*_in_path(route), *_in_query(route, models), *_in_head(route)],
        "responses": _responses(route),
        "security": _security(route, is_open=is_open),
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(route.body), "example": EXAMPLES[route.body]}},
        }
    if route.takes:
        operation["requestBody"] = {"required": True, "content": {route.takes: {}}}
    return operation


def _security(route: Route, *, is_open: bool) -> list[JsonValue]:
    if route.scope == Scope.OPEN:
        return []
    ways = ("bearer", "token") if route.group else ("bearer",)
    asked: list[JsonValue] = [{way: [route.scope.name.lower()]} for way in ways]
    return [*asked, {}] if is_open else asked


def _resource(route: Route) -> str:
    if route.group:
        return f"compat/{route.group}"
    first = route.path.removeprefix(API).strip("/").partition("/")[0]
    return first if route.path.startswith(API) and first.isalpha() else "service"


def _ref(model: type[Value]) -> Document:
    return {"$ref": SCHEMAS + model.__name__}


def _in_path(route: Route) -> Iterator[Document]:
    for name in _HOLE.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(route: Route, models: Mapping[type[Value], Document]) -> Iterator[Document]:
    schema = models[route.params] if route.params is not None else {}
    properties, required = schema.get("properties", {}), schema.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    for name, shape in properties.items():
        yield {"name": name, "in": "query", "required": name in required, "schema": shape}


def _in_head(route: Route) -> Iterator[Document]:
    if _takes_key(route):
        told = "A word of the caller's: the same call under it again takes no second effect and gets the first answer."
        word: Document = {"type": "string", "pattern": f"^{KEY}$"}
        yield {"name": HEADER, "in": "header", "schema": word, "description": told}
    if Stale in route.raises:
        told = "The ETag that was read: the change is made only where it is still the one."
        yield {"name": "If-Match", "in": "header", "schema": {"type": "string"}, "description": told}


def _takes_key(route: Route) -> bool:
    return route.method == "POST" and route.keyed


def _responses(route: Route) -> Document:
    good: Document = {
        str(status): {"description": HTTPStatus(status).phrase, "content": _content(route)} for status in route.answers
    }
    bad: Document = {
        str(status): {
            "description": _reasons(route, status),
            "content": _failure(route),
        }
        for status in sorted(refusals(route) - set(route.answers))
    }
    return {**good, **bad}


def _failure(route: Route) -> Document:
    kind = "application/json" if route.group else "application/problem+json"
    return {kind: {"schema": _ref(failure_of(route.group))}}


def refusals(route: Route) -> frozenset[int]:
    """Every status above 399 that the route may answer with a problem."""
    statuses = {*_ALWAYS, *(kind.status for kind in route.raises)}
    if route.scope > Scope.OPEN:
        statuses.update(_WITH_TOKEN)
    if _HOLE.search(route.path):
        statuses.add(404)
    if route.body is not None or route.takes:
        statuses.update(_WITH_BODY)
    if route.params is not None:
        statuses.update(_WITH_PARAMS)
    if _takes_key(route):
        statuses.update(_WITH_KEY)
    return frozenset(statuses)


def _reasons(route: Route, status: int) -> str:
    kinds: list[type[EcnodeError]] = [kind for kind in route.raises if kind.status == status]
    told = [f"{kind.code}: {(kind.__doc__ or '').strip().splitlines()[0]}" for kind in kinds]
    return " ".join(told) or HTTPStatus(status).phrase


def _content(route: Route) -> Document:
    if route.reply is None:
        # a stream has no end: a schema of its whole would describe what nobody sees
        told = route.media.startswith("text/") and route.media != "text/event-stream"
        return {route.media: {"schema": {"type": "string"}}} if told else {route.media: {}}
    if not route.many:
        return {"application/json": {"schema": _ref(route.reply)}}
    page: Document = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": _ref(route.reply)}, "next": {"type": ["string", "integer", "null"]}},
    }
    return {"application/json": {"schema": page}}


# The page


_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "code,pre{font:13px/1.4 ui-monospace,monospace;background:#f4f4f6;border-radius:4px}code{padding:0 .3em}"
    "pre{padding:.7em;overflow:auto}section{border-top:1px solid #ddd;padding:.6em 0}h2::first-letter{text-transform:uppercase}"
    "code{overflow-wrap:anywhere}h2{margin:1.6em 0 .4em}section p{margin:.4em 0}"
    "h3{font-size:1em;margin:.3em 0}b{display:inline-block;min-width:4.5em;}a,b{color:#0a58ca}small{color:#666}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181c}code,pre{background:#23262c}"
    "section{border-color:#333}a,b{color:#7ab0ff}small{color:#999}}"
)


@cache
def manual(routes: tuple[Route, ...]) -> str:
    """The description as one page of HTML without scripts."""
    tags = dict.fromkeys(_resource(route) for route in routes)
    links = " · ".join(f'<a href="#{tag}">{tag}</a>' for tag in tags)
    chapters = "".join(
        f'<h2 id="{tag}">{tag}</h2>{_preface(tag)}' + "".join(_chapter(route) for route in routes if _resource(route) == tag)
        for tag in tags
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>ecnode {__version__}: HTTP API</title><style>{_STYLE}</style><h1>ecnode {__version__}: HTTP API</h1>"
        f"<p>{_prose(_INTRODUCTION)}</p><p>{_prose(_SECURITY)}</p>"
        f'<p>For programs: <a href="{API}/openapi.json">{API}/openapi.json</a></p><nav>{links}</nav>{chapters}</html>'
    )


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _preface(resource: str) -> str:
    return "".join(f"<p>{_prose(group.story)}</p>" for group in GROUPS if resource == f"compat/{group.name}")


def _chapter(route: Route) -> str:
    story = " ".join((route.handler.__doc__ or "").split())
    statuses = ", ".join(map(str, (*route.answers, *sorted(refusals(route) - set(route.answers)))))
    reply = f"{'a page of ' if route.many else ''}{route.reply.__name__}" if route.reply else route.media
    lines = [
        f"<section><h3><b>{route.method}</b><code>{escape(route.path)}</code></h3>",
        f"<p>{_prose(f'{route.summary} {story}')}</p>",
        f"<small>scope {route.scope.name.lower()} · answers {escape(reply)} · {statuses}</small>",
    ]
    if route.params is not None:
        fields = ", ".join(f"<code>{escape(name)}</code>" for name in route.params.model_fields)
        lines.append(f"<p>Query string: {fields}</p>")
    if route.body is not None:
        fields = ", ".join(
            f"<code>{escape(name)}</code>{'' if field.is_required() else '?'}"
            for name, field in route.body.model_fields.items()
        )
        example = json.dumps(EXAMPLES[route.body], indent=2, ensure_ascii=False)
        lines.append(f"<p>Body {route.body.__name__}: {fields}</p><pre>{escape(example)}</pre>")
    return "".join(lines) + "</section>"


async def openapi(request: web.Request) -> web.Response:
    """OpenAPI 3.1, made from the table that the server mounts."""
    door = request.app[DOOR]
    return encode(describe(door.routes, door.open_groups))


async def docs(request: web.Request) -> web.Response:
    """The same for a reader, in one page."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return web.Response(text=manual(request.app[DOOR].routes), content_type="text/html", headers=headers)


ROUTES: Final = (
    Route("GET", f"{API}/openapi.json", Scope.OPEN, openapi, "This description.", media="application/json"),
    Route("GET", "/api/docs", Scope.OPEN, docs, "This description as a page.", media="text/html"),
)
