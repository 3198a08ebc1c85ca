"""How does a caller take the results of a query away: page by page, as they come, or as a file?

A page is read from a cursor and may wait for the first result behind it. The stream is server-sent events whose ids are the
cursors, so that a reader who comes back with `Last-Event-ID` misses none and gets none twice. The files hold what is kept at
the moment, written page by page: no answer is ever held in memory as a whole.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import JsonValue

from node.api.answer import encode
from node.api.gate import REQUEST_ID
from node.api.ports import Queries
from node.api.queries import queries_of, ref_of
from node.api.reading import read_params
from node.api.route import API, DOOR, Route, RouteHandler, Scope
from node.clock import Clock
from node.errors import Busy, Conflict, EcnodeError, Malformed, NotFound, StorageFailed
from node.model.document import ExportQuery, ResultItem, ResultsQuery, to_document
from node.model.export import MEDIA, Format, head, line
from node.model.value import COUNT_MOST
from node.model.video import QUERY_LIFE, Query, Result
from node.roles.shared.events import encode as event

log = logging.getLogger(__name__)

PAGE: Final = 500  # of about 2 kB: what a slow reader of a file holds in memory
WAIT: Final = 15.0  # without a result; then a comment shows that the line is alive
WRITE_TIMEOUT: Final = 10.0  # a reader that takes nothing for so long is gone


async def page(request: web.Request) -> web.Response:
    """Results behind a cursor; `next` goes on from there, also when there was nothing new."""
    queries, ref = queries_of(request), ref_of(request)
    params = read_params(request, ResultsQuery)
    if params.wait > 0:
        polls = request.app[DOOR].polls
        nothing: tuple[tuple[int, Result], ...] = ()
        found = await polls.run(lambda: queries.results(ref, params.after, params.limit, params.wait), nothing)
    else:
        found = await queries.results(ref, params.after, params.limit, 0.0)
    items: list[JsonValue] = [{"cursor": cursor, **to_document(result)} for cursor, result in found]
    return encode({"items": items, "next": found[-1][0] if found else params.after})


async def stream(request: web.Request) -> web.StreamResponse:
    """Results as they come, each with its cursor as id, and `end` with the query once it is over. Last-Event-ID goes on."""
    queries = queries_of(request)
    after = _after(request)
    query = await queries.get(ref_of(request))
    return await _respond(request, "text/event-stream", _events(request, queries, query.id, after))


async def export(form: Format, request: web.Request) -> web.StreamResponse:
    """Every result that is kept, behind the cursor `after`."""
    queries = queries_of(request)
    after = read_params(request, ExportQuery).after
    query = await queries.get(ref_of(request))
    return await _respond(request, MEDIA[form], _lines(queries, query, after, form), name=f"{query.id}.{form}")


def _after(request: web.Request) -> int:
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return read_params(request, ExportQuery).after
    if not given.isdecimal() or len(given) > len(str(COUNT_MOST)):
        raise Malformed(f"Last-Event-ID: '{given[:40]}' is no cursor", hint="send the id of the last event that was read")
    return int(given)


async def _respond(request: web.Request, media: str, parts: AsyncIterator[bytes], name: str = "") -> web.StreamResponse:
    """Writes the parts as they are made; whoever takes none of them is cut.

    Raises:
        Busy: too many are listening.
    """
    door = request.app[DOOR]
    if door.listening.locked():
        raise Busy("as many as may be are listening already", hint="ask for a page of the results")
    headers = {"Content-Type": media, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    headers |= {"X-Request-Id": request[REQUEST_ID], "X-Content-Type-Options": "nosniff"}
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    async with door.listening:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        if request.method != "HEAD":
            try:
                await _write(response, parts, door.clock)
            except ConnectionError:
                log.debug("reader of results left")
            except (TimeoutError, EcnodeError) as error:  # the head is sent: a problem document could not follow
                log.warning("reader of results cut", extra={"reason": str(error) or "it takes nothing"})
                if request.transport is not None:
                    request.transport.abort()
    return response


async def _write(response: web.StreamResponse, parts: AsyncIterator[bytes], clock: Clock) -> None:
    async for part in parts:
        async with clock.timeout(WRITE_TIMEOUT):
            await response.write(part)


async def _events(request: web.Request, queries: Queries, query: str, after: int) -> AsyncIterator[bytes]:
    polls = request.app[DOOR].polls
    nothing: tuple[tuple[int, Result], ...] = ()
    yield b": results\n\n"
    while not polls.closed:
        over = (await queries.get(query)).state in QUERY_LIFE.terminal  # before the results: none comes after the end
        found = await polls.run(partial(queries.results, query, after, PAGE, 0.0 if over else WAIT), nothing)
        if found:
            after = found[-1][0]
            items = [(cursor, {"cursor": cursor, **to_document(result)}) for cursor, result in found]
            yield b"".join([event("result", item, str(cursor)) for cursor, item in items])
        elif over:
            yield event("end", to_document(await queries.get(query)))
            return
        else:
            yield b": keep-alive\n\n"


async def _lines(queries: Queries, query: Query, after: int, form: Format) -> AsyncIterator[bytes]:
    yield head(form).encode()
    while found := await queries.results(query.id, after, PAGE, 0.0):
        after = found[-1][0]
        yield "".join([line(form, ResultItem(cursor=cursor, **dict(result))) for cursor, result in found]).encode()


_RAISES: Final = (Busy, StorageFailed, NotFound, Conflict)


def _file(form: Format, summary: str) -> Route:
    handler: RouteHandler = partial(export, form)
    path = f"{API}/queries/{{ref}}/results.{form}"
    return Route("GET", path, Scope.READ, handler, summary, params=ExportQuery, media=MEDIA[form], raises=_RAISES)


ROUTES: Final = (
    Route(
        "GET",
        f"{API}/queries/{{ref}}/results",
        Scope.READ,
        page,
        "Results in order.",
        params=ResultsQuery,
        reply=ResultItem,
        many=True,
        raises=_RAISES,
    ),
    Route(
        "GET",
        f"{API}/queries/{{ref}}/results.sse",
        Scope.READ,
        stream,
        "Results as they come (server-sent events).",
        params=ExportQuery,
        media="text/event-stream",
        raises=(*_RAISES, Malformed),
    ),
    _file("csv", "All kept results as a table."),
    _file("jsonl", "All kept results, one a line."),
)
