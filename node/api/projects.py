"""What can be asked of projects with the consoles of others, in this node's own words?

The same console as behind the original's routes. A project goes by its id, the beginning of it, its name, or `@last`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web

from node.api.answer import document, page
from node.api.callers import CALLER, LOCAL
from node.api.compat import EFLS
from node.api.compat.efls_shapes import SECRETS, asker, console_of, hex_id
from node.api.reading import read_body, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, Conflict, DeadlineExceeded, Forbidden, Invalid, Malformed, NotFound, StorageFailed, Unavailable
from node.model.project import (
    LINK_S,
    AdministratorLink,
    ConsoleEvent,
    Instance,
    InstanceRequest,
    Pairing,
    Project,
    ProjectChange,
    ProjectRequest,
    ProjectTask,
    ProjectTaskChange,
    ProjectTaskRequest,
    Resource,
    ResourceRequest,
    StoredObject,
    UserCard,
)

MAX_REF: Final = 200


async def _project(request: web.Request) -> Project:
    return await console_of(request).desk.project(read_ref(request, MAX_REF, "project"))


async def create(request: web.Request) -> web.Response:
    """Paired at once where the other side answers; a `draft` is paired by …/sync."""
    wanted, by = await read_body(request, ProjectRequest), await asker(request)
    desk = console_of(request).desk
    made = await desk.create_project(by.id, wanted.name, wanted.peer_url, wanted.config, comment=wanted.comment, id=wanted.id)
    return document(made, status=201, headers={"Location": f"{API}/projects/{made.id}"})


async def listing(request: web.Request) -> web.Response:
    """The oldest first; their number is bounded, so there is one page."""
    return page(await console_of(request).desk.projects(), None)


async def show(request: web.Request) -> web.Response:
    """`peer_key` is the other console's key, which is pinned."""
    return document(await _project(request))


async def change(request: web.Request) -> web.Response:
    """A changed config is told to the other side."""
    wanted, project = await read_body(request, ProjectChange), await _project(request)
    desk = console_of(request).desk
    return document(await desk.update_project(project.id, comment=wanted.comment, config=wanted.config))


async def sync(request: web.Request) -> web.Response:
    """Pairs a project that is still a draft, or tells the other side its config again."""
    project = await _project(request)
    return document(await console_of(request).desk.update_project(project.id, sync=True))


async def archive(request: web.Request) -> web.Response:
    """Nothing more is taken for it on this side; what was, stays."""
    project = await _project(request)
    return document(await console_of(request).desk.archive_project(project.id))


async def events(request: web.Request) -> web.Response:
    """Every step of its life."""
    project = await _project(request)
    return page(await console_of(request).desk.events(project.id), None)


async def create_task(request: web.Request) -> web.Response:
    """Both sides give their root the same token, then one of them pairs it."""
    wanted, project, by = await read_body(request, ProjectTaskRequest), await _project(request), await asker(request)
    made = await console_of(request).desk.create_task(
        by.id,
        project.id,
        wanted.name,
        wanted.kind,
        root=wanted.root,
        token=wanted.token,
        comment=wanted.comment,
        config=wanted.config,
        meta=wanted.meta,
    )
    return document(made, status=201, headers={"Location": f"{API}/projects/{project.id}/tasks/{made.id}"})


async def list_tasks(request: web.Request) -> web.Response:
    """All versions, the oldest first."""
    project = await _project(request)
    found = await console_of(request).desk.tasks(project.id)
    return page([_shown(request, task) for task, *_ in found], None)


async def show_task(request: web.Request) -> web.Response:
    """One version."""
    return document(_shown(request, await _task(request)))


async def change_task(request: web.Request) -> web.Response:
    """Settings are merged into those that it has."""
    wanted, task = await read_body(request, ProjectTaskChange), await _task(request)
    changed = await console_of(request).desk.update_task(
        task.id, token=wanted.token, comment=wanted.comment, config=wanted.config, meta=wanted.meta
    )
    return document(_shown(request, changed))


async def pair_task(request: web.Request) -> web.Response:
    """The other side finds its own root by the token."""
    return document(await console_of(request).desk.pair_task((await _task(request)).id))


async def _task(request: web.Request) -> ProjectTask:
    project = await _project(request)
    task, *_ = await console_of(request).desk.task(hex_id(request))
    if task.project != project.id:
        raise NotFound(f"the project has no task {task.id}")
    return task


def _shown(request: web.Request, task: ProjectTask) -> ProjectTask:
    """The token is for those who may pair by it."""
    return task if request.get(CALLER, LOCAL).scope >= Scope.SUBMIT else task.replace(**dict.fromkeys(SECRETS, ""))


async def create_instance(request: web.Request) -> web.Response:
    """Runs here at once, there when somebody or its policy has said yes."""
    wanted, project, desk = await read_body(request, InstanceRequest), await _project(request), console_of(request).desk
    made = await desk.create_instance(await desk.newest_pairing(project.id, wanted.task), id=wanted.id)
    return document(made, status=201, headers={"Location": f"{API}/projects/{project.id}/instances/{made.id}"})


async def list_instances(request: web.Request) -> web.Response:
    """Of all tasks of the project, the oldest first."""
    project = await _project(request)
    return page(await console_of(request).desk.project_instances(project.id), None)


async def show_instance(request: web.Request) -> web.Response:
    """`message` and `error` are what the engine tells."""
    return document(await _instance(request))


async def accept(request: web.Request) -> web.Response:
    """This side's yes to a run that the other side has asked for; also starts one that was stopped."""
    return document(await console_of(request).desk.operate((await _instance(request)).id, start=True))


async def stop(request: web.Request) -> web.Response:
    """Stops a run on both sides."""
    return document(await console_of(request).desk.operate((await _instance(request)).id, start=False))


async def instance_events(request: web.Request) -> web.Response:
    """Every step of its life on this side."""
    instance = await _instance(request)
    return page(await console_of(request).desk.events(instance.id), None)


async def _instance(request: web.Request) -> Instance:
    project, desk = await _project(request), console_of(request).desk
    instance, task, _ = await desk.instance(hex_id(request))
    if task.project != project.id:
        raise NotFound(f"the project has no instance {instance.id}")
    return instance


async def create_resource(request: web.Request) -> web.Response:
    """An address that the engine is given; one of an object here must be there."""
    wanted, task, by = await read_body(request, ResourceRequest), await _task(request), await asker(request)
    shelf = console_of(request).shelf
    made = await shelf.create(by.id, task.id, wanted.name, wanted.uri, comment=wanted.comment, config=wanted.config)
    return document(made, status=201)


async def list_resources(request: web.Request) -> web.Response:
    """Those of one version of a task."""
    task = await _task(request)
    return page(await console_of(request).shelf.resources(task.id), None)


async def list_objects(request: web.Request) -> web.Response:
    """The files under names of their own; `id` is the name."""
    return page(await console_of(request).shelf.objects(), None)


async def users(request: web.Request) -> web.Response:
    """Who may log in."""
    found = await console_of(request).users.all()
    return page([UserCard(**{name: getattr(user, name) for name in UserCard.model_fields}) for user in found], None)


async def link(request: web.Request) -> web.Response:
    """Good once, for an hour; a new one takes the place of the one before."""
    secret = console_of(request).users.offer_link()
    expires = request.app[DOOR].clock.wall() + LINK_S
    return document(AdministratorLink(path=f"{EFLS.always}/user?setup={secret}", expires_at=expires), status=201)


_KEPT: Final = (Busy, StorageFailed, NotFound)
_NAMED: Final = (*_KEPT, Conflict)
_TOLD: Final = (*_NAMED, Forbidden, Malformed, Unavailable, DeadlineExceeded, Invalid)
_ONE: Final = f"{API}/projects/{{ref}}"
_TASK: Final = f"{_ONE}/tasks/{{id}}"
_INSTANCE: Final = f"{_ONE}/instances/{{id}}"
_read = partial(Route, "GET", scope=Scope.READ, raises=_NAMED)
_post = partial(Route, "POST", scope=Scope.OPERATE, raises=_TOLD, keyed=False)
_made = partial(_post, answers=(201,))
_change = partial(Route, "PATCH", scope=Scope.OPERATE, raises=_TOLD)

ROUTES: Final = (
    _made(f"{API}/projects", handler=create, summary="Pair a project.", body=ProjectRequest, reply=Project),
    _read(f"{API}/projects", handler=listing, summary="The projects.", reply=Project, many=True),
    _read(_ONE, handler=show, summary="One project.", reply=Project),
    _change(_ONE, handler=change, summary="Change a project.", body=ProjectChange, reply=Project),
    _post(f"{_ONE}/sync", handler=sync, summary="Tell the other side again.", reply=Project),
    _post(f"{_ONE}/archive", handler=archive, summary="End a project here.", reply=Project),
    _read(f"{_ONE}/events", handler=events, summary="Its life.", reply=ConsoleEvent, many=True),
    _made(f"{_ONE}/tasks", handler=create_task, summary="Make a task.", body=ProjectTaskRequest, reply=ProjectTask),
    _read(f"{_ONE}/tasks", handler=list_tasks, summary="Its tasks.", reply=ProjectTask, many=True),
    _read(_TASK, handler=show_task, summary="One version.", reply=ProjectTask),
    _change(_TASK, handler=change_task, summary="Change a task.", body=ProjectTaskChange, reply=ProjectTask),
    _post(f"{_TASK}/pair", handler=pair_task, summary="Pair a task.", reply=Pairing),
    _made(f"{_TASK}/resources", handler=create_resource, summary="Add a resource.", body=ResourceRequest, reply=Resource),
    _read(f"{_TASK}/resources", handler=list_resources, summary="Its resources.", reply=Resource, many=True),
    _made(f"{_ONE}/instances", handler=create_instance, summary="Run a task.", body=InstanceRequest, reply=Instance),
    _read(f"{_ONE}/instances", handler=list_instances, summary="Its runs.", reply=Instance, many=True),
    _read(_INSTANCE, handler=show_instance, summary="One run.", reply=Instance),
    _post(f"{_INSTANCE}/accept", handler=accept, summary="Accept or start a run.", reply=Instance),
    _post(f"{_INSTANCE}/stop", handler=stop, summary="Stop a run.", reply=Instance),
    _read(f"{_INSTANCE}/events", handler=instance_events, summary="Its life.", reply=ConsoleEvent, many=True),
    _read(f"{API}/objects", handler=list_objects, summary="The objects.", reply=StoredObject, many=True),
    Route("GET", f"{API}/users", Scope.OPERATE, users, "The users.", reply=UserCard, many=True, raises=_KEPT),
    Route(
        "POST",
        f"{API}/users/link",
        Scope.ADMIN,
        link,
        "A link for an administrator.",
        reply=AdministratorLink,
        answers=(201,),
        raises=(NotFound,),
        keyed=False,
    ),
)
