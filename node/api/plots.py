"""What can a caller do with plots?"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from node.api import repeats
from node.api.answer import document, page
from node.api.callers import CALLER
from node.api.ports import Plots
from node.api.reading import kept_by_clouds, read_body, read_params, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, Conflict, DeadlineExceeded, NotFound, PeerUnreachable, StorageFailed
from node.model.document import MAX_PAGE, ExportPlots, ListPlots, PlotLogQuery, TalentCard
from node.model.plot import PlotAnswer, PlotChange, PlotRequest, PlotState, PlotStatus, PlotStep
from node.model.plot_table import COLUMNS, row
from node.model.value import new_id
from node.model.wire.plot import PlotLogRequest

MAX_REF: Final = 2000  # a name is a text of so many characters
EXPORT_MOST: Final = 20_000  # rows of 1.5 kB


def plots_of(request: web.Request) -> Plots:
    """The plots that this node ordered; NotFound where it orders none."""
    return kept_by_clouds(request.app[DOOR].ports.plots, "plots")


def ref_of(request: web.Request) -> str:
    """What the path calls the plot."""
    return read_ref(request, MAX_REF, "plot")


def shown(request: web.Request, status: PlotStatus) -> PlotStatus:
    """A plot as this caller may see it: a memo holds a secret key, for those who operate the system only."""
    if status.memo is None or request[CALLER].scope >= Scope.OPERATE:
        return status
    return status.replace(memo=None)


async def create(request: web.Request) -> web.Response:
    """201 for a new plot, 200 for the same one again."""
    plots = plots_of(request)
    wanted = await read_body(request, PlotRequest)
    if wanted.id is None and wanted.task_id is None and (identity := repeats.identity(request, "p")) is not None:
        wanted = wanted.replace(id=identity)
    plot, new = await plots.create(wanted)
    status = shown(request, await plots.get(plot.id))
    return document(status, status=201 if new else 200, headers={"Location": f"{API}/plots/{plot.id}"})


async def listing(request: web.Request) -> web.Response:
    """Newest first; `next` is null on the last page."""
    params = read_params(request, ListPlots)
    found = await plots_of(request).list(params.state, params.limit, params.after)
    return page([shown(request, one) for one in found], found[-1].id if len(found) == params.limit else None)


async def show(request: web.Request) -> web.Response:
    """One plot with every column of the original's table in `times` and beside it."""
    return document(shown(request, await plots_of(request).get(ref_of(request))))


async def update(request: web.Request) -> web.Response:
    """plot_task_update: changes what is given, `{}` nothing; answered once the talent has read its log to the end."""
    change = await read_body(request, PlotChange)
    return document(shown(request, await plots_of(request).update(ref_of(request), change)))


async def give_up(request: web.Request) -> web.Response:
    """Ends the record of a plot whose talent is away for good: failed, lost. If it comes back, it is told to stop the plot."""
    plots = plots_of(request)
    plot = await plots.give_up(ref_of(request))
    return document(shown(request, await plots.get(plot.id)))


async def stop(request: web.Request) -> web.Response:
    """Ends a plot in whatever state it is. The stop of a whole id that nobody knows yet is kept: its create ends as stopped."""
    return document(await plots_of(request).stop(ref_of(request)))


async def suspend(request: web.Request) -> web.Response:
    """Freezes its plotter; again changes nothing."""
    return await _suspended(request, suspended=True)


async def resume(request: web.Request) -> web.Response:
    """Lets its plotter go on; again changes nothing."""
    return await _suspended(request, suspended=False)


async def _suspended(request: web.Request, *, suspended: bool) -> web.Response:
    plots = plots_of(request)
    plot = await plots.suspend(ref_of(request), suspended=suspended)
    return document(shown(request, (await plots.get(plot.id)).replace(suspended=plot.suspended)))


async def logs(request: web.Request) -> web.Response:
    """A part of what the plotter wrote. X-Log-Next is the offset to go on from, X-Log-Over says that no more will come."""
    params = read_params(request, PlotLogQuery)
    wanted = PlotLogRequest(
        plot=new_id("p", 0.0), offset=params.offset, length=params.length, tail=params.tail, wait=params.wait
    )
    content, told = await plots_of(request).logs(ref_of(request), wanted)
    headers = {"X-Log-Offset": str(told.offset), "X-Log-Next": str(told.next), "X-Log-Over": str(told.over).lower()}
    return web.Response(body=content, content_type="text/plain", charset="utf-8", headers=headers)


async def steps(request: web.Request) -> web.Response:
    """Every transition with its time and reason."""
    return page(await plots_of(request).steps(ref_of(request)), None)


async def dirs(request: web.Request) -> web.Response:
    """The talents with their temp directories and destinations: free, promised, running."""
    cards = [
        TalentCard(name=view.report.name, state=view.state, seen_s=view.seen_s, report=view.report.talent)
        for view in plots_of(request).talents()
        if view.report.talent is not None
    ]
    return page(cards, None)


async def export(request: web.Request) -> web.Response:
    """All plots, newest first, with the columns of the original's table; the newest 20,000."""
    params = read_params(request, ExportPlots)
    found = await _all(plots_of(request), params.state)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(shown(request, one)) for one in found)
    return web.Response(text=text.getvalue(), content_type="text/csv")


async def _all(plots: Plots, state: PlotState | None) -> Sequence[PlotStatus]:
    found: list[PlotStatus] = []
    while len(found) < EXPORT_MOST:
        part = await plots.list(state, MAX_PAGE, found[-1].id if found else None)
        found += part
        if len(part) < MAX_PAGE:
            break
    return found


_ONE: Final = f"{API}/plots/{{ref}}"
_KEPT: Final = (Busy, StorageFailed, NotFound)
_NAMED: Final = (*_KEPT, Conflict)
_AWAY: Final = (*_NAMED, PeerUnreachable, DeadlineExceeded)

ROUTES: Final = (
    Route(
        "POST",
        f"{API}/plots",
        Scope.SUBMIT,
        create,
        "Order a plot.",
        body=PlotRequest,
        reply=PlotStatus,
        answers=(201, 200),
        raises=_NAMED,
    ),
    Route(
        "GET",
        f"{API}/plots",
        Scope.READ,
        listing,
        "Plots, newest first.",
        params=ListPlots,
        reply=PlotStatus,
        many=True,
        raises=_KEPT,
    ),
    Route("GET", f"{API}/plots/dirs", Scope.READ, dirs, "Where plots are made.", reply=TalentCard, many=True, raises=_KEPT),
    Route(
        "GET",
        f"{API}/plots/export.csv",
        Scope.READ,
        export,
        "All plots as a table.",
        params=ExportPlots,
        media="text/csv",
        raises=_KEPT,
    ),
    Route("GET", _ONE, Scope.READ, show, "One plot.", reply=PlotStatus, raises=_NAMED),
    Route(
        "PATCH",
        _ONE,
        Scope.SUBMIT,
        update,
        "Rename a plot, freeze it or let it go on, and read its log to the end.",
        body=PlotChange,
        reply=PlotStatus,
        raises=_AWAY,
    ),
    Route("POST", f"{_ONE}/give-up", Scope.SUBMIT, give_up, "Give up a lost plot.", reply=PlotStatus, raises=_NAMED),
    Route("GET", f"{_ONE}/steps", Scope.READ, steps, "Transitions of the plot.", reply=PlotStep, many=True, raises=_NAMED),
    Route("POST", f"{_ONE}/stop", Scope.SUBMIT, stop, "Stop a plot.", reply=PlotAnswer, raises=_NAMED),
    Route("POST", f"{_ONE}/suspend", Scope.SUBMIT, suspend, "Freeze a plot.", reply=PlotStatus, raises=_AWAY),
    Route("POST", f"{_ONE}/resume", Scope.SUBMIT, resume, "Let a plot go on.", reply=PlotStatus, raises=_AWAY),
    Route("GET", f"{_ONE}/logs", Scope.READ, logs, "What its plotter wrote.", params=PlotLogQuery, raises=_AWAY),
)
