"""Which video sources are there, what do they show, and who adds and removes them?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import document, page
from node.api.ports import Sources
from node.api.reading import read_body, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, Conflict, Forbidden, NotFound, StorageFailed, Unavailable
from node.model.cluster import SourceReport
from node.model.source import SourceItem, SourceProbe, SourceRequest

MAX_REF: Final = 63


def _own(request: web.Request) -> Sources:
    sources = request.app[DOOR].ports.sources
    if sources is None:
        raise NotFound("sources belong to edges, and this node is none", hint="ask the edge that owns the source")
    return sources


def _ref(request: web.Request) -> str:
    return read_ref(request, MAX_REF, "source")


def _item(request: web.Request, report: SourceReport) -> SourceItem:
    ports = request.app[DOOR].ports
    added = ports.sources is not None and ports.sources.is_added(report.name)
    return SourceItem(**dict(report), node=ports.nodes.here().name, added=added)


async def listing(request: web.Request) -> web.Response:
    """Those of this node, then those that other nodes report; their number is bounded, so there is one page."""
    nodes = request.app[DOOR].ports.nodes
    here = nodes.here()
    items = [_item(request, report) for report in here.sources]
    others = (view.report for view in nodes.views() if view.report.name != here.name)
    items += [SourceItem(**dict(source), node=report.name) for report in others for source in report.sources]
    return page(items, None)


async def add(request: web.Request) -> web.Response:
    """It stays until it is removed. Its address must be one that may be read from here; the same source again is harmless."""
    wanted = await read_body(request, SourceRequest)
    return document(_item(request, await _own(request).add(wanted)), status=201)


async def remove(request: web.Request) -> web.Response:
    """Queries that run on it fail with the reason."""
    return document(_item(request, await _own(request).remove(_ref(request))))


async def probe(request: web.Request) -> web.Response:
    """Looks at it for two seconds once it gives pictures; that may take twelve."""
    return document(await _own(request).probe(_ref(request)))


async def snapshot(request: web.Request) -> web.Response:
    """Its next picture at 720p."""
    content = await _own(request).snapshot(_ref(request))
    return web.Response(body=content, content_type="image/jpeg", headers={"Cache-Control": "no-store"})


_ONE: Final = f"{API}/sources/{{ref}}"

ROUTES: Final = (
    Route("GET", f"{API}/sources", Scope.READ, listing, "The video sources.", reply=SourceItem, many=True),
    Route(
        "POST",
        f"{API}/sources",
        Scope.ADMIN,
        add,
        "Add a source to this edge.",
        body=SourceRequest,
        reply=SourceItem,
        answers=(201,),
        raises=(NotFound, Conflict, Forbidden, Busy, Unavailable, StorageFailed),
        keyed=False,
    ),
    Route(
        "DELETE",
        _ONE,
        Scope.ADMIN,
        remove,
        "Remove a source that was added.",
        reply=SourceItem,
        raises=(NotFound, Forbidden, StorageFailed),
    ),
    Route("GET", f"{_ONE}/probe", Scope.SUBMIT, probe, "Look at a source.", reply=SourceProbe, raises=(NotFound, Unavailable)),
    Route(
        "GET",
        f"{_ONE}/snapshot.jpg",
        Scope.SUBMIT,
        snapshot,
        "One picture of a source.",
        media="image/jpeg",
        raises=(NotFound, Unavailable),
    ),
)
