"""What can a client of the original plot system do?

Its two routes over the port of the native API. `POST …/status` is its plot_task_update: the talent reads the log to its end
before the answer. A plot goes by its task_id, which is 32 hex digits, or by its native id.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web
from pydantic_core import to_json

from node.api.compat import TALENT
from node.api.compat.bodies import CreatePlot
from node.api.plots import MAX_REF, plots_of, shown
from node.api.reading import check_ref, read_as, read_body
from node.api.route import Route, Scope
from node.errors import Busy, Conflict, NotFound, StorageFailed
from node.model.plot import PlotAnswer, PlotRequest, PlotStatus
from node.model.plot_table import row


async def create(request: web.Request) -> web.Response:
    """plot_task_create: the same task_id again is the same plot."""
    wanted = await read_body(request, CreatePlot)
    given = {name: value for name, value in dict(wanted).items() if value is not None}
    plot, new = await plots_of(request).create(read_as(given, PlotRequest))
    answer = PlotAnswer(type="on_create", is_success=True, msg=plot.task_id if new else f"it is {plot.state} already")
    return web.Response(body=to_json(answer), content_type="application/json")


async def status(request: web.Request) -> web.Response:
    """Every column of the original's table, as the record has them."""
    return _row(request, await plots_of(request).get(_ref(request)))


async def update(request: web.Request) -> web.Response:
    """plot_task_update: the same once the talent has read the log to its end."""
    return _row(request, await plots_of(request).refresh(_ref(request)))


def _ref(request: web.Request) -> str:
    return check_ref(request.match_info["task_id"], MAX_REF, "plot")


def _row(request: web.Request, plot: PlotStatus) -> web.Response:
    return web.Response(body=to_json(row(shown(request, plot))), content_type="application/json")


_KEPT: Final = (Busy, StorageFailed, NotFound, Conflict)
_route = partial(Route, group=TALENT.name, media="application/json", raises=_KEPT)

ROUTES: Final = (
    _route(
        "POST",
        "/plot/task/create",
        scope=Scope.SUBMIT,
        handler=create,
        summary="Order a plot.",
        body=CreatePlot,
        reply=PlotAnswer,
    ),
    _route("GET", "/plot/task/status/{task_id}", scope=Scope.READ, handler=status, summary="How a plot stands."),
    _route("POST", "/plot/task/status/{task_id}", scope=Scope.READ, handler=update, summary="How it stands now.", keyed=False),
)
