"""How do files come into a node and out of it, without ever lying in its memory whole?

A blob's id is the SHA-256 of its content, so an upload that is repeated changes nothing and needs no idempotency key, and an id
is an ETag that never changes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from node.api.answer import document, page
from node.api.ports import Blobs
from node.api.reading import BODY_TIMEOUT, read_body, read_params
from node.api.route import API, DOOR, Route, Scope
from node.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    EcnodeError,
    Invalid,
    Malformed,
    NotFound,
    OutOfRange,
    StorageFailed,
    TooLarge,
    Unavailable,
)
from node.model.blob import CHUNK_BYTES, BlobInfo, check_id
from node.model.document import BlobPull, BlobsQuery, BlobUpload
from node.storage.blobs import BlobStore

CONTENT: Final = "application/octet-stream"
UPLOADS: Final = 16  # at once: each holds a block of a MiB or two
WRITE_TIMEOUT: Final = 30.0  # a caller that takes nothing holds a connection and a chunk, no longer than this
POUR_S: Final = 2.0
POUR_PAUSE_S: Final = 0.2  # nothing for so long: the caller waits for its answer
_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def _blobs(request: web.Request) -> Blobs:
    blobs = request.app[DOOR].ports.blobs
    if blobs is None:
        raise NotFound("this node keeps no blobs")
    return blobs


def _store(request: web.Request) -> BlobStore:
    return _blobs(request).store


async def put(request: web.Request) -> web.Response:
    """The body is the content. 201 for a new blob, 200 for one that is here already; `id` says what it must come out as."""
    try:
        return await _put(request)
    except (EcnodeError, web.HTTPException):
        await pour_away(request)
        raise


async def _put(request: web.Request) -> web.Response:
    store = _store(request)
    params = read_params(request, BlobUpload)
    door = request.app[DOOR]
    if request.content_type != CONTENT or request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(reason=f"send plain {CONTENT}")
    if (request.content_length or 0) > door.max_upload:
        raise TooLarge(f"an upload of {request.content_length} bytes", hint=f"http.max_upload is {door.max_upload}")
    if door.uploading.locked():
        raise Busy("as many uploads as may be at once are under way")
    async with door.uploading:
        before = {info.id for info in await store.list() if info.complete}
        info = await store.put(_content(request), expected=params.id or "", most=door.max_upload)
    headers = {"Location": f"{API}/blobs/{info.id}", "ETag": _tag(info)}
    return document(info, status=200 if info.id in before else 201, headers=headers)


async def _content(request: web.Request) -> AsyncIterator[bytes]:
    clock = request.app[DOOR].clock
    while True:
        try:
            async with clock.timeout(BODY_TIMEOUT):
                block = await request.content.readany()
        except TimeoutError:
            raise web.HTTPRequestTimeout(reason=f"nothing of the body came for {BODY_TIMEOUT:g} s") from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise Malformed("the connection ended before the body did") from error
        if not block:
            return
        yield block


async def pour_away(request: web.Request) -> None:
    """Reads on for a moment after a refusal: a caller that is cut off while it sends often loses the answer."""
    clock = request.app[DOOR].clock
    end = clock.monotonic() + POUR_S
    with suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
        while clock.monotonic() < end:
            async with clock.timeout(POUR_PAUSE_S):
                if not await request.content.readany():
                    return


async def listing(request: web.Request) -> web.Response:
    """By id, those that come in too; pass `next` as `after` to go on."""
    params = read_params(request, BlobsQuery)
    found = [info for info in await _store(request).list() if info.id > (params.after or "")][: params.limit]
    return page(found, found[-1].id if len(found) == params.limit else None)


async def get(request: web.Request) -> web.StreamResponse:
    """The content, or the one range of it that is asked for (RFC 9110)."""
    info = await _store(request).stat(request.match_info["id"])
    headers = {"ETag": _tag(info), "Accept-Ranges": "bytes", "Cache-Control": "private, immutable"}
    if _tag(info) in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    start, stop = _asked(request, info)
    partial = (start, stop) != (0, info.size)
    if partial:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{info.size}"
    response = web.StreamResponse(status=206 if partial else 200, headers={**headers, **_HEADERS})
    response.content_length = stop - start
    await response.prepare(request)
    if request.method != "HEAD":
        await _send(request, response, info, range(start, stop))
    return response


def _asked(request: web.Request, info: BlobInfo) -> tuple[int, int]:
    """From where to where is wanted; a range that is not understood asks for all."""
    match = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if match is None or match.groups() == ("", "") or request.headers.get("If-Range", _tag(info)) != _tag(info):
        return 0, info.size
    first, last = match.groups()
    start = int(first) if first else max(info.size - int(last), 0)
    stop = min(int(last) + 1, info.size) if first and last else info.size
    if start >= info.size or start >= stop:
        raise OutOfRange(f"the blob has {info.size} bytes", hint="bytes are counted from 0")
    return start, stop


async def _send(request: web.Request, response: web.StreamResponse, info: BlobInfo, wanted: range) -> None:
    store, clock = _store(request), request.app[DOOR].clock
    try:
        for offset in range(wanted.start, wanted.stop, CHUNK_BYTES):
            content = await store.read(info.id, offset, min(CHUNK_BYTES, wanted.stop - offset))
            async with clock.timeout(WRITE_TIMEOUT):
                await response.write(content)
    except ConnectionError:
        return  # the caller hung up, as callers do
    except (TimeoutError, NotFound, StorageFailed):
        if request.transport is not None:  # the head is sent: only an end that is too early says that something is wrong
            request.transport.abort()


async def delete(request: web.Request) -> web.Response:
    """Takes effect at once; whoever is reading it reads on. Of a blob that came in only partly, what there is goes."""
    return document(await _store(request).delete(request.match_info["id"]))


async def pull(request: web.Request) -> web.Response:
    """Fetches the blob from peers; where the time does not suffice, what came in stays and the next request goes on."""
    blobs = _blobs(request)
    wanted = await read_body(request, BlobPull)
    door = request.app[DOOR]
    deadline = door.clock.monotonic() + wanted.wait
    id = check_id(request.match_info["id"])
    info = await door.polls.run(lambda: _pulled(blobs, id, wanted.sources, deadline), None)
    if info is None:
        raise Unavailable("the node stops; what came in stays")
    return document(info, headers={"ETag": _tag(info)})


async def _pulled(blobs: Blobs, id: str, sources: Sequence[str], deadline: float) -> BlobInfo | None:
    return await blobs.fetch(id, sources, deadline=deadline)


def _tag(info: BlobInfo) -> str:
    return f'"{info.id}"'


_HEADERS: Final = {"Content-Type": CONTENT, "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
_ONE: Final = f"{API}/blobs/{{id}}"

ROUTES: Final = (
    Route(
        "POST",
        f"{API}/blobs",
        Scope.SUBMIT,
        put,
        "Store content under its SHA-256.",
        takes=CONTENT,
        params=BlobUpload,
        reply=BlobInfo,
        answers=(201, 200),
        raises=(Busy, StorageFailed, Conflict, NotFound),
        keyed=False,
    ),
    Route(
        "GET",
        f"{API}/blobs",
        Scope.READ,
        listing,
        "The blobs by id.",
        params=BlobsQuery,
        reply=BlobInfo,
        many=True,
        raises=(NotFound,),
    ),
    Route(
        "GET",
        _ONE,
        Scope.READ,
        get,
        "The content of a blob.",
        media=CONTENT,
        answers=(200, 206),
        raises=(NotFound, Invalid, OutOfRange, StorageFailed),
    ),
    Route(
        "DELETE",
        _ONE,
        Scope.OPERATE,
        delete,
        "Delete a blob.",
        reply=BlobInfo,
        raises=(NotFound, Invalid, Conflict, StorageFailed),
    ),
    Route(
        "POST",
        f"{_ONE}/pull",
        Scope.OPERATE,
        pull,
        "Fetch a blob from peers.",
        body=BlobPull,
        reply=BlobInfo,
        raises=(NotFound, Busy, StorageFailed, DeadlineExceeded),
        keyed=False,
    ),
)
