"""Who may come through the front door, and what happens to every request on the way in and out?

Middlewares in the order of the onion, outermost first: `identify` (request id, figures, headers), `explain` (errors become
problems), `check_host` (against DNS rebinding), `check_origin` (against foreign web pages), `check_token` (scopes).
"""

from __future__ import annotations

import ipaddress
import itertools
import logging
import os
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import cache
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

from node.api import problem
from node.api.callers import CALLER, LOCAL, Caller, Keyring
from node.api.route import DOOR, Scope
from node.errors import EcnodeError, Forbidden, Internal, Rejected, Unauthorized
from node.journal import Metrics

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: Final = web.RequestKey("request_id", str)
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_HEADERS: Final = {"Server": "ecnode", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Middleware(Protocol):
    """What the web framework calls around a handler."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]: ...


def identify(metrics: Metrics) -> Middleware:
    """Gives every request an id, counts it, and sets the headers that every answer carries."""
    requests = metrics.counter("http_requests", "Requests at the front door.", ("route", "method", "status"))
    seconds = metrics.histogram("http_seconds", "Time to answer a request.", BUCKETS, ("route",))
    # finding a figure by its labels takes as long as counting in it five times: both are found once
    count = cache(lambda route, method, status: requests.labels(route, method, str(status)).inc)
    time = cache(lambda route: seconds.labels(route).observe)
    boot, number = os.urandom(4).hex(), itertools.count()  # random once: a system call for every request is felt

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if given and _GIVEN_ID.fullmatch(given) else f"{boot}{next(number):08x}"
        request[REQUEST_ID] = request_id
        door = request.app[DOOR]
        door.connections.heard(request.protocol)
        clock = door.clock
        began = clock.monotonic()
        response = await handler(request)
        route = _route(request)
        took = clock.monotonic() - began
        method = request.method if request.method in _METHODS else "other"
        count(route, method, response.status)()
        time(route)(took)
        response.headers.update(_HEADERS)
        response.headers["X-Request-Id"] = request_id
        if log.isEnabledFor(logging.DEBUG):
            figures = {"method": method, "route": route, "status": response.status, "seconds": took}
            log.debug("request answered", extra={"request": request_id, **figures})
        return response

    return middleware


def _route(request: web.Request) -> str:
    # the pattern and not the path: labels must come from a small set
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def explain(groups: Mapping[object, str]) -> Middleware:
    """Turns whatever is raised behind it into a problem, or on routes of `groups` into what the originals' clients expect.

    One of the three places where a blind except is allowed.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request[REQUEST_ID]
        original = request.match_info.route in groups
        try:
            return await handler(request)
        except web.HTTPException as raised:
            return problem.from_framework(request, raised, request_id, original=original)
        except Internal as error:
            log.exception("a request met a fault of this program", extra={"request": request_id, "route": _route(request)})
            return problem.respond(error, request_id, original=original)
        except EcnodeError as error:
            # a stranger can cause refusals without end: the metrics count them, the log of a normal day does not hold them
            level = logging.DEBUG if isinstance(error, Rejected) else logging.INFO
            log.log(level, "request refused", extra={"request": request_id, "route": _route(request), "code": error.code})
            return problem.respond(error, request_id, original=original)
        except Exception:
            log.exception("a request met a fault of this program", extra={"request": request_id, "route": _route(request)})
            return problem.unknown(request_id, original=original)

    return middleware


def check_host(hosts: frozenset[str]) -> Middleware:
    """Refuses requests whose Host header names another host than the config allows."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        # not request.host, which asks the name service where the header is missing
        given = request.headers.getall("Host", [])
        if len(given) != 1 or _host(given[0]) not in hosts:
            raise Forbidden(
                f"the Host header {given[0] if given else ''!r:.100} is not one of this node's",
                hint="add the name to http.hosts if callers should use it",
            )
        return await handler(request)

    return middleware


def _host(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses changes that a web page of another origin asks for; commands and scripts send neither header."""
    if request.method not in SAFE_METHODS:
        origin = request.headers.get("Origin")
        foreign = origin is not None and origin.partition("://")[2] != request.headers.get("Host")
        if foreign or request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            raise Forbidden("a page of another origin may change nothing here")
    return await handler(request)


def check_token(
    mode: str, keyring: Keyring, scopes: Mapping[object, Scope], groups: Mapping[object, str], open_groups: Collection[str]
) -> Middleware:
    """Asks for `Authorization: Bearer …` where the route's scope is above open, and for a token that holds the scope.

    Args:
        mode: `token`, `loopback` (callers of this machine need none) or `none`.
        keyring: who holds which token.
        scopes: by route object; a path without a route answers 404 or 405 to anybody.
        groups: by route object, the group of originals' routes that it belongs to; there `?token=…` is taken as well.
        open_groups: those that callers of this machine may use without a token.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        known = request.match_info.http_exception is None
        scope = scopes.get(request.match_info.route, Scope.ADMIN) if known else Scope.OPEN
        if scope > Scope.OPEN:
            group = groups.get(request.match_info.route)
            free = mode == "none" or ((mode == "loopback" or group in open_groups) and _is_local(request))
            caller = LOCAL if free else await _caller(request, keyring, in_query=group is not None)
            if caller.scope < scope:
                raise Forbidden(
                    f"this needs the scope {scope.name.lower()}, the token has {caller.scope.name.lower()}",
                    hint=f"ecnode token create --scope {scope.name.lower()}",
                )
            request[CALLER] = caller
        return await handler(request)

    return middleware


async def _caller(request: web.Request, keyring: Keyring, *, in_query: bool) -> Caller:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if in_query and not scheme and "token" in request.query:
        scheme, given = "bearer", request.query["token"]
    if scheme.lower() != "bearer":
        raise Unauthorized("this needs a token", hint="send Authorization: Bearer …, or --token-file on the command line")
    caller = await keyring.find(given.strip())
    if caller is None:
        raise Unauthorized("this node does not know the token", hint="the node's token is in its data directory")
    return caller


def _is_local(request: web.Request) -> bool:
    # behind a proxy of the same machine every caller would look local
    if {"Forwarded", "X-Forwarded-For", "X-Forwarded-Host"} & set(request.headers):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return peer is not None and ipaddress.ip_address(peer[0]).is_loopback
