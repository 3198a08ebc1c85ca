"""What is a route of the front door?

Each resource file holds a table of these; the server mounts them, a test walks them, and a description of the API can be
written from them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, TypeAlias

from aiohttp import web

from node.api.connections import Connections
from node.api.polls import Polls
from node.api.ports import Ports
from node.clock import Clock
from node.journal import Metrics
from node.model.value import Value

API: Final = "/api/v1"

RouteHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Scope(IntEnum):
    """What a caller must be allowed to do; each includes the ones before it."""

    OPEN = 0
    READ = 1
    SUBMIT = 2
    OPERATE = 3
    ADMIN = 4


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. `body` and `params` are the models that its body and its query string must fit."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    scope: Scope
    handler: RouteHandler
    summary: str
    body: type[Value] | None = None
    params: type[Value] | None = None
    reply: type[Value] | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """What every handler may use; `opened` is the clock's time when the door opened."""

    ports: Ports
    clock: Clock
    metrics: Metrics
    opened: float
    polls: Polls
    connections: Connections


DOOR: Final = web.AppKey("door", Door)
