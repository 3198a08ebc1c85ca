"""What can another console ask, by the original's peer protocol?

Bodies and ids as the original has them, the id in a path being the caller's; besides them each request carries the four headers
of `node.pipeline.federated.signed_request`, and each answer to a signed one is signed. The signed path is the one below the
console's base address, wherever that stands. No token is asked for: the signature is the proof.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from aiohttp import web
from pydantic import JsonValue

from node.api.answer import written
from node.api.compat import EFLS
from node.api.compat.efls_bodies import (
    ConsoleAnswer,
    PeerInstance,
    PeerProject,
    PeerProjectConfig,
    PeerStatus,
    PeerTask,
)
from node.api.compat.efls_shapes import console_of, envelope, hex_id, instance_shape, told
from node.api.reading import check_type, parse, read_content
from node.api.route import Route, RouteHandler, Scope
from node.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    StorageFailed,
    Unauthorized,
    Unavailable,
)
from node.model.project import InstanceState, number_of, word_of
from node.model.value import Value

if TYPE_CHECKING:
    from node.pipeline.federated.signed_request import Proven
    from node.roles.federated.console.answers import Answers
    from node.roles.federated.console.console import Console

HEX_ID: Final = re.compile(r"[0-9a-f]{32}")
SAFE: Final = frozenset({"GET", "HEAD"})
REPLY_SIGNATURE: Final = "X-Peer-Reply-Sig"


class Question(NamedTuple):
    """What another console asks: who has proven to be it, with which id of its own, and the body."""

    answers: Answers
    proven: Proven | None
    id: str
    content: bytes


Work: TypeAlias = Callable[[Question], Awaitable[Mapping[str, JsonValue]]]


async def answer(console: Console, method: str, path: str, headers: Mapping[str, str], content: bytes) -> tuple[bytes, str]:
    """The answer to a request, and its signature where the request has one; by HTTP and by link it is the same.

    `path` is the one below the console's base address, and what is signed.

    Raises:
        NotFound: nothing is asked by that method on that path.
    """
    resource, _, id = path.rpartition("/")
    pattern = f"{resource}/{{id}}" if HEX_ID.fullmatch(id) else path
    if (method, pattern) == ("GET", "/health"):
        return envelope(_health(console)), ""
    work = _WORKS.get((method, pattern))
    if work is None:
        raise NotFound(f"other consoles ask nothing by {method} on {path:.100}")
    proven = console.peers.proven(headers, method, path, content)
    body = envelope(await work(Question(console.answers, proven, id, content)))
    return body, console.peers.sign_answer(proven, 200, body)


def _answered(method: str, path: str) -> RouteHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        console = console_of(request)
        asked = path.replace("{id}", hex_id(request)) if "{id}" in path else path
        content = b""
        if request.method not in SAFE:
            check_type(request)
            content = await read_content(request)
        body, signature = await answer(console, method, asked, request.headers, content)
        return written(body, headers={REPLY_SIGNATURE: signature} if signature else {})

    handle.__doc__ = _WORKS[method, path].__doc__
    return handle


async def create_project(asked: Question) -> Mapping[str, JsonValue]:
    """The caller's key is pinned; a second pairing of the same project is refused with 409."""
    body = parse(asked.content, PeerProject)
    return {"project_id": await asked.answers.create_project(asked.proven, body.peer_id, body.peer_url, body.peer_config)}


async def update_project(asked: Question) -> Mapping[str, JsonValue]:
    """The config is merged into what the caller said before."""
    body = parse(asked.content, PeerProjectConfig)
    return {"project_id": await asked.answers.update_project(asked.proven, asked.id, body.peer_config)}


async def find_project(asked: Question) -> Mapping[str, JsonValue]:
    """The test of a connection."""
    return {"project_id": await asked.answers.find_project(asked.proven, asked.id)}


async def create_task(asked: Question) -> Mapping[str, JsonValue]:
    """A root takes the caller's version; otherwise a new version is made of the latest one here."""
    body = parse(asked.content, PeerTask)
    found = await asked.answers.create_task(asked.proven, asked.id, body.token, body.version, body.task_root)
    return {"task_inter_id": found}


async def show_task(asked: Question) -> Mapping[str, JsonValue]:
    """What this side shows of its task; its config stays here."""
    return {"task_meta": dict(await asked.answers.show_task(asked.proven, asked.id)) or None}


async def create_instance(asked: Question) -> Mapping[str, JsonValue]:
    """It starts at once where the local policy says yes by itself."""
    body = parse(asked.content, PeerInstance)
    return {"task_instance_id": await asked.answers.create_instance(asked.proven, asked.id, body.task_peer_id)}


async def change_instance(asked: Question) -> Mapping[str, JsonValue]:
    """3 starts what is ready or stopped, 5 stops what runs; the answer is the status after it."""
    status = word_of(InstanceState, parse(asked.content, PeerStatus).status)
    if status is None:
        raise Invalid("status: is none of an instance", problems=[Problem("status", "0 to 6")])
    return {"status": number_of(await asked.answers.change_instance(asked.proven, asked.id, status))}


async def show_instance(asked: Question) -> Mapping[str, JsonValue]:
    """This side's instance, with what its engine has told."""
    return instance_shape(*await asked.answers.show_instance(asked.proven, asked.id))


def _health(console: Console) -> Mapping[str, JsonValue]:
    return {"status": "ok", "key": console.peers.key}


async def health(request: web.Request) -> web.StreamResponse:
    """Whether it answers, and by which key; others pin it when they pair a project."""
    return told(_health(console_of(request)))


_PROJECT: Final = "/project/peer"
_ONE: Final = f"{_PROJECT}/{{id}}"
_TASK: Final = "/task/peer/{id}"
_INSTANCE: Final = "/task_instance/peer/{id}"
_WORKS: Final[Mapping[tuple[str, str], Work]] = {
    ("POST", _PROJECT): create_project,
    ("PUT", _ONE): update_project,
    ("GET", _ONE): find_project,
    ("POST", _TASK): create_task,
    ("GET", _TASK): show_task,
    ("POST", _INSTANCE): create_instance,
    ("PUT", _INSTANCE): change_instance,
    ("GET", _INSTANCE): show_instance,
}
_RAISED: Final = (
    Busy,
    StorageFailed,
    NotFound,
    Unauthorized,
    Forbidden,
    Conflict,
    Unavailable,
    DeadlineExceeded,
)


def _route(method: Literal["GET", "POST", "PUT"], path: str, summary: str, body: type[Value] | None = None) -> Route:
    return Route(
        method,
        path,
        Scope.OPEN,
        _answered(method, path),
        summary,
        body=body,
        reply=ConsoleAnswer,
        raises=_RAISED,
        keyed=False,
        group=EFLS.name,
    )


ROUTES: Final = (
    Route(
        "GET",
        "/health",
        Scope.OPEN,
        health,
        "Whether it answers, and its key.",
        reply=ConsoleAnswer,
        raises=(NotFound,),
        group=EFLS.name,
    ),
    _route("POST", _PROJECT, "Pair a project.", PeerProject),
    _route("PUT", _ONE, "Tell a project's config.", PeerProjectConfig),
    _route("GET", _ONE, "Is it paired?"),
    _route("POST", _TASK, "Pair a task.", PeerTask),
    _route("GET", _TASK, "What is shown of a task."),
    _route("POST", _INSTANCE, "Ask for a run.", PeerInstance),
    _route("PUT", _INSTANCE, "Tell a status.", PeerStatus),
    _route("GET", _INSTANCE, "How a run is."),
)
