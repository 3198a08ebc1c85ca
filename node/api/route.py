"""What is a route of the front door?

Each resource file holds a table of these; the server mounts them, a test walks them, and a description of the API can be
written from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from aiohttp import web

from node.api.answer import Fresh
from node.api.callers import Keyring
from node.api.connections import Connections
from node.api.polls import Polls
from node.api.ports import Ports
from node.api.scope import Scope
from node.clock import Clock
from node.errors import EcnodeError
from node.journal import Metrics
from node.model.value import Value

API: Final = "/api/v1"

__all__ = ["API", "DOOR", "Door", "Route", "RouteHandler", "Scope"]

RouteHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. `body` and `params` are the models that its body and its query string must fit.

    `answers` are the statuses that carry `reply`: one, or with `many` a page of them; without a `reply` the content is of the
    type `media`. `raises` are the refusals beyond those that follow from the rest.
    A POST that is not `keyed` takes no idempotency key. `group` is the one of originals' routes that it belongs to, `takes` the
    type of a body that is no document but content.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    scope: Scope
    handler: RouteHandler
    summary: str
    body: type[Value] | None = None
    params: type[Value] | None = None
    reply: type[Value] | None = None
    many: bool = False
    media: str = "text/plain"
    answers: tuple[int, ...] = (200,)
    raises: tuple[type[EcnodeError], ...] = ()
    keyed: bool = True
    group: str = ""
    takes: str = ""


@dataclass(frozen=True, slots=True)
class Door:
    """What every handler may use; `opened` is the clock's time when the door opened.

    `card` is what the node says of itself. `patching` is held from the reading of a record to its change, `listening` by every
    event stream, `large_bodies` while one above the usual size is read, `uploading` by every upload, `max_upload` bytes each.
    """

    ports: Ports
    clock: Clock
    metrics: Metrics
    opened: float
    polls: Polls
    connections: Connections
    card: Fresh
    keyring: Keyring
    patching: asyncio.Lock
    listening: asyncio.Semaphore
    routes: tuple[Route, ...]
    open_groups: frozenset[str]
    large_bodies: asyncio.Semaphore
    uploading: asyncio.Semaphore
    max_upload: int


DOOR: Final = web.AppKey("door", Door)
