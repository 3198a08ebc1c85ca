"""What can a caller do with video queries?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web
from pydantic import JsonValue

from node.api import mjpeg, repeats
from node.api.answer import document, encode, page
from node.api.ports import Queries
from node.api.reading import kept_by_clouds, read_body, read_params, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.clock import rfc3339
from node.errors import Busy, Conflict, DeadlineExceeded, NotFound, Stale, StorageFailed
from node.model.decision import Decision
from node.model.document import DecisionsQuery, FramesQuery, ListQuery, PlanChoice, PlanHistory, PlanItem, to_document
from node.model.video import Constraint, Event, Query, QueryRequest, Runtime

MAX_REF: Final = 200
TAGS_AT_HAND: Final = 256  # of about 500 B


def queries_of(request: web.Request) -> Queries:
    """The queries that this node keeps; NotFound where it keeps none."""
    return kept_by_clouds(request.app[DOOR].ports.queries, "queries")


def ref_of(request: web.Request) -> str:
    """What the path calls the query."""
    return read_ref(request, MAX_REF, "query")


async def submit(request: web.Request) -> web.Response:
    """201 for a new query, 200 for the same one again."""
    queries = queries_of(request)
    wanted = await read_body(request, QueryRequest)
    if wanted.id is None and (identity := repeats.identity(request, "q")) is not None:
        wanted = wanted.replace(id=identity)
    query, new = await queries.submit(wanted)
    headers: dict[str, str] = {hdrs.LOCATION: f"{API}/queries/{query.id}", hdrs.ETAG: tag(query)}
    return document(query, status=201 if new else 200, headers=headers)


async def listing(request: web.Request) -> web.Response:
    """Newest first; `next` is null on the last page."""
    queries = queries_of(request)
    params = read_params(request, ListQuery)
    found = await queries.list(params.state, params.limit, params.after)
    return page(found, found[-1].id if len(found) == params.limit else None)


async def show(request: web.Request) -> web.Response:
    """One query, with its ETag."""
    query = await queries_of(request).get(ref_of(request))
    return document(query, headers={"ETag": tag(query)})


async def constrain(request: web.Request) -> web.Response:
    """A merge patch: a field left out stays, null takes it away (RFC 7396). With If-Match only where nobody else was first."""
    patch = await read_body(request, Constraint)
    given = {field: getattr(patch, field) for field in patch.model_fields_set}
    query = await change(request, ref_of(request), lambda present: present.replace(**given))
    return document(query, headers={"ETag": tag(query)})


async def change(request: web.Request, ref: str, wanted: Callable[[Constraint], Constraint]) -> Query:
    """The query under the constraint that `wanted` makes of the present one; nobody changes it in between.

    Raises:
        Stale: the request names another ETag than the present one.
    """
    queries = queries_of(request)
    async with request.app[DOOR].patching:
        query = await queries.get(ref)
        _check_match(request, query)
        return await queries.constrain(query.id, wanted(query.constraint))


def tag(query: Query) -> str:
    """The ETag of a query: it stands for what a caller may change in it, not for its figures."""
    return _tag(tuple(query.constraint.__dict__.values()))


@lru_cache(maxsize=TAGS_AT_HAND)
def _tag(content: tuple[float | None, ...]) -> str:
    return f'"{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"'


def _check_match(request: web.Request, query: Query) -> None:
    given = request.headers.getall("If-Match", [])
    wanted = {word.strip() for line in given for word in line.split(",")}
    if given and not wanted & {"*", tag(query)}:
        raise Stale(
            f"the constraint of query {query.id} was changed since it was read",
            hint=f"read it again: its ETag is {tag(query)}",
        )


async def stop(request: web.Request) -> web.Response:
    """Ends a query; one that has ended stays as it is."""
    return document(await queries_of(request).stop(ref_of(request)))


async def runtime(request: web.Request) -> web.Response:
    """What the newest results say."""
    return document(await queries_of(request).runtime(ref_of(request)))


async def plan(request: web.Request) -> web.Response:
    """The plan of now and the ones before it."""
    queries = queries_of(request)
    query = await queries.get(ref_of(request))
    history: list[JsonValue] = [
        to_document(PlanItem(since_at=since, plan=chosen)) for since, chosen in await queries.plans(query.id)
    ]
    return encode({"current": to_document(query.plan) if query.plan is not None else None, "history": history})


async def choose(request: web.Request) -> web.Response:
    """Gives the query a plan of its user's choice.

    It stays until the constraint changes or a node of it cannot be used.
    """
    wanted = await read_body(request, PlanChoice)
    return document(await queries_of(request).choose(ref_of(request), wanted.video_conf, wanted.flow_mapping))


async def picture(request: web.Request) -> web.Response:
    """The newest processed frame with what was found drawn into it."""
    content, result = await queries_of(request).picture(ref_of(request))
    headers = {"X-Frame-Id": str(result.cam_frame_id), "X-Captured-At": rfc3339(result.captured_at)}
    return web.Response(body=content, content_type="image/jpeg", headers=headers)


async def decisions(request: web.Request) -> web.Response:
    """Why the query has its plans: reason, prediction and observation, the five best."""
    params = read_params(request, DecisionsQuery)
    return page(await queries_of(request).decisions(ref_of(request), params.limit), None)


async def events(request: web.Request) -> web.Response:
    """Every transition with its time and reason."""
    return page(await queries_of(request).events(ref_of(request)), None)


async def frames(request: web.Request) -> web.StreamResponse:
    """Processed frames as they come, with what was found drawn into them unless `annotate=false`."""
    return await mjpeg.stream(request, queries_of(request), ref_of(request), read_params(request, FramesQuery))


_ONE: Final = f"{API}/queries/{{ref}}"

_KEPT: Final = (Busy, StorageFailed, NotFound)  # what every route of a store may meet; NotFound also where no cloud is
_NAMED: Final = (*_KEPT, Conflict)  # a ref may stand for several

ROUTES: Final = (
    Route(
        "POST",
        f"{API}/queries",
        Scope.SUBMIT,
        submit,
        "Submit a query.",
        body=QueryRequest,
        reply=Query,
        answers=(201, 200),
        raises=_NAMED,
    ),
    Route(
        "GET",
        f"{API}/queries",
        Scope.READ,
        listing,
        "Queries, newest first.",
        params=ListQuery,
        reply=Query,
        many=True,
        raises=_KEPT,
    ),
    Route("GET", _ONE, Scope.READ, show, "One query.", reply=Query, raises=_NAMED),
    Route("DELETE", _ONE, Scope.SUBMIT, stop, "Stop a query.", reply=Query, raises=_NAMED),
    Route("POST", f"{_ONE}/stop", Scope.SUBMIT, stop, "Stop a query.", reply=Query, raises=_NAMED),
    Route(
        "PATCH",
        f"{_ONE}/constraint",
        Scope.SUBMIT,
        constrain,
        "Change what must hold.",
        body=Constraint,
        reply=Query,
        raises=(*_NAMED, Stale),
    ),
    Route("GET", f"{_ONE}/runtime", Scope.READ, runtime, "Figures of the newest results.", reply=Runtime, raises=_NAMED),
    Route("GET", f"{_ONE}/plan", Scope.READ, plan, "The plan and its history.", reply=PlanHistory, raises=_NAMED),
    Route(
        "PUT",
        f"{_ONE}/plan",
        Scope.SUBMIT,
        choose,
        "Choose a plan by hand.",
        body=PlanChoice,
        reply=Query,
        raises=(*_NAMED, DeadlineExceeded),
    ),
    Route(
        "GET",
        f"{_ONE}/picture.jpg",
        Scope.READ,
        picture,
        "The newest annotated frame.",
        media="image/jpeg",
        raises=(*_NAMED, DeadlineExceeded),
    ),
    Route(
        "GET",
        f"{_ONE}/frames.mjpeg",
        Scope.READ,
        frames,
        "Annotated frames as they come.",
        params=FramesQuery,
        media=mjpeg.MEDIA,
        raises=_NAMED,
    ),
    Route(
        "GET",
        f"{_ONE}/decisions",
        Scope.READ,
        decisions,
        "Why it has its plans.",
        params=DecisionsQuery,
        reply=Decision,
        many=True,
        raises=_NAMED,
    ),
    Route("GET", f"{_ONE}/events", Scope.READ, events, "Transitions of the query.", reply=Event, many=True, raises=_NAMED),
)
