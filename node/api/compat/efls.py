"""What can users of the original console do with projects, tasks, runs and resources?

Its routes and its JSON, over the same console that other consoles and the native API ask. Times are seconds since 1970 here, as
the original's clients expect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Final
from urllib.parse import quote

from aiohttp import BodyPartReader, web
from pydantic import JsonValue

from node.api.callers import CALLER, LOCAL
from node.api.compat import EFLS
from node.api.compat.efls_bodies import (
    ConsoleAnswer,
    InstanceListQuery,
    InstanceUpdate,
    NewProject,
    NewProjectTask,
    NewResource,
    ObjectQuery,
    Operation,
    PageQuery,
    ProjectTaskUpdate,
    ProjectUpdate,
    ResourceUpdate,
    TaskListQuery,
)
from node.api.compat.efls_shapes import (
    SECRETS,
    asker,
    console_of,
    hex_id,
    instance_shape,
    pairing_shape,
    project_shape,
    resource_shape,
    task_shape,
    told,
)
from node.api.reading import BODY_TIMEOUT, read_body, read_params
from node.api.route import DOOR, Route, Scope
from node.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    Problem,
    StorageFailed,
    TooLarge,
    Unavailable,
)
from node.model.blob import CHUNK_BYTES
from node.model.project import Pairing, Project, ProjectTask, TaskKind, word_of

FORM: Final = "multipart/form-data"
NAME_MOST: Final = 1024

# Projects


async def create_project(request: web.Request) -> web.Response:
    """Paired with the other side at once where it answers; `status` 0 says that it did not."""
    wanted, by = await read_body(request, NewProject), await asker(request)
    desk = console_of(request).desk
    project = await desk.create_project(by.id, wanted.name, wanted.peer_url, wanted.config, comment=wanted.comment or "")
    return told(project_shape(project))


async def change_project(request: web.Request) -> web.Response:
    """A changed config is told to the other side; `need_sync` pairs a project that is still a draft."""
    wanted = await read_body(request, ProjectUpdate)
    project = await console_of(request).desk.update_project(
        hex_id(request),
        name=wanted.name,
        comment=wanted.comment,
        config=wanted.config,
        owner=wanted.owner_id,
        sync=wanted.need_sync,
    )
    return told(project_shape(project))


async def show_project(request: web.Request) -> web.Response:
    """One project; `peer_key` is the other console's key that is pinned."""
    return told(project_shape(await console_of(request).desk.project(hex_id(request))))


async def list_projects(request: web.Request) -> web.Response:
    """The oldest first."""
    params, console = read_params(request, PageQuery), console_of(request)
    projects = await console.desk.projects()
    names = {user.id: user.name for user in await console.users.all()}
    page: list[JsonValue] = [{**project_shape(each), "owner_name": names.get(each.owner)} for each in params.of(projects)]
    return told({"project_list": page, "total": len(projects)})


async def connect(request: web.Request) -> web.Response:
    """Asks the other side whether it knows the project."""
    return told({"project_id": await console_of(request).desk.connect(hex_id(request))})


# Tasks


async def create_task(request: web.Request) -> web.Response:
    """A root, or with `task_root` false a later version of one, which has its token."""
    wanted, by = await read_body(request, NewProjectTask), await asker(request)
    kind = word_of(TaskKind, wanted.type)
    if kind is None:
        raise Invalid("type: 0 is SAMPLE, 1 is TRAIN", problems=[Problem("type", "is neither 0 nor 1")])
    desk = console_of(request).desk
    task = await desk.create_task(
        by.id,
        wanted.project_id,
        wanted.name,
        kind,
        root=wanted.task_root,
        token=wanted.token or "",
        comment=wanted.comment or "",
        config=wanted.config,
        meta=wanted.meta,
    )
    return told(_task(request, await desk.task(task.id)))


def _task(request: web.Request, found: tuple[ProjectTask, Project, Pairing | None]) -> dict[str, JsonValue]:
    """The token is for those who may pair by it."""
    shape = task_shape(*found)
    return shape if request.get(CALLER, LOCAL).scope >= Scope.SUBMIT else {**shape, **dict.fromkeys(SECRETS)}


async def check_name(request: web.Request) -> web.Response:
    """Whether there is a task of that name."""
    return told({"name_exist": await console_of(request).desk.has_task(request.match_info["name"])})


async def change_task(request: web.Request) -> web.Response:
    """Settings are merged into those that it has."""
    wanted, desk = await read_body(request, ProjectTaskUpdate), console_of(request).desk
    task = await desk.update_task(
        hex_id(request),
        token=wanted.token,
        comment=wanted.comment,
        owner=wanted.owner_id,
        config=wanted.config,
        meta=wanted.meta,
    )
    return told(_task(request, await desk.task(task.id)))


async def show_task(request: web.Request) -> web.Response:
    """One version of a task."""
    return told(_task(request, await console_of(request).desk.task(hex_id(request))))


async def delete_task(request: web.Request) -> web.Response:
    """A later version without runs; a root stays."""
    await console_of(request).desk.delete_task(hex_id(request))
    return told({"result": True})


async def list_tasks(request: web.Request) -> web.Response:
    """All versions, the oldest first."""
    params = read_params(request, TaskListQuery)
    found = await console_of(request).desk.tasks(params.project_id)
    page: list[JsonValue] = [_task(request, each) for each in found if params.name in {None, each[0].name}]
    return told({"task_list": page, "total": len(page)})


async def pair_task(request: web.Request) -> web.Response:
    """The id in the path is the task's. The other side finds its own by the token."""
    return told(pairing_shape(await console_of(request).desk.pair_task(hex_id(request))))


async def peer_task(request: web.Request) -> web.Response:
    """The id in the path is the pairing's. What the other side shows of its task."""
    return told({"peer_task_rsp": dict(await console_of(request).desk.peer_task(hex_id(request)))})


# Instances


async def create_instance(request: web.Request) -> web.Response:
    """The id in the path is the pairing's. It runs here at once, there when somebody or the policy has said yes."""
    desk = console_of(request).desk
    instance = await desk.create_instance(hex_id(request))
    return told(instance_shape(*await desk.instance(instance.id)))


async def change_instance(request: web.Request) -> web.Response:
    """With `need_sync` a draft is told to the other side."""
    wanted, desk, id = await read_body(request, InstanceUpdate), console_of(request).desk, hex_id(request)
    await desk.update_instance(id, comment=wanted.comment, message=wanted.message, error=wanted.error, sync=wanted.need_sync)
    return await _with_peer(request, id)


async def show_instance(request: web.Request) -> web.Response:
    """This side's, and `task_instance_peer` the other's, null where that cannot be asked now."""
    return await _with_peer(request, hex_id(request))


async def _with_peer(request: web.Request, id: str) -> web.Response:
    desk = console_of(request).desk
    found = await desk.instance(id)
    peer = await desk.peer_instance(id)
    return told({**instance_shape(*found), "task_instance_peer": None if peer is None else dict(peer)})


async def delete_instance(request: web.Request) -> web.Response:
    """Puts a run away that does not run."""
    await console_of(request).desk.archive_instance(hex_id(request))
    return told({"result": True})


async def list_instances(request: web.Request) -> web.Response:
    """Ids and statuses of a pairing's runs, the oldest first."""
    params = read_params(request, InstanceListQuery)
    desk = console_of(request).desk
    found = await desk.instances(params.task_inter_id)
    shapes = [instance_shape(*await desk.instance(each.id)) for each in params.of(found)]
    page: list[JsonValue] = [{"id": shape["id"], "status": shape["status"]} for shape in shapes]
    return told({"task_instance_list": page, "total": len(found)})


async def operate(request: web.Request) -> web.Response:
    """0 starts: also the yes to a run that the other side has asked for. 1 stops. The other side is told."""
    wanted, desk = await read_body(request, Operation), console_of(request).desk
    instance = await desk.operate(hex_id(request), start=wanted.operation == 0)
    return told({"status": instance_shape(*await desk.instance(instance.id))["status"]})


# Resources and objects


async def create_resource(request: web.Request) -> web.Response:
    """An address that the task's engine is given; one of an object here must be there."""
    wanted, by = await read_body(request, NewResource), await asker(request)
    resource = await console_of(request).shelf.create(
        by.id, wanted.task_intra_id, wanted.name, wanted.uri, comment=wanted.comment or "", config=wanted.config
    )
    return told(resource_shape(resource))


async def change_resource(request: web.Request) -> web.Response:
    """Its config is merged into what it has."""
    wanted = await read_body(request, ResourceUpdate)
    shelf = console_of(request).shelf
    return told(resource_shape(await shelf.describe(hex_id(request), comment=wanted.comment, config=wanted.config)))


async def show_resource(request: web.Request) -> web.Response:
    """One resource."""
    return told(resource_shape(await console_of(request).shelf.resource(hex_id(request))))


async def delete_resource(request: web.Request) -> web.Response:
    """The object that it names stays."""
    await console_of(request).shelf.remove(hex_id(request))
    return told({"result": True})


async def list_resources(request: web.Request) -> web.Response:
    """Those of a task, the oldest first."""
    page: list[JsonValue] = [resource_shape(each) for each in await console_of(request).shelf.resources(hex_id(request))]
    return told({"resource_list": page, "total": len(page)})


async def upload(request: web.Request) -> web.Response:
    """A form with a text `name` and, behind it, a file `data`."""
    door, by, shelf = request.app[DOOR], await asker(request), console_of(request).shelf
    if request.content_type != FORM:
        raise web.HTTPUnsupportedMediaType(reason=f"send {FORM}")
    if (request.content_length or 0) > door.max_upload:
        raise TooLarge(f"an upload of {request.content_length} bytes", hint=f"http.max_upload is {door.max_upload}")
    if door.uploading.locked():
        raise Busy("as many uploads as may be at once are under way")
    async with door.uploading:
        try:
            form = await request.multipart()
            name = await _name(await form.next())
            data = await form.next()
            if not isinstance(data, BodyPartReader) or data.name != "data":
                raise Invalid("data: is missing in the form", problems=[Problem("data", "is a file, behind the name")])
            uri = await shelf.put(by.id, name, _content(request, data), door.max_upload)
        except (ValueError, ConnectionError, web.RequestPayloadError) as error:
            raise Malformed("the form cannot be read") from error
    return told({"uri": uri})


async def _name(part: object) -> str:
    if not isinstance(part, BodyPartReader) or part.name != "name":
        raise Invalid("name: is missing in the form", problems=[Problem("name", "stands before the file")])
    content = await part.read_chunk(NAME_MOST)
    try:
        name = content.decode()
    except UnicodeDecodeError:
        name = ""
    if not name or len(name) > 255 or not name.isprintable():
        raise Invalid("name: is none of an object", problems=[Problem("name", "has 1 to 255 printable characters")])
    return name


async def _content(request: web.Request, part: BodyPartReader) -> AsyncIterator[bytes]:
    clock = request.app[DOOR].clock
    while True:
        try:
            async with clock.timeout(BODY_TIMEOUT):
                block = await part.read_chunk(CHUNK_BYTES)
        except TimeoutError:
            raise web.HTTPRequestTimeout(reason=f"nothing of the file came for {BODY_TIMEOUT:g} s") from None
        if not block:
            return
        yield block


async def download(request: web.Request) -> web.StreamResponse:
    """The file; `name` says which."""
    found = await console_of(request).shelf.object(read_params(request, ObjectQuery).name)
    blobs = request.app[DOOR].ports.blobs
    if blobs is None:
        raise NotFound("this node keeps no blobs")
    await blobs.store.stat(found.blob)
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Length": str(found.size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.id, safe='')}",
        }
    )
    await response.prepare(request)
    for offset in range(0, found.size, CHUNK_BYTES):
        await response.write(await blobs.store.read(found.blob, offset, min(CHUNK_BYTES, found.size - offset)))
    await response.write_eof()
    return response


async def delete_object(request: web.Request) -> web.Response:
    """Resources that name it stay; their engine will not find it."""
    await console_of(request).shelf.delete(read_params(request, ObjectQuery).name)
    return told({"result": True})


_KEPT: Final = (Busy, StorageFailed, NotFound)
_CHANGED: Final = (*_KEPT, Conflict)
_TOLD: Final = (*_CHANGED, Forbidden, Malformed, Unavailable, DeadlineExceeded)
_route = partial(Route, group=EFLS.name, reply=ConsoleAnswer, keyed=False)
_read = partial(_route, "GET", scope=Scope.READ)
_may = partial(_route, scope=Scope.SUBMIT)

ROUTES: Final = (
    _route(
        "POST",
        "/project",
        scope=Scope.OPERATE,
        handler=create_project,
        summary="Make a project.",
        body=NewProject,
        raises=_TOLD,
    ),
    _read("/project/list", handler=list_projects, summary="The projects.", params=PageQuery, raises=_KEPT),
    _read("/project/connect/{id}", handler=connect, summary="Does the other side know it?", raises=_TOLD),
    _read("/project/{id}", handler=show_project, summary="One project.", raises=_CHANGED),
    _route(
        "PUT",
        "/project/{id}",
        scope=Scope.OPERATE,
        handler=change_project,
        summary="Change a project.",
        body=ProjectUpdate,
        raises=_TOLD,
    ),
    _may("POST", "/task", handler=create_task, summary="Make a task.", body=NewProjectTask, raises=_CHANGED),
    _may("POST", "/task/name/{name}", handler=check_name, summary="Is the name taken?", raises=_KEPT),
    _read("/task/list", handler=list_tasks, summary="The tasks.", params=TaskListQuery, raises=_KEPT),
    _may("POST", "/task/inter/{id}", handler=pair_task, summary="Pair a task.", raises=_TOLD),
    _read("/task/inter/{id}", handler=peer_task, summary="The other side's task.", raises=_TOLD),
    _read("/task/{id}", handler=show_task, summary="One version.", raises=_KEPT),
    _may("PUT", "/task/{id}", handler=change_task, summary="Change a task.", body=ProjectTaskUpdate, raises=_CHANGED),
    _may("DELETE", "/task/{id}", handler=delete_task, summary="Delete a version.", raises=(*_KEPT, Invalid)),
    _read("/task_instance/list", handler=list_instances, summary="The runs.", params=InstanceListQuery, raises=_KEPT),
    _may(
        "POST",
        "/task_instance/status/{id}",
        handler=operate,
        summary="Start, accept or stop a run.",
        body=Operation,
        raises=_CHANGED,
    ),
    _may("POST", "/task_instance/{id}", handler=create_instance, summary="Run a pairing.", raises=(*_TOLD, Invalid)),
    _read("/task_instance/{id}", handler=show_instance, summary="One run, on both sides.", raises=_TOLD),
    _may("PUT", "/task_instance/{id}", handler=change_instance, summary="Change a run.", body=InstanceUpdate, raises=_TOLD),
    _may("DELETE", "/task_instance/{id}", handler=delete_instance, summary="Put a run away.", raises=_CHANGED),
    _may("POST", "/resource", handler=create_resource, summary="Make a resource.", body=NewResource, raises=_KEPT),
    _read("/resource/list/{id}", handler=list_resources, summary="The resources of a task.", raises=_KEPT),
    _may("POST", "/resource/object", handler=upload, summary="Upload a file.", takes=FORM, raises=(*_CHANGED, Malformed)),
    _route(
        "GET",
        "/resource/object",
        scope=Scope.READ,
        handler=download,
        summary="Download a file.",
        params=ObjectQuery,
        reply=None,
        media="application/octet-stream",
        raises=_KEPT,
    ),
    _may("DELETE", "/resource/object", handler=delete_object, summary="Delete a file.", params=ObjectQuery, raises=_KEPT),
    _read("/resource/{id}", handler=show_resource, summary="One resource.", raises=_KEPT),
    _may("PUT", "/resource/{id}", handler=change_resource, summary="Change a resource.", body=ResourceUpdate, raises=_KEPT),
    _may("DELETE", "/resource/{id}", handler=delete_resource, summary="Delete a resource.", raises=_KEPT),
)
