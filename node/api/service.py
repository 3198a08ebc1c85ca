"""Does the node live, can it work, and what are its figures?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import document
from node.api.route import DOOR, Route, Scope
from node.model.document import Readiness


async def healthz(request: web.Request) -> web.Response:
    """Whether the loop turns; says nothing about the node's work."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """200 when every component is ready, else 503; the reasons are in the body either way."""
    problems = dict(request.app[DOOR].ports.health.problems())
    ready = not any(problems.values())
    return document(Readiness(ready=ready, components=problems), status=200 if ready else 503)


async def metrics(request: web.Request) -> web.Response:
    """The figures in the Prometheus text format."""
    text = request.app[DOOR].metrics.text()
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


ROUTES: Final = (
    Route("GET", "/healthz", Scope.OPEN, healthz, "The process lives."),
    Route("GET", "/readyz", Scope.OPEN, readyz, "The node can work, or why not.", reply=Readiness, answers=(200, 503)),
    Route("GET", "/metrics", Scope.READ, metrics, "Figures for Prometheus."),
)
