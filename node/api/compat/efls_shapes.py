"""How do the records of a console look to a client of the original, and who is asking?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web
from pydantic import JsonValue

from node.api.answer import write, written
from node.api.callers import CALLER, LOCAL
from node.api.route import DOOR, Scope
from node.errors import Forbidden, NotFound, Unauthorized
from node.model.project import (
    Instance,
    Pairing,
    PairState,
    Project,
    ProjectTask,
    Resource,
    User,
    UserRole,
    number_of,
)

if TYPE_CHECKING:
    from node.roles.federated.console.console import Console

COOKIE: Final = "token"
SECRETS: Final = ("token",)  # of a task, for those who may pair by it
ROLE_SCOPES: Final = {UserRole.ROOT: Scope.ADMIN, UserRole.ADMIN: Scope.OPERATE, UserRole.DEFAULT: Scope.SUBMIT}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a user by a log-in, or with an empty id whoever holds another token of the node."""

    id: str
    role: UserRole


def console_of(request: web.Request) -> Console:
    """The console of this node.

    Raises:
        NotFound: it has none.
    """
    console = request.app[DOOR].ports.console
    if console is None:
        raise NotFound("this node has no console: a node with the role federated does")
    return console


async def asker(request: web.Request) -> Asker:
    """Who asks; a token that is nobody's log-in counts as the role that its scope is."""
    caller = request.get(CALLER, LOCAL)
    user = await console_of(request).users.of_token(caller.name)
    if user is not None:
        return Asker(user.id, user.role)
    role = next((role for role, scope in ROLE_SCOPES.items() if caller.scope >= scope), UserRole.DEFAULT)
    return Asker("", role)


async def present(request: web.Request) -> None:
    """Has the request count as that of the token which it shows, on a route that is open to others as well.

    Raises:
        Unauthorized: it shows none that is known.
        Forbidden: its holder makes no users.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    given = given if scheme.lower() == "bearer" else request.query.get("token", "") or request.cookies.get(COOKIE, "")
    caller = await request.app[DOOR].keyring.find(given.strip()) if given else None
    if caller is None:
        raise Unauthorized(
            "nobody signs up by themselves here",
            hint="an administrator makes users, with a token; the first one is made by `ecnode projects administrator`",
        )
    if caller.scope < Scope.OPERATE:
        raise Forbidden("only an administrator makes users")
    request[CALLER] = caller


def envelope(data: Mapping[str, JsonValue]) -> bytes:
    """An answer in the original's envelope."""
    return write({"data": dict(data), "message": None, "http_code": 200, "rsp_code": 0})


def told(data: Mapping[str, JsonValue]) -> web.Response:
    """The same, to be sent."""
    return written(envelope(data))


def hex_id(request: web.Request, name: str = "id") -> str:
    """An id in a path.

    Raises:
        NotFound: nothing has an id of that form.
    """
    given = request.match_info[name]
    if len(given) != 32 or not set(given) <= set("0123456789abcdef"):
        raise NotFound(f"'{given:.100}' is no id: those are 32 hexadecimal digits")
    return given


def project_shape(project: Project) -> dict[str, JsonValue]:
    """A project as the original tells it, and the other console's key."""
    return {
        "id": project.id,
        "gmt_create": project.created_at,
        "gmt_modified": project.updated_at,
        "owner_id": project.owner or None,
        "name": project.name or None,
        "peer_id": project.peer_id or None,
        "peer_url": project.peer_url,
        "peer_key": project.peer_key or None,
        "comment": project.comment or None,
        "config": _text(project.config),
        "peer_config": _text(project.peer_config),
        "status": number_of(project.status),
    }


def task_shape(task: ProjectTask, project: Project, pairing: Pairing | None) -> dict[str, JsonValue]:
    """A version of a task, with the status of its pairing."""
    return {
        "id": task.id,
        "gmt_create": task.created_at,
        "gmt_modified": task.updated_at,
        "project_id": task.project,
        "project_name": project.name or None,
        "name": task.name,
        "version": task.version,
        "owner_id": task.owner or None,
        "type": number_of(task.kind),
        "token": task.token or None,
        "task_root": task.root,
        "comment": task.comment or None,
        "config": _text(task.config),
        "meta": _text(task.meta),
        "status": number_of(pairing.status if pairing else PairState.DRAFT),
        "task_inter_id": pairing.id if pairing else None,
    }


def pairing_shape(pairing: Pairing) -> dict[str, JsonValue]:
    """A pairing, the original's task_inter."""
    return {
        "id": pairing.id,
        "gmt_create": pairing.created_at,
        "gmt_modified": pairing.updated_at,
        "task_intra_id": pairing.task,
        "task_peer_id": pairing.peer_id or None,
        "status": number_of(pairing.status),
    }


def instance_shape(instance: Instance, task: ProjectTask, pairing: Pairing) -> dict[str, JsonValue]:
    """A run, with the name of its task."""
    return {
        "id": instance.id,
        "gmt_create": instance.created_at,
        "gmt_modified": instance.updated_at,
        "task_intra_id": instance.task,
        "task_intra_name": task.name,
        "task_inter_id": instance.pairing,
        "task_peer_id": pairing.peer_id or None,
        "instance_peer_id": instance.peer_id or None,
        "gmt_start": instance.started_at,
        "gmt_error": instance.error_at,
        "status": number_of(instance.status),
        "comment": instance.comment or None,
        "message": _text(instance.message),
        "error": _text(instance.error),
    }


def resource_shape(resource: Resource) -> dict[str, JsonValue]:
    """A resource."""
    return {
        "id": resource.id,
        "gmt_create": resource.created_at,
        "gmt_modified": resource.updated_at,
        "owner_id": resource.owner or None,
        "task_intra_id": resource.task,
        "name": resource.name,
        "uri": resource.uri,
        "comment": resource.comment or None,
        "config": _text(resource.config),
    }


def user_shape(user: User) -> dict[str, JsonValue]:
    """A user, without the password."""
    return {
        "id": user.id,
        "gmt_create": user.created_at,
        "gmt_modified": user.updated_at,
        "gmt_login": user.login_at,
        "name": user.name,
        "role": number_of(user.role),
        "info": user.info or None,
    }


def _text(settings: Mapping[str, JsonValue]) -> str | None:
    """Settings as the original's database gives them: JSON in a text."""
    return json.dumps(settings) if settings else None
