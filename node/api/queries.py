"""What can a caller do with video queries?"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from pydantic import JsonValue

from node.api.answer import document, encode, page
from node.api.ports import Queries
from node.api.reading import read_body, read_params
from node.api.route import API, DOOR, Route, Scope
from node.clock import rfc3339
from node.errors import NotFound
from node.model.document import ListQuery, PlanItem, ResultItem, ResultsQuery, to_document
from node.model.video import Constraint, Event, Query, QueryRequest, Result, Runtime

MAX_REF: Final = 200


def _queries(request: web.Request) -> Queries:
    queries = request.app[DOOR].ports.queries
    if queries is None:
        raise NotFound(
            "this node keeps no queries: a node with the role cloud does",
            hint="ask a cloud: ecnode --url http://CLOUD:7480 …",
        )
    return queries


def _ref(request: web.Request) -> str:
    ref = request.match_info["ref"]
    if len(ref) > MAX_REF:
        raise NotFound(f"no query has a name of {len(ref)} characters")
    return ref


async def submit(request: web.Request) -> web.Response:
    """201 for a new query, 200 for the same one again."""
    queries = _queries(request)
    query, new = await queries.submit(await read_body(request, QueryRequest))
    return document(query, status=201 if new else 200, headers={"Location": f"{API}/queries/{query.id}"})


async def listing(request: web.Request) -> web.Response:
    """Newest first; `next` is null on the last page."""
    queries = _queries(request)
    params = read_params(request, ListQuery)
    found = await queries.list(params.state, params.limit, params.after)
    return page(found, found[-1].id if len(found) == params.limit else None)


async def show(request: web.Request) -> web.Response:
    """One query."""
    return document(await _queries(request).get(_ref(request)))


async def constrain(request: web.Request) -> web.Response:
    """A merge patch: a field left out stays, null takes it away (RFC 7396)."""
    queries = _queries(request)
    change = await read_body(request, Constraint)
    query = await queries.get(_ref(request))
    wanted = query.constraint.replace(**{field: getattr(change, field) for field in change.model_fields_set})
    return document(await queries.constrain(query.id, wanted))


async def stop(request: web.Request) -> web.Response:
    """Ends a query; one that has ended stays as it is."""
    return document(await _queries(request).stop(_ref(request)))


async def results(request: web.Request) -> web.Response:
    """Results behind a cursor; `next` goes on from there, also when there was nothing new."""
    queries, ref = _queries(request), _ref(request)
    params = read_params(request, ResultsQuery)
    if params.wait > 0:
        polls = request.app[DOOR].polls
        nothing: tuple[tuple[int, Result], ...] = ()
        found = await polls.run(lambda: queries.results(ref, params.after, params.limit, params.wait), nothing)
    else:
        found = await queries.results(ref, params.after, params.limit, 0.0)
    items: list[JsonValue] = [{"cursor": cursor, **to_document(result)} for cursor, result in found]
    return encode({"items": items, "next": found[-1][0] if found else params.after})


async def runtime(request: web.Request) -> web.Response:
    """What the newest results say."""
    return document(await _queries(request).runtime(_ref(request)))


async def plan(request: web.Request) -> web.Response:
    """The plan of now and the ones before it."""
    queries = _queries(request)
    query = await queries.get(_ref(request))
    history: list[JsonValue] = [
        to_document(PlanItem(since_at=since, plan=chosen)) for since, chosen in await queries.plans(query.id)
    ]
    return encode({"current": to_document(query.plan) if query.plan is not None else None, "history": history})


async def picture(request: web.Request) -> web.Response:
    """The newest processed frame with what was found drawn into it."""
    content, result = await _queries(request).picture(_ref(request))
    headers = {"X-Frame-Id": str(result.cam_frame_id), "X-Captured-At": rfc3339(result.captured_at)}
    return web.Response(body=content, content_type="image/jpeg", headers=headers)


async def events(request: web.Request) -> web.Response:
    """Every transition with its time and reason."""
    return page(await _queries(request).events(_ref(request)), None)


_ONE: Final = f"{API}/queries/{{ref}}"

ROUTES: Final = (
    Route("POST", f"{API}/queries", Scope.SUBMIT, submit, "Submit a query.", body=QueryRequest, reply=Query),
    Route("GET", f"{API}/queries", Scope.READ, listing, "Queries, newest first.", params=ListQuery, reply=Query),
    Route("GET", _ONE, Scope.READ, show, "One query.", reply=Query),
    Route("DELETE", _ONE, Scope.SUBMIT, stop, "Stop a query.", reply=Query),
    Route("POST", f"{_ONE}/stop", Scope.SUBMIT, stop, "Stop a query.", reply=Query),
    Route("PATCH", f"{_ONE}/constraint", Scope.SUBMIT, constrain, "Change what must hold.", body=Constraint, reply=Query),
    Route("GET", f"{_ONE}/results", Scope.READ, results, "Results in order.", params=ResultsQuery, reply=ResultItem),
    Route("GET", f"{_ONE}/runtime", Scope.READ, runtime, "Figures of the newest results.", reply=Runtime),
    Route("GET", f"{_ONE}/plan", Scope.READ, plan, "The plan and its history.", reply=PlanItem),
    Route("GET", f"{_ONE}/picture.jpg", Scope.READ, picture, "The newest annotated frame."),
    Route("GET", f"{_ONE}/events", Scope.READ, events, "Transitions of the query.", reply=Event),
)
