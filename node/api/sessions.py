"""What can a caller do with private sessions, and with the data sets that they use?"""

from __future__ import annotations

from typing import Final, TypeVar

from aiohttp import web
from pydantic import JsonValue

from node.api import repeats
from node.api.answer import document, encode, page
from node.api.ports import DatasetShelf, SessionDesk
from node.api.reading import read_body, read_params, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, Conflict, Forbidden, Invalid, NotFound, PeerUnreachable, StorageFailed
from node.model.block import ModelBlock
from node.model.document import SessionListQuery, SessionRecordsQuery, to_document
from node.model.federated import (
    Dataset,
    DatasetRequest,
    PartyTraffic,
    Record,
    Refusal,
    Session,
    SessionEvent,
    SessionOutput,
    SessionRequest,
)

MAX_REF: Final = 200

P = TypeVar("P")


def _kept(port: P | None, what: str) -> P:
    if port is None:
        raise NotFound(
            f"this node has no {what}: a node with the role federated has", hint="ask one: ecnode --url http://NODE:7480 …"
        )
    return port


def desk_of(request: web.Request) -> SessionDesk:
    """The sessions of this node; NotFound where it has none."""
    return _kept(request.app[DOOR].ports.sessions, "private sessions")


def _shelf(request: web.Request) -> DatasetShelf:
    return _kept(request.app[DOOR].ports.datasets, "data sets")


def _ref(request: web.Request) -> str:
    return read_ref(request, MAX_REF, "session")


async def create(request: web.Request) -> web.Response:
    """201 for a new session, 200 for the same one again."""
    desk = desk_of(request)
    wanted = await read_body(request, SessionRequest)
    if wanted.id is None and (identity := repeats.identity(request, "s")) is not None:
        wanted = wanted.replace(id=identity)
    session, new = await desk.create(wanted)
    return document(session, status=201 if new else 200, headers={"Location": f"{API}/sessions/{session.id}"})


async def listing(request: web.Request) -> web.Response:
    """Newest first; `next` is null on the last page."""
    desk = desk_of(request)
    params = read_params(request, SessionListQuery)
    found = await desk.page(params.limit, params.after)
    return page(found, found[-1].id if len(found) == params.limit else None)


async def show(request: web.Request) -> web.Response:
    """One session, with where its parties are now."""
    return document(await desk_of(request).get(_ref(request)))


async def accept(request: web.Request) -> web.Response:
    """Has this node's parties take part: they sign the spec as it stands."""
    return document(await desk_of(request).accept(_ref(request)))


async def reject(request: web.Request) -> web.Response:
    """Has this node's parties refuse; the session is over."""
    wanted = await read_body(request, Refusal)
    return document(await desk_of(request).reject(_ref(request), wanted.reason))


async def begin(request: web.Request) -> web.Response:
    """Starts a session that all have accepted."""
    return document(await desk_of(request).begin(_ref(request)))


async def stop(request: web.Request) -> web.Response:
    """Ends a session for all; one that has ended stays as it is."""
    return document(await desk_of(request).halt(_ref(request)))


async def metrics(request: web.Request) -> web.Response:
    """The tests of the model in order; `next` goes on behind the last."""
    desk, params = desk_of(request), read_params(request, SessionRecordsQuery)
    found = await desk.records(_ref(request), params.after)
    items: list[JsonValue] = [to_document(record) for record in found]
    return encode({"items": items, "next": found[-1].step if found else params.after})


async def traffic(request: web.Request) -> web.Response:
    """What each party has said and heard in this epoch."""
    session = await desk_of(request).get(_ref(request))
    found = [
        PartyTraffic(party=view.name, role=view.role, step=view.progress.step, **dict(view.progress.traffic))
        for view in session.parties
    ]
    return page(found, None)


async def outputs(request: web.Request) -> web.Response:
    """Which files each party has at its node; they stay there."""
    session = await desk_of(request).get(_ref(request))
    found = [SessionOutput(party=view.name, node=view.node, files=view.outputs) for view in session.parties]
    return page(found, None)


async def blocks(request: web.Request) -> web.Response:
    """The blocks of the model whose owners' parties this node plays; those of others stay with them."""
    return page(await desk_of(request).blocks(_ref(request)), None)


async def events(request: web.Request) -> web.Response:
    """Every step of a session's life."""
    return page(await desk_of(request).events(_ref(request)), None)


async def register(request: web.Request) -> web.Response:
    """Looks at a file below `federated.data_root` and keeps what it is; nothing of its rows is told."""
    shelf = _shelf(request)
    return document(await shelf.register(await read_body(request, DatasetRequest)), status=201)


async def datasets(request: web.Request) -> web.Response:
    """By name; their number is bounded, so there is one page."""
    return page(await _shelf(request).all(), None)


async def dataset(request: web.Request) -> web.Response:
    """One data set."""
    return document(await _shelf(request).get(read_ref(request, MAX_REF, "data set")))


_ONE: Final = f"{API}/sessions/{{ref}}"
_KEPT: Final = (Busy, StorageFailed, NotFound)
_NAMED: Final = (*_KEPT, Conflict)
_ASKED: Final = (*_NAMED, Forbidden, PeerUnreachable)

ROUTES: Final = (
    Route(
        "POST",
        f"{API}/sessions",
        Scope.OPERATE,
        create,
        "Make a private session.",
        body=SessionRequest,
        reply=Session,
        answers=(201, 200),
        raises=(*_ASKED, Invalid),
    ),
    Route(
        "GET",
        f"{API}/sessions",
        Scope.READ,
        listing,
        "Private sessions, newest first.",
        params=SessionListQuery,
        reply=Session,
        many=True,
        raises=_KEPT,
    ),
    Route("GET", _ONE, Scope.READ, show, "One session.", reply=Session, raises=_NAMED),
    Route("POST", f"{_ONE}/accept", Scope.OPERATE, accept, "Take part.", reply=Session, raises=_ASKED),
    Route("POST", f"{_ONE}/reject", Scope.OPERATE, reject, "Refuse.", body=Refusal, reply=Session, raises=_ASKED),
    Route("POST", f"{_ONE}/start", Scope.OPERATE, begin, "Start.", reply=Session, raises=_ASKED),
    Route("POST", f"{_ONE}/stop", Scope.OPERATE, stop, "Stop.", reply=Session, raises=_ASKED),
    Route(
        "GET",
        f"{_ONE}/metrics",
        Scope.READ,
        metrics,
        "Tests of the model.",
        params=SessionRecordsQuery,
        reply=Record,
        many=True,
        raises=_NAMED,
    ),
    Route("GET", f"{_ONE}/traffic", Scope.READ, traffic, "What was said.", reply=PartyTraffic, many=True, raises=_NAMED),
    Route(
        "GET", f"{_ONE}/outputs", Scope.READ, outputs, "Files of the parties.", reply=SessionOutput, many=True, raises=_NAMED
    ),
    Route(
        "GET", f"{_ONE}/model", Scope.OPERATE, blocks, "Blocks of the model here.", reply=ModelBlock, many=True, raises=_NAMED
    ),
    Route("GET", f"{_ONE}/events", Scope.READ, events, "Steps of its life.", reply=SessionEvent, many=True, raises=_NAMED),
    Route(
        "POST",
        f"{API}/datasets",
        Scope.OPERATE,
        register,
        "Register a data set.",
        body=DatasetRequest,
        reply=Dataset,
        answers=(201,),
        raises=(*_KEPT, Forbidden),
    ),
    Route(
        "GET", f"{API}/datasets", Scope.READ, datasets, "The data sets of this node.", reply=Dataset, many=True, raises=_KEPT
    ),
    Route("GET", f"{API}/datasets/{{ref}}", Scope.READ, dataset, "One data set.", reply=Dataset, raises=_KEPT),
)
