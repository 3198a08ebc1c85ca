"""What can a client of the original task system (CECL) do?

Its routes over the port of the native API. Every answer is `{"code", "msg"}`: `code` is 0 where all went well, else the HTTP
status that comes with it. Ids are integers; one is given to a task the first time somebody here asks for it. A task starts
when it is made, so `/task/start/<id>` has nothing to do while it runs, and does it once more, as another task, when it is over.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Annotated, Final, Literal, TypeVar

from aiohttp import BodyPartReader, web
from pydantic import Field, JsonValue, StringConstraints

from node.api.answer import encode
from node.api.blobs import pour_away
from node.api.compat import TASKS
from node.api.reading import BODY_TIMEOUT, read_form, read_params
from node.api.route import DOOR, Route, RouteHandler, Scope
from node.api.tasks import tasks_of
from node.clock import rfc3339
from node.errors import (
    Busy,
    Conflict,
    EcnodeError,
    Forbidden,
    Invalid,
    Malformed,
    NotBuilt,
    NotFound,
    Problem,
    StorageFailed,
    TooLarge,
)
from node.model.document import Document, from_document
from node.model.task import TASK_LIFE, Task, TaskRequest
from node.model.value import Text, Value

SHAPE: Final = ""  # of an id: a number and nothing else
TASKS_SHOWN: Final = 500
LOG_LINES: Final = 2000
FIELD: Final = "train"  # of /upload
BLOCK_BYTES: Final = 2**18
_FILE_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}")
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
T = TypeVar("T")


FileName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f/\\]{1,200}$")]
Number = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}$")]


class OriginalTask(Value):
    """The form of `/task`: a name, the name of an uploaded script or archive, and with `union_train` the edges."""

    name: Text
    file: FileName | None = None
    url: Text = ""
    union_train: Literal["0", "1"] = "0"
    edge_nodes: Annotated[str, StringConstraints(max_length=8192)] = ""


class OriginalGit(Value):
    """The form of `/task/git`: as that of `/task`, with a repository and its commit in place of a file."""

    name: Text
    url: Annotated[str, StringConstraints(max_length=2000)]
    commit: Annotated[str, StringConstraints(max_length=64)]
    file: Annotated[str, StringConstraints(max_length=500)] = "main.py"
    union_train: Literal["0", "1"] = "0"
    edge_nodes: Annotated[str, StringConstraints(max_length=8192)] = ""


class TaskNumber(Value):
    """Which task."""

    task_id: Number


class OneOrAll(Value):
    """Which task; without a number all of them."""

    task_id: Number | None = None


class Reply(Value):
    """Every answer: `msg` is what was asked for; where a task was made it is the task's number."""

    code: Annotated[int, Field(ge=0, le=599)]
    msg: JsonValue


def _enveloped(handler: Callable[[web.Request], Awaitable[JsonValue]]) -> RouteHandler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return encode({"code": 0, "msg": await handler(request)})

    answer.__doc__ = handler.__doc__
    return answer


def _changes(handler: Callable[[web.Request], Awaitable[JsonValue]]) -> RouteHandler:
    """For what the original changes by GET: a page in a browser must not be able to."""

    async def guarded(request: web.Request) -> JsonValue:
        if "Sec-Fetch-Site" in request.headers:
            raise Forbidden("a browser may change nothing by this route", hint="POST /api/v1/tasks/{ref}/stop")
        return await handler(request)

    guarded.__doc__ = handler.__doc__
    return _enveloped(guarded)


async def _upload(request: web.Request) -> JsonValue:
    """A file in the field `train`; `msg` is the name that `/task` takes."""
    try:
        return await _taken(request)
    except (EcnodeError, web.HTTPException):
        await pour_away(request)
        raise


async def _taken(request: web.Request) -> str:
    door = request.app[DOOR]
    if door.ports.blobs is None or door.ports.uploads is None:
        raise NotFound("this node keeps no blobs")
    if request.content_type != "multipart/form-data":
        raise web.HTTPUnsupportedMediaType(reason="send multipart/form-data with a field 'train'")
    if door.uploading.locked():
        raise Busy("as many uploads as may be at once are under way")
    async with door.uploading:
        part = await _part(request)
        name = _file_name(part.filename)
        info = await door.ports.blobs.store.put(_content(request, part), most=door.max_upload)
        await door.ports.uploads.keep(name, info.id)
    return name


def _file_name(given: str | None) -> str:
    name = (given or "").replace("\\", "/").rpartition("/")[2]  # some clients send their machine's path
    if name in {"", ".", ".."} or _FILE_NAME.fullmatch(name) is None:
        raise Invalid(f"{name[:40]!r} is no name of a file", problems=[Problem(FIELD, "has no usable file name")])
    return name


async def _part(request: web.Request) -> BodyPartReader:
    try:
        reader = await request.multipart()
        while (part := await _in_time(request, reader.next())) is not None:
            if isinstance(part, BodyPartReader) and part.name == FIELD:
                return part
    except (ValueError, AssertionError, ConnectionError, web.RequestPayloadError) as error:
        raise Malformed("the body is no multipart/form-data that can be read") from error
    raise Invalid("the form has no file", problems=[Problem(FIELD, "is required")])


async def _content(request: web.Request, part: BodyPartReader) -> AsyncIterator[bytes]:
    try:
        while block := await _in_time(request, part.read_chunk(BLOCK_BYTES)):
            yield block
    except (ValueError, AssertionError, ConnectionError, web.RequestPayloadError) as error:
        raise Malformed("the connection ended before the body did") from error


async def _in_time(request: web.Request, reading: Awaitable[T]) -> T:
    try:
        async with request.app[DOOR].clock.timeout(BODY_TIMEOUT):
            return await reading
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"nothing of the body came for {BODY_TIMEOUT:g} s") from None


async def _create(request: web.Request) -> JsonValue:
    """Makes a task of an uploaded file and starts it; `msg` is its number."""
    wanted = await read_form(request, OriginalTask)
    if wanted.url:
        raise NotBuilt("a url is not fetched by this release", hint="upload the file, then name it with `file`")
    document = {"name": wanted.name, "bundle": await _uploaded(request, wanted.file), **_places(wanted)}
    task, _ = await tasks_of(request).submit(from_document(TaskRequest, document))
    return await _number(request, task)


def _places(wanted: OriginalTask | OriginalGit) -> Document:
    nodes = [node.strip() for node in wanted.edge_nodes.split(",") if node.strip()]
    if wanted.union_train == "1":
        return {"joint": {"nodes": [*nodes]}}
    if len(nodes) > 1:
        raise Invalid("several nodes", problems=[Problem("edge_nodes", "one node at the most without union_train")])
    return {"node": nodes[0]} if nodes else {}


async def _submit_git(request: web.Request) -> JsonValue:
    """Makes a task of a commit and starts it; `msg` is its number."""
    wanted = await read_form(request, OriginalGit)
    git: Document = {"url": wanted.url, "commit": wanted.commit}
    document: Document = {"name": wanted.name, "git": git, "entry": wanted.file, **_places(wanted)}
    task, _ = await tasks_of(request).submit(from_document(TaskRequest, document))
    return await _number(request, task)


async def _uploaded(request: web.Request, name: str | None) -> str:
    if name is None:
        raise Invalid("no script", problems=[Problem("file", "is required: the name of an upload")])
    uploads = request.app[DOOR].ports.uploads
    blob = await uploads.blob(name) if uploads is not None else None
    if blob is None:
        raise NotFound(f"nothing was uploaded as '{name[:100]}'", hint="POST /upload with the file in the field 'train' first")
    return blob


async def _number(request: web.Request, task: Task) -> int:
    return int(await request.app[DOOR].ports.aliases.give(task.id, SHAPE))


async def _ask(request: web.Request) -> JsonValue:
    """All tasks, newest first, or the one of `task_id`."""
    number = read_params(request, OneOrAll).task_id
    if number is not None:
        return await _row(request, await _task(request, number))
    return [await _row(request, task) for task in await tasks_of(request).list(None, TASKS_SHOWN, None)]


async def _task(request: web.Request, number: str) -> Task:
    native = await request.app[DOOR].ports.aliases.native(number) if _NUMBER.fullmatch(number) else None
    if native is None:
        raise NotFound(f"no task has the number {number[:40]}", hint="GET /task lists them")
    return await tasks_of(request).get(native)


async def _row(request: web.Request, task: Task) -> Document:
    return {
        "id": await _number(request, task),
        "name": task.name,
        "state": task.state.value,
        "reason": task.reason,
        "node": task.node,
        "exit_code": task.code,
        "create_time": rfc3339(task.created_at),
        "task": task.id,
    }


async def _start(request: web.Request) -> JsonValue:
    """The task's number; of one that is over, the number of the new task that does the same."""
    task = await _task(request, request.match_info["id"])
    if task.state in TASK_LIFE.terminal:
        task, _ = await tasks_of(request).retry(task.id)
    return await _number(request, task)


async def _stop(request: web.Request) -> JsonValue:
    """Stops the task of `task_id`; one that is over stays as it is."""
    if request.method == "POST" and "task_id" not in request.query:
        wanted = await read_form(request, TaskNumber)
    else:
        wanted = read_params(request, TaskNumber)
    task = await tasks_of(request).stop((await _task(request, wanted.task_id)).id)
    return task.state.value if task.state in TASK_LIFE.terminal else "stopping"


async def _log(request: web.Request) -> JsonValue:
    """The last lines that the task has said."""
    task = await _task(request, request.match_info["id"])
    part = await tasks_of(request).log_part(task.id, 0, lines=LOG_LINES)
    return part.content.decode(errors="replace")


_KEPT: Final = (Busy, StorageFailed, NotFound, Conflict)
_MADE: Final = (*_KEPT, Invalid, Malformed, Forbidden, NotBuilt)
_route = partial(Route, group=TASKS.name, reply=Reply, keyed=False, raises=_KEPT)

ROUTES: Final = (
    _route(
        "POST",
        "/upload",
        Scope.SUBMIT,
        _enveloped(_upload),
        "Upload a script or an archive.",
        takes="multipart/form-data",
        raises=(*_MADE, TooLarge),
    ),
    _route("POST", "/task", Scope.SUBMIT, _enveloped(_create), "Run it.", body=OriginalTask, raises=_MADE),
    _route("POST", "/task/git", Scope.SUBMIT, _enveloped(_submit_git), "Run a commit.", body=OriginalGit, raises=_MADE),
    _route("GET", "/task", Scope.READ, _enveloped(_ask), "All tasks, or one.", params=OneOrAll),
    _route("GET", "/task/start/{id}", Scope.SUBMIT, _changes(_start), "Run it once more.", raises=_MADE),
    _route("GET", "/stop", Scope.SUBMIT, _changes(_stop), "Stop a task.", params=TaskNumber, raises=_MADE),
    _route("POST", "/stop", Scope.SUBMIT, _enveloped(_stop), "Stop a task.", raises=_MADE),
    _route("GET", "/task/log/{id}", Scope.READ, _enveloped(_log), "What a task has said."),
)
