"""Who may come through the front door, and what happens to every request on the way in and out?

One middleware, because each costs as much as a check: it gives the request an id, refuses what names a foreign host (DNS
rebinding), what a foreign page asks for and what lacks the scope of its route, turns whatever is raised behind it into a
problem, counts the answer and sets the headers that every answer carries.
"""

from __future__ import annotations

import ipaddress
import itertools
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import istr

from node.api import problem
from node.api.callers import CALLER, LOCAL, Caller
from node.api.ports import HttpSettings
from node.api.route import Door, Scope
from node.api.traffic import Traffic
from node.errors import EcnodeError, Forbidden, Internal, Rejected, Unauthorized

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: Final = web.RequestKey("request_id", str)
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
HOSTS_AT_HAND: Final = 64  # Host headers that were read once, each of at most a head: 512 KiB
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID: Final = istr("X-Request-Id")
_NO_SNIFFING: Final = istr("X-Content-Type-Options")


class Middleware(Protocol):
    """What the web framework calls around a handler."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]: ...


@dataclass(frozen=True, slots=True)
class Mounted:
    """What the gate knows of a route: its path as a pattern, and the group of originals' routes that it belongs to."""

    scope: Scope
    path: str
    group: str = ""


# A path or a method that is not there answers 404 or 405 to anybody.
_NOWHERE: Final = Mounted(Scope.OPEN, "unknown")


def guard(door: Door, settings: HttpSettings, mounted: Mapping[object, Mounted]) -> Middleware:
    """The middleware of a door whose routes are `mounted`, by the framework's object of each."""
    hosts = frozenset(name.lower() for name in settings.hosts)
    count = Traffic(door.metrics).note
    now, heard = door.clock.monotonic, door.connections.heard
    boot, number = os.urandom(4).hex(), itertools.count()  # random once: a system call for every request is felt

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = now()
        heard(request.protocol)
        given = request.headers.get(_REQUEST_ID)
        request_id = given if given and _GIVEN_ID.fullmatch(given) else f"{boot}{next(number):08x}"
        request[REQUEST_ID] = request_id
        here = mounted.get(request.match_info.route, _NOWHERE)
        response: web.StreamResponse
        try:
            _check_host(request, hosts)
            if request.method not in SAFE_METHODS:
                _check_origin(request)
            if here.scope > Scope.OPEN:
                request[CALLER] = await _admit(request, door, settings, here)
            response = await handler(request)
        except (web.HTTPException, EcnodeError) as error:
            response = _refusal(request, error, request_id, here)
        except Exception:
            log.exception("a request met a fault of this program", extra={"request": request_id, "route": here.path})
            response = problem.unknown(request_id, original=here.group)
        took = now() - began
        count(here.path, request.method, response.status, took)
        headers = response.headers
        headers[hdrs.SERVER] = "ecnode"
        headers[_NO_SNIFFING] = "nosniff"
        headers[hdrs.CACHE_CONTROL] = "no-store"
        headers[_REQUEST_ID] = request_id
        if log.isEnabledFor(logging.DEBUG):
            told = {"method": request.method, "route": here.path, "status": response.status, "seconds": took}
            log.debug("request answered", extra={"request": request_id, **told})
        return response

    return middleware


# How a refusal is told


def _refusal(
    request: web.Request, error: web.HTTPException | EcnodeError, request_id: str, here: Mounted
) -> web.StreamResponse:
    original = here.group
    if isinstance(error, web.HTTPException):
        return problem.from_framework(request, error, request_id, original=original)
    told = {"request": request_id, "route": here.path}
    if isinstance(error, Internal):
        log.error("a request met a fault of this program", extra=told, exc_info=error)
    else:
        # a stranger can cause refusals without end: the metrics count them, the log of a normal day does not hold them
        level = logging.DEBUG if isinstance(error, Rejected) else logging.INFO
        log.log(level, "request refused", extra={**told, "code": error.code})
    return problem.respond(error, request_id, original=original)


# The checks


def _check_host(request: web.Request, hosts: frozenset[str]) -> None:
    # not request.host, which asks the name service where the header is missing
    given = request.headers.getall(hdrs.HOST, [])
    if len(given) != 1 or _host(given[0]) not in hosts:
        raise Forbidden(
            f"the Host header {given[0] if given else ''!r:.100} is not one of this node's",
            hint="add the name to http.hosts if callers should use it",
        )


@lru_cache(maxsize=HOSTS_AT_HAND)
def _host(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def _check_origin(request: web.Request) -> None:
    """Refuses changes that a web page of another origin asks for; commands and scripts send neither header."""
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin.partition("://")[2] != request.headers.get(hdrs.HOST)
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise Forbidden("a page of another origin may change nothing here")


async def _admit(request: web.Request, door: Door, settings: HttpSettings, here: Mounted) -> Caller:
    """Who asks, by `Authorization: Bearer …`; on the originals' routes `?token=…` is taken as well, on
    those of the console the cookie of its log-in.

    Callers of this machine need no token where `http.auth` is `loopback`, or where the group of the route is open to them.

    Raises:
        Unauthorized, Forbidden: a token that is unknown, or that does not hold the scope of the route.
    """
    near = settings.auth == "loopback" or here.group in door.open_groups
    if settings.auth == "none" or (near and _is_local(request)):
        return LOCAL
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if here.group and not scheme and "token" in request.query:
        scheme, given = "bearer", request.query["token"]
    if here.group == problem.CONSOLE_GROUP and not scheme and "token" in request.cookies:
        scheme, given = "bearer", request.cookies["token"]  # of the original's log-in; pages of other origins were refused
    if scheme.lower() != "bearer":
        raise Unauthorized("this needs a token", hint="send Authorization: Bearer …, or --token-file on the command line")
    caller = await door.keyring.find(given.strip())
    if caller is None:
        raise Unauthorized("this node does not know the token", hint="the node's token is in its data directory")
    if caller.scope < here.scope:
        wanted = here.scope.name.lower()
        raise Forbidden(
            f"this needs the scope {wanted}, the token has {caller.scope.name.lower()}",
            hint=f"ecnode token create --scope {wanted}",
        )
    return caller


def _is_local(request: web.Request) -> bool:
    # behind a proxy of the same machine every caller would look local
    if {"Forwarded", "X-Forwarded-For", "X-Forwarded-Host"} & set(request.headers):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return peer is not None and ipaddress.ip_address(peer[0]).is_loopback
