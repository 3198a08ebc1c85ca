"""What can a client of the original video system do?

Its routes with its bodies, over the ports of the native API. What differs on purpose: the HTTP code says how it went, nothing a
client sends is evaluated, nobody is admitted as a node here, and results come from the edge that runs a query alone. A query's
original id, `GLOBAL_ID_n`, is an alias of the native one, and either is understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from pydantic import JsonValue
from pydantic_core import to_json

from node.api import repeats
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
)
from node.api.compat.inputs import ServiceInput, read_inputs, write_outputs
from node.api.compat.shapes import (
    cluster_shape,
    plan_shape,
    resources_shape,
    result_shape,
    runtime_shape,
    state_shape,
    videos_shape,
)
from node.api.queries import queries_of
from node.api.reading import MAX_LARGE_BODY, parse, read_body, read_large_body, read_params
from node.api.route import DOOR, Route, Scope
from node.errors import Conflict, NotFound, Problem
from node.model.cluster import NodeReport, Role
from node.model.document import Document
from node.model.video import Placement, Query, QueryRequest, StageRole
from node.pipeline.stage import SERVICES

ALIAS: Final = "GLOBAL_ID_"
MAX_REF: Final = 200
STATES_SHOWN: Final = 100
TASK_TIMEOUT: Final = 20.0  # a worker that has to load a model first takes a few seconds


def _reply(body: JsonValue) -> web.Response:
    return web.Response(body=to_json(body, inf_nan_mode="null"), content_type="application/json")


def _done(msg: str, **more: JsonValue) -> web.Response:
    return _reply({"status": 0, "msg": msg, **more})


def _members(request: web.Request) -> tuple[NodeReport, ...]:
    return members(request.app[DOOR].ports.nodes)


async def _find(request: web.Request, name: str) -> Query:
    """The query that an alias stands for, or that has such a native id."""
    if len(name) > MAX_REF:
        raise NotFound(f"no query has a name of {len(name)} characters")
    native = await request.app[DOOR].ports.aliases.native(name)
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
            constraint=wanted.user_constraint,
        )
    )
    return await request.app[DOOR].ports.aliases.give(query.id, ALIAS), report


async def submit_query(request: web.Request) -> web.Response:
    """A new query each time, unless an Idempotency-Key says otherwise."""
    wanted = await read_body(request, SubmitQuery)
    alias, report = await _submit(request, wanted, repeats.identity(request, "q"))
    return _done("submitted to (cloud) manager", query_id=alias, r_sidechan=f"frames of {alias} come from {report.name}")


async def submit_job(request: web.Request) -> web.Response:
    """As submit_query; a job_uid that was given out already is accepted again for the same request."""
    wanted = await read_body(request, SubmitJob)
    id = repeats.identity(request, "q")
    if wanted.job_uid is not None:
        id = (await _find(request, wanted.job_uid)).id
    alias, _ = await _submit(request, wanted, id)
    return _done("submitted to (cloud) manager", job_uid=alias)


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
    return _done("result is known")


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
    """The whole constraint is replaced, from the next plan on."""
    wanted = await read_body(request, ChangeConstraint)
    query = await _find(request, wanted.ref)
    await queries_of(request).constrain(query.id, wanted.user_constraint)
    return _done("user_constraint updated")


async def update_plan(request: web.Request) -> web.Response:
    """The query keeps this plan until its constraint changes or a node of it cannot be used; then this node plans again."""
    wanted = await read_body(request, UpdatePlan)
    query = await _find(request, wanted.job_uid)
    reports = _members(request)
    mapping = {
        stage: _placement(place, reports, query.node, f"flow_mapping.{stage}") for stage, place in wanted.flow_mapping.items()
    }
    await queries_of(request).choose(query.id, wanted.video_conf, mapping)
    return _done("plan updated")


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
    return _done(f"'{report.name}' is a member, its source is '{_source(report, wanted.video_id)}'", node_addr=address)


async def update_node_addr(request: web.Request) -> web.Response:
    """Changes nothing: where a node is, it reports itself."""
    wanted = await read_body(request, NodeAddress)
    await _find(request, wanted.job_uid)
    return _done("nodes report their addresses themselves, nothing was changed")


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
    needs = SERVICES[name].needs
    inputs = await read_large_body(request, lambda content: read_inputs(_given(content), needs))
    deadline = door.clock.monotonic() + TASK_TIMEOUT
    return _reply(write_outputs(await services.call(name, 0, inputs.values, inputs.pictures, deadline=deadline)))


ROUTES: Final = (
    Route("POST", "/query/submit_query", Scope.SUBMIT, submit_query, "Submit a query.", body=SubmitQuery),
    Route("POST", "/query/sync_result", Scope.SUBMIT, sync_result, "Send a result again.", body=SyncResult, keyed=False),
    Route("GET", "/query/get_result/{ref}", Scope.READ, get_result, "The newest results.", params=NewestResults),
    Route("GET", "/query/get_agg_info/{ref}", Scope.READ, get_result, "The newest results.", params=NewestResults),
    Route("GET", "/query/get_plan/{ref}", Scope.READ, get_plan, "The plan of now."),
    Route("GET", "/query/get_runtime/{ref}", Scope.READ, get_runtime, "Figures of the newest results."),
    Route("GET", "/node/get_video_info", Scope.READ, get_video_info, "The sources of the edges."),
    Route("POST", "/node/join", Scope.SUBMIT, join, "Find a source of a member.", body=Join, keyed=False),
    Route("POST", "/job/submit_job", Scope.SUBMIT, submit_job, "Submit a job.", body=SubmitJob),
    Route("POST", "/job/update_plan", Scope.SUBMIT, update_plan, "Choose a plan.", body=UpdatePlan, keyed=False),
    Route("GET", "/job/get_runtime/{ref}", Scope.READ, get_runtime, "Figures of the newest results."),
    Route("GET", "/get_service_list", Scope.READ, get_service_list, "The services of this node."),
    Route("GET", "/get_resource_info", Scope.READ, get_resource_info, "The services of the nodes."),
    Route("GET", "/get_cluster_info", Scope.READ, get_cluster_info, "The machines of the nodes."),
    Route("POST", "/execute_task/{service}", Scope.SUBMIT, execute_task, "Call a service.", body=ServiceInput, keyed=False),
    Route(
        "POST",
        "/user/submit_job_user_constraint",
        Scope.SUBMIT,
        change_constraint,
        "Change what must hold.",
        body=ChangeConstraint,
        keyed=False,
    ),
    Route("POST", "/user/submit_job", Scope.SUBMIT, submit_job, "Submit a job.", body=SubmitJob),
    Route("POST", "/user/update_node_addr", Scope.SUBMIT, update_node_addr, "Nothing.", body=NodeAddress, keyed=False),
    Route("GET", "/user/sync_job_result/{ref}", Scope.READ, sync_job_result, "The newest results.", params=NewestResults),
    Route("GET", "/user/get_all_status", Scope.READ, get_all_status, "The edges and the states of their queries."),
)
