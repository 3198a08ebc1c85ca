"""What can a client of the original Private AI do?

Its routes with its JSON: a task is a session whose name is the task's, made by /createTask and begun by /startTask. Every
answer is `{"status": "ok" | "err", "msg": …}` with HTTP 200, as the original's clients expect. `addr` and `http_port` name the
node by its HTTP address, `node` by its name; `computation_port` is taken and not used. Paths are relative to each node's
`federated.data_root`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, Literal, TypeAlias

from aiohttp import web
from pydantic import Field, JsonValue, StringConstraints

from node.api.answer import encode
from node.api.compat import PAI
from node.api.compat.addresses import find_door, members
from node.api.reading import read_body, read_params
from node.api.route import DOOR, Route, RouteHandler, Scope
from node.api.sessions import desk_of
from node.errors import EcnodeError, Invalid, NotBuilt, NotFound, Problem
from node.model.federated import (
    AlignmentRequest,
    Column,
    Metric,
    Party,
    PartyRole,
    RelativePath,
    Session,
    SessionRequest,
    SessionState,
    TrainingRequest,
)
from node.model.value import Items, Value

TASKS_SHOWN: Final = 100

TaskName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Steps: TypeAlias = Annotated[int, Field(ge=1, le=10_000_000)]


class ClientConfig(Value):
    """What a client does, and the parameters of its kind; those of other kinds stay empty."""

    client_type: Literal[
        "alignment_main", "alignment_data", "triplet_producer", "shared_nn_main", "shared_nn_feature", "shared_nn_label"
    ]
    computation_port: Port | None = None
    listen_clients: JsonValue = None
    raw_data_path: RelativePath = ""
    out_data_path: RelativePath = ""
    columns: Annotated[Items[Column], Field(max_length=4096)] | Literal["all"] = ()
    in_dim: JsonValue = None
    out_dim: JsonValue = None
    layers: Annotated[Items[JsonValue], Field(max_length=64)] = ()
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    test_batch_size: Steps = 10_000
    test_per_batches: Steps = 1001
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.1
    max_iter: Steps = 10_010
    data_path: RelativePath = ""
    loss: Literal["logistic", "mse"] = "logistic"
    metric: Metric = "auc_ks"


class TaskClient(Value):
    """One client of a task, and where it is."""

    role: PartyRole
    addr: Annotated[str, StringConstraints(max_length=255)] = ""
    http_port: Port | None = None
    node: Annotated[str, StringConstraints(max_length=63)] = ""
    client_config: ClientConfig


class CreateTask(Value):
    """A task: the alignment of raw files, or training on what an alignment has left."""

    task_name: TaskName
    clients: Annotated[Items[TaskClient], Field(min_length=2, max_length=16)]


class TaskQuery(Value):
    """Query string that names a task."""

    task_name: TaskName


class ClientQuery(TaskQuery):
    """Query string that asks one client of a task; −1 is the last one."""

    query: Literal["status", "n_batches", "record"]
    client: Annotated[int, Field(ge=-16, le=15)] = 0


class Told(Value):
    """Every answer."""

    status: Literal["ok", "err"]
    msg: JsonValue


_WORDS: Final = {
    SessionState.CREATED: "Created",
    SessionState.ACCEPTED: "Created",
    SessionState.RUNNING: "Running",
    SessionState.FINISHED: "Finished",
}
_KINDS: Final = {
    "alignment_main": PartyRole.MAIN,
    "shared_nn_main": PartyRole.MAIN,
    "triplet_producer": PartyRole.PRODUCER,
    "shared_nn_feature": PartyRole.FEATURE,
    "shared_nn_label": PartyRole.LABEL,
}


def _enveloped(handler: Callable[[web.Request], Awaitable[JsonValue]]) -> RouteHandler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            told: dict[str, JsonValue] = {"status": "ok", "msg": await handler(request)}
        except EcnodeError as error:
            faults = "; ".join(str(problem) for problem in error.problems)
            told = {"status": "err", "msg": faults or error.message}
        return encode(told)

    return answer


async def _create(request: web.Request) -> JsonValue:
    wanted = await read_body(request, CreateTask)
    desk = desk_of(request)
    if await _found(request, wanted.task_name) is not None:
        raise Invalid(f"a task named {wanted.task_name} exists", problems=[Problem("task_name", "exists")])
    reports = members(request.app[DOOR].ports.nodes)
    parties = []
    for place, client in enumerate(wanted.clients):
        at = f"clients.{place}"
        name = client.node or find_door(reports, f"{client.addr}:{client.http_port}", f"{at}.addr").name
        parties.append(_party(client, at, place, name))
    await desk.create(_session(wanted, parties))
    return f"task {wanted.task_name} is created"


def _party(client: TaskClient, at: str, place: int, node: str) -> Party:
    config = client.client_config
    kind = _KINDS.get(config.client_type)
    if kind is not None and kind is not client.role:
        raise _wrong(f"{at}.client_config.client_type", f"{config.client_type} is not played by a {client.role}")
    if config.client_type == "alignment_data" and not config.raw_data_path:
        raise _wrong(f"{at}.client_config.raw_data_path", "is required")
    if config.client_type in {"shared_nn_feature", "shared_nn_label"} and not config.data_path:
        raise _wrong(f"{at}.client_config.data_path", "is required")
    if config.layers:
        raise NotBuilt(f"{at}.client_config.layers: networks are not built into this release, [] is logistic regression")
    return Party(
        name=f"{client.role.value.partition('_')[0]}-{place}",
        role=client.role,
        node=node,
        file=config.raw_data_path,
        output=config.out_data_path,
        columns=() if config.columns == "all" else config.columns,
        prepared=config.data_path,
    )


def _session(wanted: CreateTask, parties: Sequence[Party]) -> SessionRequest:
    configs = {client.client_config.client_type: client.client_config for client in wanted.clients}
    main = configs.get("shared_nn_main")
    if main is None:
        training = None
    else:
        label = configs.get("shared_nn_label") or main
        training = TrainingRequest(
            model="logistic" if label.loss == "logistic" else "linear",
            mode="open",
            steps=main.max_iter,
            batch_size=main.batch_size,
            learning_rate=main.learning_rate,
            test_every=main.test_per_batches,
            metrics=(label.metric,),
        )
    alignment = AlignmentRequest(min_intersection=5) if "alignment_data" in configs else None
    return SessionRequest.model_validate(
        {"name": wanted.task_name, "parties": tuple(parties), "alignment": alignment, "training": training, "start": False}
    )


def _wrong(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", problems=[Problem(path, message)])


async def _found(request: web.Request, name: str) -> Session | None:
    try:
        found = await desk_of(request).get(name)
    except NotFound:
        return None
    return found if found.name == name else None


async def _named(request: web.Request, name: str) -> Session:
    found = await _found(request, name)
    if found is None:
        raise NotFound("NotExist")
    return found


async def _start(request: web.Request) -> JsonValue:
    name = read_params(request, TaskQuery).task_name
    await desk_of(request).begin((await _named(request, name)).id)
    return f"task {name} is started"


def _word(session: Session) -> str:
    """Of all parties: what one of them alone believes does not count."""
    return _WORDS.get(session.state, "Failed")


async def _status(request: web.Request) -> JsonValue:
    found = await _found(request, read_params(request, TaskQuery).task_name)
    return "NotExist" if found is None else _word(found)


async def _dataset(request: web.Request) -> JsonValue:
    session = await _named(request, read_params(request, TaskQuery).task_name)
    rows = [(view.progress.rows_train, view.progress.rows_test) for view in session.parties if view.progress.rows_train]
    if not rows:
        raise NotFound("NotExist")
    return [*rows[0]]


async def _task(request: web.Request) -> JsonValue:
    params = read_params(request, ClientQuery)
    session = await _named(request, params.task_name)
    if not -len(session.parties) <= params.client < len(session.parties):
        raise NotFound(f"the task has {len(session.parties)} clients")
    view = session.parties[params.client]
    match params.query:
        case "status":
            return _word(session)
        case "n_batches":
            return view.progress.step
        case _:
            return await _rows(request, session)


async def _record(request: web.Request) -> JsonValue:
    return await _rows(request, await _named(request, read_params(request, TaskQuery).task_name))


async def _rows(request: web.Request, session: Session) -> JsonValue:
    records = await desk_of(request).records(session.id, -1)
    return [[record.seconds, record.step, record.loss, *record.metrics.values()] for record in records]


async def _monitor(request: web.Request) -> JsonValue:
    return {session.name or session.id: _word(session) for session in await desk_of(request).page(TASKS_SHOWN, None)}


ROUTES: Final = (
    Route(
        "POST",
        "/createTask",
        Scope.OPERATE,
        _enveloped(_create),
        "Make a task.",
        body=CreateTask,
        reply=Told,
        keyed=False,
        group=PAI.name,
    ),
    Route("GET", "/startTask", Scope.OPERATE, _enveloped(_start), "Start it.", params=TaskQuery, reply=Told, group=PAI.name),
    Route("GET", "/queryStatus", Scope.READ, _enveloped(_status), "How it is.", params=TaskQuery, reply=Told, group=PAI.name),
    Route(
        "GET", "/queryDataset", Scope.READ, _enveloped(_dataset), "Rows for it.", params=TaskQuery, reply=Told, group=PAI.name
    ),
    Route("GET", "/queryTask", Scope.READ, _enveloped(_task), "Ask a client.", params=ClientQuery, reply=Told, group=PAI.name),
    Route("GET", "/queryRecord", Scope.READ, _enveloped(_record), "Its tests.", params=TaskQuery, reply=Told, group=PAI.name),
    Route("GET", "/monitor", Scope.READ, _enveloped(_monitor), "All tasks.", reply=Told, group=PAI.name),
)
