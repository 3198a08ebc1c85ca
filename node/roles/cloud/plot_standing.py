"""How does a plot stand right now, by what its talent last told in a heartbeat?

A talent that is away has lost nothing: its plots go on there, and that it is away is said beside each of them.
"""

from __future__ import annotations

from node.model.cluster import NodeState
from node.model.plot import PLOT_LIFE, PlotReport, PlotStatus
from node.roles.shared.registry import Registry


class Standing:
    """The newest that is known of plots under way."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def is_there(self, talent: str) -> bool:
        """Whether a talent reports in time."""
        return talent == self._registry.here().name or self._registry.state(talent) is NodeState.READY

    def fresh(self, status: PlotStatus) -> PlotStatus:
        """A plot with the newest progress, and where its talent is away with a sentence that says so."""
        if status.node is None or status.state in PLOT_LIFE.terminal:
            return status
        if not self.is_there(status.node):
            return status.replace(reason=_away(status), eta_s=None)
        told = self._reported(status.node, status.id)
        if told is None or told.state != status.state or told.progress < status.progress:
            return status
        return status.replace(progress=told.progress, phase=told.phase, table=told.table, eta_s=told.eta_s)

    def _reported(self, node: str, id: str) -> PlotReport | None:
        report = self._registry.here() if node == self._registry.here().name else self._registry.report(node)
        if report is None or report.talent is None:
            return None
        return next((one for one in report.talent.plots if one.id == id), None)


def _away(status: PlotStatus) -> str:
    known = f"; before that: {status.reason}" if status.reason else ""
    return (
        f"'{status.node}' is not heard of: what it has goes on there and is told once it is back; if it never comes back: "
        f"ecnode plots give-up {status.id}{known}"
    )[:2000]
