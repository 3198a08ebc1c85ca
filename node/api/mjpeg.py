"""How does a viewer see a query's pictures as they come?

As multipart JPEG, which every browser shows. The next picture is fetched once the one before was written, so that a viewer gets
as many as its line takes, always the newest, and one that reads nothing is cut. The stream ends with the query.

Source: RFC 2046, section 5.1 (multipart); `x-mixed-replace` as browsers have it since Netscape's note of 1995.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from aiohttp import web

from node.api.gate import REQUEST_ID
from node.api.ports import Queries, View
from node.api.route import DOOR
from node.clock import Clock
from node.errors import EcnodeError
from node.model.document import FramesQuery
from node.model.video import QUERY_LIFE, Result

log = logging.getLogger(__name__)

BOUNDARY: Final = "frame"
MEDIA: Final = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
WRITE_TIMEOUT: Final = 10.0  # a viewer that takes nothing for so long is gone
AGAIN: Final = 0.5  # seconds until an edge that is away is asked again


async def stream(request: web.Request, queries: Queries, ref: str, params: FramesQuery) -> web.StreamResponse:
    """The pictures of a query until it ends, the viewer leaves or is cut, or the node stops.

    Raises:
        Busy: too many viewers.
    """
    query = await queries.get(ref)
    async with queries.view(query.id, drawn=params.annotate) as view:
        headers = {"Content-Type": MEDIA, "Cache-Control": "no-store", "X-Request-Id": request[REQUEST_ID]}
        response = web.StreamResponse(headers={**headers, "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        if request.method != "HEAD":
            try:
                await _show(request, response, queries, view, (query.id, 1.0 / params.fps))
            except ConnectionError:
                log.debug("viewer left", extra={"query": query.id})
            except TimeoutError:
                log.warning("viewer cut", extra={"query": query.id, "reason": "it takes nothing"})
                if request.transport is not None:
                    request.transport.abort()
    return response


async def _show(
    request: web.Request, response: web.StreamResponse, queries: Queries, view: View, what: tuple[str, float]
) -> None:
    """Writes pictures of a query, one per period at most."""
    query, period = what
    clock, polls = request.app[DOOR].clock, request.app[DOOR].polls
    seen: Result | None = None
    while not polls.closed:
        began = clock.monotonic()
        try:
            found = await polls.run(partial(view.next, seen), None)
        except EcnodeError as error:
            log.debug("no picture", extra={"query": query, "reason": error.message})
            found = None
            await clock.sleep(AGAIN)
        if found is not None:
            picture, seen = found
            await _write(response, picture, clock)
            await clock.sleep(max(0.0, began + period - clock.monotonic()))
        elif (await queries.get(query)).state in QUERY_LIFE.terminal:
            await _end(response, clock)
            return


async def _write(response: web.StreamResponse, picture: bytes, clock: Clock) -> None:
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
    async with clock.timeout(WRITE_TIMEOUT):
        await response.write(head + picture + b"\r\n")


async def _end(response: web.StreamResponse, clock: Clock) -> None:
    async with clock.timeout(WRITE_TIMEOUT):
        await response.write(f"--{BOUNDARY}--\r\n".encode())
