"""What can a client of the original video system do?

Its routes with its bodies, over the ports of the native API. What differs on purpose: the HTTP code says how it went, nothing a
client sends is evaluated, nobody is admitted as a node here, and results come from the edge that runs a query alone. A query's
original id, `GLOBAL_ID_n`, is an alias of the native one, and either is understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, TypeAlias

from aiohttp import web
from pydantic import JsonValue
from pydantic_core import to_json

from node.api import mjpeg, repeats
from node.api.compat import VIDEO
from node.api.compat.addresses import find_door, find_host, host_of_each, members
from node.api.compat.bodies import (
    ChangeConstraint,
    Join,
    NewestResults,
    NodeAddress,
    OriginalPlacement,
    SubmitJob,
    SubmitQuery,
    SyncResult,
    UpdatePlan,
    VideoParams,
)
from node.api.compat.replies import Done, Joined, OriginalPlan, OriginalRuntime, SubmittedJob, SubmittedQuery
from node.api.compat.shapes import (
    cluster_shape,
    plan_shape,
    resources_shape,
    result_shape,
    runtime_shape,
    state_shape,
    videos_shape,
)
from node.api.inputs import ServiceInput, read_inputs, write_outputs
from node.api.queries import change, queries_of, tag
from node.api.reading import MAX_LARGE_BODY, check_ref, parse, read_body, read_large_body, read_params
from node.api.route import DOOR, Route, Scope
from node.errors import (
    AssetMissing,
    Busy,
    ChildLost,
    Conflict,
    DeadlineExceeded,
    EcnodeError,
    NotFound,
    PeerUnreachable,
    Problem,
    Stale,
    StorageFailed,
)
from node.model.cluster import NodeReport, Role
from node.model.document import Document, FramesQuery
from node.model.video import Placement, Query, QueryRequest, StageRole
from node.model.wire.compute import StageCall
from node.pipeline.stage import PICTURES, SERVICES

ALIAS: Final = "GLOBAL_ID_"
SUBMITTED: Final = "submitted to (cloud) manager"
MAX_REF: Final = 200
STATES_SHOWN: Final = 100
TASK_TIMEOUT: Final = 20.0  # a worker that has to load a model first takes a few seconds


def _reply(body: JsonValue) -> web.Response:
    return web.Response(body=to_json(body, inf_nan_mode="null"), content_type="application/json")


def _done(told: Done, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=to_json(told), content_type="application/json", headers=headers)


def _members(request: web.Request) -> tuple[NodeReport, ...]:
    return members(request.app[DOOR].ports.nodes)


async def _find(request: web.Request, name: str) -> Query:
    """The query that an alias stands for, or that has such a native id."""
    native = await request.app[DOOR].ports.aliases.native(check_ref(name, MAX_REF, "query"))
    return await queries_of(request).get(native or name)


def _source(report: NodeReport, number: int) -> str:
    found = next((source.name for source in report.sources if source.id == number), None)
    if found is None:
        there = ", ".join(str(source.id) for source in report.sources)
        fault = f"'{report.name}' has no video {number}; it has: {there or 'none'}"
        raise NotFound(fault, problems=[Problem("video_id", fault)])
    return found


async def _submit(request: web.Request, wanted: SubmitQuery, id: str | None) -> tuple[str, NodeReport]:
    """The accepted query's alias, and the node that it runs on."""
    queries = queries_of(request)
    report = find_door(_members(request), wanted.node_addr, "node_addr")
    query, _ = await queries.submit(
        QueryRequest(
            id=id,
            node=report.name,
            source=_source(report, wanted.video_id),
            pipeline=wanted.pipeline,
            graph=wanted.graph,
            constraint=wanted.user_constraint,
        )
    )
    return await request.app[DOOR].ports.aliases.give(query.id, ALIAS), report


async def submit_query(request: web.Request) -> web.Response:
    """A new query each time, unless an Idempotency-Key says otherwise."""
    wanted = await read_body(request, SubmitQuery)
    alias, report = await _submit(request, wanted, repeats.identity(request, "q"))
    return _done(SubmittedQuery(msg=SUBMITTED, query_id=alias, r_sidechan=f"frames of {alias} come from {report.name}"))


async def submit_job(request: web.Request) -> web.Response:
    """As submit_query; a job_uid that was given out already is accepted again for the same request."""
    wanted = await read_body(request, SubmitJob)
    id = repeats.identity(request, "q")
    if wanted.job_uid is not None:
        id = (await _find(request, wanted.job_uid)).id
    alias, _ = await _submit(request, wanted, id)
    return _done(SubmittedJob(msg=SUBMITTED, job_uid=alias))


async def sync_result(request: web.Request) -> web.Response:
    """Accepts a result that the query has already, and no other.

    Results come from the edge that runs the query, over the peers' door, each with the tally of its frames; one from elsewhere
    would break captured = processed + skipped + failed. So a result is compared, by its n_loop, with the newest ones that are
    kept: to send one of those again is harmless and answered as the original did; anything else is a conflict.
    """
    sent = await read_body(request, SyncResult)
    query = await _find(request, sent.job_uid)
    kept = await queries_of(request).newest(query.id, NewestResults().limit)
    number = sent.job_result.appended_result.get("n_loop")
    if number is None or number not in {result.n_loop for result, _ in kept}:
        raise Conflict(
            f"results of {sent.job_uid} come from '{query.node}' over the peers' door; this one is not among them",
            hint="read them with get_result; a client of one's own can submit queries, not results",
        )
    return _done(Done(msg="result is known"))


async def _result_body(request: web.Request) -> Document:
    limit = read_params(request, NewestResults).limit
    query = await _find(request, request.match_info["ref"])
    queries = queries_of(request)
    found = await queries.newest(query.id, limit)
    addresses = host_of_each(_members(request))
    epochs = {result.plan_epoch for result, _ in found}
    known = [plan for _, plan in await queries.plans(query.id) if plan.epoch in epochs]
    plans: dict[int, JsonValue] = {plan.epoch: plan_shape(plan, addresses) for plan in known}
    newest: Document = {
        "plan": plan_shape(query.plan, addresses) if query.plan is not None else {},
        "runtime": runtime_shape(await queries.runtime(query.id)) if found else {},
    }
    results: list[JsonValue] = [result_shape(result, runtime, plans.get(result.plan_epoch, {})) for result, runtime in found]
    return {"appended_result": results, "latest_result": newest}


async def get_result(request: web.Request) -> web.Response:
    """The newest results, 100 unless `limit` says otherwise, and the plan and runtime of now; both are empty at first."""
    return _reply(await _result_body(request))


async def sync_job_result(request: web.Request) -> web.Response:
    """The older form of get_result."""
    return _reply({"status": 0, "result": await _result_body(request)})


async def get_plan(request: web.Request) -> web.Response:
    """The plan of now."""
    query = await _find(request, request.match_info["ref"])
    if query.plan is None:
        raise Conflict(f"query {query.id} is {query.state} and has no plan yet", hint="ask again in a second")
    return _reply(plan_shape(query.plan, host_of_each(_members(request))))


async def get_runtime(request: web.Request) -> web.Response:
    """The figures of the newest results, all zero until there are any."""
    query = await _find(request, request.match_info["ref"])
    return _reply(runtime_shape(await queries_of(request).runtime(query.id)))


async def change_constraint(request: web.Request) -> web.Response:
    """The whole constraint is replaced, from the next plan on; with If-Match only where nobody else was first."""
    wanted = await read_body(request, ChangeConstraint)
    query = await change(request, (await _find(request, wanted.ref)).id, lambda _: wanted.user_constraint)
    return _done(Done(msg="user_constraint updated"), {"ETag": tag(query)})


async def update_plan(request: web.Request) -> web.Response:
    """The query keeps this plan until its constraint changes or a node of it cannot be used; then this node plans again."""
    wanted = await read_body(request, UpdatePlan)
    query = await _find(request, wanted.job_uid)
    reports = _members(request)
    mapping = {
        stage: _placement(place, reports, query.node, f"flow_mapping.{stage}") for stage, place in wanted.flow_mapping.items()
    }
    await queries_of(request).choose(query.id, wanted.video_conf, mapping)
    return _done(Done(msg="plan updated"))


def _placement(place: OriginalPlacement, reports: tuple[NodeReport, ...], host: str, field: str) -> Placement:
    if place.node_role == "host":
        return Placement(node=host, role=StageRole.HOST, model_id=place.model_id)
    if place.node_ip is not None:
        report = find_host(reports, place.node_ip, f"{field}.node_ip")
    else:
        found = next((report for report in reports if place.node_role == "cloud" and Role.CLOUD in report.roles), None)
        if found is None:
            fault = f"{field}.node_ip: which node of the role {place.node_role}?"
            raise NotFound(fault, problems=[Problem(f"{field}.node_ip", "is required")])
        report = found
    if report.name == host:
        return Placement(node=host, role=StageRole.HOST, model_id=place.model_id)
    role = StageRole.CLOUD if Role.CLOUD in report.roles else StageRole.EDGE
    return Placement(node=report.name, role=role, model_id=place.model_id)


async def get_video_info(request: web.Request) -> web.Response:
    """The sources of every edge; the keys are what submit_query takes as node_addr."""
    return _reply(videos_shape(_members(request)))


async def join(request: web.Request) -> web.Response:
    """Finds a source of a node that is a member already. It admits nobody: nodes are admitted by their keys."""
    wanted = await read_body(request, Join)
    ip = wanted.node_ip or request.remote or ""
    address = f"[{ip}]:{wanted.node_port}" if ":" in ip else f"{ip}:{wanted.node_port}"
    report = find_door(_members(request), address, "node_port")
    return _done(
        Joined(msg=f"'{report.name}' is a member, its source is '{_source(report, wanted.video_id)}'", node_addr=address)
    )


async def update_node_addr(request: web.Request) -> web.Response:
    """Changes nothing: where a node is, it reports itself."""
    wanted = await read_body(request, NodeAddress)
    await _find(request, wanted.job_uid)
    return _done(Done(msg="nodes report their addresses themselves, nothing was changed"))


async def get_all_status(request: web.Request) -> web.Response:
    """The edges with their sources, and the states of the newest queries of each."""
    reports = _members(request)
    data: dict[str, Document] = {address: {"video": videos} for address, videos in videos_shape(reports).items()}
    addresses = {find_door(reports, address, "").name: address for address in data}
    states: dict[str, Document] = {address: {} for address in data}
    aliases = request.app[DOOR].ports.aliases
    for query in await queries_of(request).list(None, STATES_SHOWN, None):
        if query.node in addresses:
            states[addresses[query.node]][await aliases.give(query.id, ALIAS)] = state_shape(query)
    return _reply({"status": 0, "data": {address: {**data[address], "job": states[address]} for address in data}})


async def video(request: web.Request) -> web.StreamResponse:
    """The processed frames, plain unless `annotate` is given. The cloud pulls them over the link that the edge made."""
    params = read_params(request, VideoParams)
    query = await _find(request, request.match_info["ref"])
    return await mjpeg.stream(request, queries_of(request), query.id, FramesQuery(annotate=params.annotate, fps=params.fps))


async def get_service_list(request: web.Request) -> web.Response:
    """The services of this node."""
    return _reply([report.name for report in request.app[DOOR].ports.services.reports()])


async def get_resource_info(request: web.Request) -> web.Response:
    """What the nodes report of their services."""
    return _reply(resources_shape(_members(request)))


async def get_cluster_info(request: web.Request) -> web.Response:
    """What the nodes report of their machines."""
    return _reply(cluster_shape(_members(request)))


def _given(content: bytes) -> Mapping[str, JsonValue]:
    # a picture may be the list of its pixels
    return parse(content, ServiceInput, entries=MAX_LARGE_BODY).__pydantic_extra__


async def execute_task(request: web.Request) -> web.Response:
    """One call of a service of this node; pictures as base64 of a JPEG or as the text of a list, which is never evaluated."""
    door = request.app[DOOR]
    services = door.ports.services
    name = request.match_info["service"]
    there = [report.name for report in services.reports()]
    if name not in there:
        raise NotFound("unregistered services", hint=f"there are: {', '.join(there)}")
    spec = SERVICES[name]
    inputs = await read_large_body(request, lambda content: read_inputs(_given(content), spec.needs))
    deadline = door.clock.monotonic() + TASK_TIMEOUT
    stages = (StageCall(service=name),)
    wanted = spec.gives & PICTURES
    return _reply(write_outputs(await services.call(stages, inputs.values, inputs.pictures, wanted=wanted, deadline=deadline)))


_Kinds: TypeAlias = tuple[type[EcnodeError], ...]
_KEPT: Final[_Kinds] = (Busy, StorageFailed, NotFound)  # NotFound also where no cloud is
_NAMED: Final[_Kinds] = (*_KEPT, Conflict)
_ACCEPTED: Final[_Kinds] = (*_NAMED, PeerUnreachable)
_CHOSEN: Final[_Kinds] = (*_ACCEPTED, DeadlineExceeded)
_SERVED: Final[_Kinds] = (NotFound, Busy, ChildLost, AssetMissing, DeadlineExceeded)

_route = partial(Route, group=VIDEO.name, media="application/json")
_get = partial(_route, "GET", scope=Scope.READ)
_post = partial(_route, "POST", scope=Scope.SUBMIT)

ROUTES: Final = (
    _post(
        "/query/submit_query",
        handler=submit_query,
        summary="Submit a query.",
        body=SubmitQuery,
        reply=SubmittedQuery,
        raises=_ACCEPTED,
    ),
    _post(
        "/query/sync_result",
        handler=sync_result,
        summary="Send a result again.",
        body=SyncResult,
        reply=Done,
        raises=_NAMED,
        keyed=False,
    ),
    _get("/query/get_result/{ref}", handler=get_result, summary="The newest results.", params=NewestResults, raises=_NAMED),
    _get("/query/get_agg_info/{ref}", handler=get_result, summary="The newest results.", params=NewestResults, raises=_NAMED),
    _get("/query/get_plan/{ref}", handler=get_plan, summary="The plan of now.", reply=OriginalPlan, raises=_NAMED),
    _get(
        "/query/get_runtime/{ref}",
        handler=get_runtime,
        summary="Figures of the newest results.",
        reply=OriginalRuntime,
        raises=_NAMED,
    ),
    _get("/node/get_video_info", handler=get_video_info, summary="The sources of the edges."),
    _post(
        "/node/join",
        handler=join,
        summary="Find a source of a member.",
        body=Join,
        reply=Joined,
        raises=(NotFound,),
        keyed=False,
    ),
    _post("/job/submit_job", handler=submit_job, summary="Submit a job.", body=SubmitJob, reply=SubmittedJob, raises=_ACCEPTED),
    _post(
        "/job/update_plan",
        handler=update_plan,
        summary="Choose a plan.",
        body=UpdatePlan,
        reply=Done,
        raises=_CHOSEN,
        keyed=False,
    ),
    _get(
        "/job/get_runtime/{ref}",
        handler=get_runtime,
        summary="Figures of the newest results.",
        reply=OriginalRuntime,
        raises=_NAMED,
    ),
    _get("/get_service_list", handler=get_service_list, summary="The services of this node."),
    _get("/get_resource_info", handler=get_resource_info, summary="The services of the nodes."),
    _get("/get_cluster_info", handler=get_cluster_info, summary="The machines of the nodes."),
    _post(
        "/execute_task/{service}",
        handler=execute_task,
        summary="Call a service.",
        body=ServiceInput,
        raises=_SERVED,
        keyed=False,
    ),
    _post(
        "/user/submit_job_user_constraint",
        handler=change_constraint,
        summary="Change what must hold.",
        body=ChangeConstraint,
        reply=Done,
        raises=(*_NAMED, Stale),
        keyed=False,
    ),
    _post(
        "/user/submit_job", handler=submit_job, summary="Submit a job.", body=SubmitJob, reply=SubmittedJob, raises=_ACCEPTED
    ),
    _post(
        "/user/update_node_addr",
        handler=update_node_addr,
        summary="Nothing.",
        body=NodeAddress,
        reply=Done,
        raises=_NAMED,
        keyed=False,
    ),
    _get(
        "/user/sync_job_result/{ref}",
        handler=sync_job_result,
        summary="The newest results.",
        params=NewestResults,
        raises=_NAMED,
    ),
    _get(
        "/user/video/{ref}",
        handler=video,
        summary="Frames as they come.",
        params=VideoParams,
        media=mjpeg.MEDIA,
        raises=_NAMED,
    ),
    _get("/user/get_all_status", handler=get_all_status, summary="The edges and the states of their queries.", raises=_KEPT),
)
