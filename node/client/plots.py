"""How does a command order and follow plots?"""

from __future__ import annotations

from urllib.parse import quote

from node.client.connection import API, Connection, Page, page_of, refusal
from node.model.document import Document, TalentCard, from_document, to_document
from node.model.plot import PlotAnswer, PlotChange, PlotRequest, PlotState, PlotStatus, PlotStep


class PlotCalls(Connection):
    """Of plots."""

    def create_plot(self, request: PlotRequest) -> PlotStatus:
        """Orders a plot; give it an id, so that a repeat is harmless."""
        given = to_document(request)
        body: Document = {
            name: value for name, value in given.items() if name in request.model_fields_set and value is not None
        }
        return from_document(PlotStatus, self._send("POST", "/plots", body))

    def plots(self, state: PlotState | None = None, limit: int = 50, after: str | None = None) -> Page[PlotStatus]:
        """Plots, newest first."""
        return page_of(PlotStatus, self._get("/plots", {"state": state, "limit": limit, "after": after}))

    def plot(self, ref: str) -> PlotStatus:
        """One plot."""
        return from_document(PlotStatus, self._get(f"/plots/{quote(ref, safe='')}"))

    def plot_steps(self, ref: str) -> tuple[PlotStep, ...]:
        """Every transition of a plot."""
        return page_of(PlotStep, self._get(f"/plots/{quote(ref, safe='')}/steps")).items

    def stop_plot(self, ref: str) -> PlotAnswer:
        """Stops a plot."""
        return from_document(PlotAnswer, self._send("POST", f"/plots/{quote(ref, safe='')}/stop", None))

    def update_plot(self, ref: str, change: PlotChange | None = None) -> PlotStatus:
        """Changes what is given; the plot once its talent has read its log to the end."""
        given = to_document(change or PlotChange())
        body: Document = {name: value for name, value in given.items() if value is not None}
        return from_document(PlotStatus, self._send("PATCH", f"/plots/{quote(ref, safe='')}", body))

    def give_up_plot(self, ref: str) -> PlotStatus:
        """Gives up a plot whose talent does not come back."""
        return from_document(PlotStatus, self._send("POST", f"/plots/{quote(ref, safe='')}/give-up", None))

    def suspend_plot(self, ref: str) -> PlotStatus:
        """Freezes the plotter of a plot."""
        return from_document(PlotStatus, self._send("POST", f"/plots/{quote(ref, safe='')}/suspend", None))

    def resume_plot(self, ref: str) -> PlotStatus:
        """Lets the plotter of a plot go on."""
        return from_document(PlotStatus, self._send("POST", f"/plots/{quote(ref, safe='')}/resume", None))

    def plot_log(self, ref: str, offset: int = 0, *, tail: bool = False, wait: float = 0.0) -> bytes:
        """A part of a plot's log from `offset` on, or its last bytes; waits up to `wait` seconds for the first of them."""
        where = "tail=true" if tail else f"offset={offset}"
        target = f"{API}/plots/{quote(ref, safe='')}/logs?{where}&wait={wait}"
        status, content = self._exchange("GET", target, None, self._timeout + wait)
        if status != 200:
            raise refusal(status, content)
        return content

    def talents(self) -> tuple[TalentCard, ...]:
        """The talents with their directories."""
        return page_of(TalentCard, self._get("/plots/dirs")).items

    def plots_csv(self, state: PlotState | None = None) -> bytes:
        """All plots as CSV, with the columns of the original's table."""
        target = f"{API}/plots/export.csv" + (f"?state={state}" if state else "")
        status, content = self._exchange("GET", target, None, self._timeout)
        if status != 200:
            raise refusal(status, content)
        return content
