"""How does the front door open and close?

`start` binds every address or none; `stop` answers the long polls, gives requests under way a moment, and is harmless when
repeated.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http import HttpProcessingError

from node.api import (
    blobs,
    description,
    events,
    gate,
    nodes,
    peers,
    plots,
    projects,
    queries,
    repeats,
    results,
    service,
    services,
    sessions,
    sources,
    tasks,
    tokens,
)
from node.api.answer import Fresh
from node.api.callers import Keyring
from node.api.compat import EFLS, PAI, TALENT, TASKS, VIDEO, efls, efls_peers, efls_users, pai, talent, video
from node.api.compat import tasks as original_tasks
from node.api.connections import Connections
from node.api.polls import Polls
from node.api.ports import HttpSettings, Ports
from node.api.reading import LARGE_BODIES, MAX_BODY
from node.api.route import DOOR, Door, Route
from node.clock import Clock
from node.errors import ConfigInvalid, Problem, Unavailable
from node.journal import Metrics

log = logging.getLogger(__name__)

ROUTES: Final[tuple[Route, ...]] = (
    *service.ROUTES,
    *description.ROUTES,
    *nodes.ROUTES,
    *sources.ROUTES,
    *services.ROUTES,
    *queries.ROUTES,
    *results.ROUTES,
    *tasks.ROUTES,
    *plots.ROUTES,
    *blobs.ROUTES,
    *tokens.ROUTES,
    *peers.ROUTES,
    *events.ROUTES,
    *sessions.ROUTES,
    *projects.ROUTES,
)
_ORIGINALS: Final = (
    (VIDEO, video.ROUTES),
    (PAI, pai.ROUTES),
    (TALENT, talent.ROUTES),
    (TASKS, original_tasks.ROUTES),
    (EFLS, (*efls_peers.ROUTES, *efls_users.ROUTES, *efls.ROUTES)),
)
DESCRIBED: Final = (
    *ROUTES,
    *(replace(route, path=group.always + route.path) for group, routes in _ORIGINALS for route in routes),
)
STOP_TIMEOUT: Final = 0.8  # for requests under way; the framework waits it twice at the most, the promise is 2 s
KEEPALIVE: Final = 30.0
MIN_TOKEN: Final = 16
_HOLE: Final = re.compile(r"{\w+(?::[^}]*)?}")


class HttpServer:
    """The node's HTTP door.

    A request whose caller hangs up runs to its end (`handler_cancellation` stays off): a submit must not stop half-way between
    the store and the planner. What may wait is bounded by `Polls`.
    """

    def __init__(self, config: HttpSettings, token: str, ports: Ports, clock: Clock, metrics: Metrics) -> None:
        _check(config, token)
        self._config = config
        self._door = Door(
            ports=ports,
            clock=clock,
            metrics=metrics,
            opened=clock.monotonic(),
            polls=Polls(),
            connections=Connections(clock),
            card=Fresh(clock, nodes.CARD_FRESH),
            keyring=Keyring(token, ports.tokens, clock),
            patching=asyncio.Lock(),
            listening=asyncio.Semaphore(events.MAX_LISTENERS),
            routes=DESCRIBED,
            open_groups=frozenset(config.compat_open),
            large_bodies=asyncio.Semaphore(LARGE_BODIES),
            uploading=asyncio.Semaphore(blobs.UPLOADS),
            max_upload=config.max_upload,
        )
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=_protocol_log(),
            handle_signals=False,
            shutdown_timeout=STOP_TIMEOUT,
            keepalive_timeout=KEEPALIVE,
            lingering_time=0.0,
            auto_decompress=False,
        )
        self._urls: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses that are really bound, once `start` has returned."""
        return self._urls

    async def start(self) -> None:
        """Opens the door on every configured address.

        Raises:
            Unavailable: one of them is taken or not this machine's; then none is open.
        """
        await self._door.keyring.load()
        await self._runner.setup()
        try:
            for address in self._config.listen:
                await self._bind(address)
        except BaseException:
            await self._runner.cleanup()
            raise
        if self._runner.server is not None:
            self._door.connections.start(self._runner.server)
        self._urls = tuple(_url(host, port) for host, port, *_ in self._runner.addresses)
        log.info("front door open", extra={"urls": " ".join(self._urls), "auth": self._config.auth})

    async def stop(self) -> None:
        """Closes the door within two seconds."""
        self._door.polls.close()
        if self._door.ports.events is not None:
            self._door.ports.events.close()
        await self._door.connections.stop()
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        mounted: dict[object, gate.Mounted] = {}
        guard = gate.guard(self._door, self._config, mounted)
        application = web.Application(client_max_size=MAX_BODY, middlewares=[guard])
        application[DOOR] = self._door
        seen = repeats.Repeats(self._door.ports.answers)
        originals = [
            (route, prefix)
            for group, routes in _ORIGINALS
            if group.name in self._config.compat
            for prefix in group.prefixes
            for route in routes
        ]
        _check_claims(originals)
        if below := self._door.ports.console_prefix:
            originals += [(route, below) for group, routes in _ORIGINALS if group is EFLS for route in routes]
        for route, prefix in [*((route, "") for route in DESCRIBED), *originals]:
            objects = _mount(application, route, prefix + route.path, seen)
            mounted.update(dict.fromkeys(objects, gate.Mounted(route.scope, prefix + route.path, route.group)))
        return application

    async def _bind(self, address: str) -> None:
        host, port = split(address)
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise Unavailable(
                f"http.listen: {address} cannot be bound: {error.strerror or error}",
                hint="`ecnode check` says who holds the port; --set http.listen=127.0.0.1:0 takes a free one",
            ) from error


def _mount(application: web.Application, route: Route, path: str, seen: repeats.Repeats) -> tuple[object, ...]:
    """The route's objects in the framework: where something can be read, its head can be asked for too."""
    methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
    handler = seen.once(route) if route.method == "POST" else route.handler
    return tuple(application.router.add_route(method, path, handler) for method in methods)


def _check_claims(mounted: Sequence[tuple[Route, str]]) -> None:
    """Two originals may have meant different things by one path."""
    owners: dict[tuple[str, str], str] = {}
    for route, prefix in mounted:
        path = _HOLE.sub("{}", prefix + route.path)
        owner = owners.setdefault((route.method, path), route.group)
        if owner != route.group:
            raise _invalid(
                "http.compat",
                f"'{owner}' and '{route.group}' both claim {route.method} {prefix + route.path} at the root: name one of them,"
                " the other stands under /compat always",
            )


def split(address: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:7480` or `[::1]:7480`.

    Raises:
        ConfigInvalid: it is not of that form.
    """
    try:
        parts = urlsplit(f"//{address}")
        if parts.hostname and parts.port is not None and not parts.path:
            return parts.hostname, parts.port
    except ValueError:
        pass  # a port out of range; told below with the same words
    raise _invalid("http.listen", f"'{address}' is not HOST:PORT")


def _protocol_log() -> logging.Logger:
    """Where the web framework reports; bytes that are no HTTP earn no traceback, or strangers could fill the log."""
    protocol = logging.getLogger("node.api.protocol")
    protocol.addFilter(_is_our_fault)
    return protocol


def _is_our_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check(config: HttpSettings, token: str) -> None:
    away = [address for address in config.listen if not _is_loopback(split(address)[0])]
    if away and config.auth == "none":
        raise _invalid("http.auth", f"'none' would let anybody in through {away[0]}; use 'token'")
    if len(token) < MIN_TOKEN and (away or config.auth == "token"):
        raise _invalid("http.auth", f"a token of {MIN_TOKEN} characters or more is needed")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _invalid(path: str, message: str) -> ConfigInvalid:
    return ConfigInvalid(f"{path}: {message}", problems=[Problem(path, message)])
