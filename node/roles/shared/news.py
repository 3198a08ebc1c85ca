"""Which changes of queries, plots, tasks, sessions and nodes are told to listeners, and in which words?"""

from __future__ import annotations

from typing import Final

from pydantic import JsonValue

from node.clock import Clock
from node.model.cluster import NodeReport, NodeState
from node.model.document import to_document, write_document
from node.model.event import Topic
from node.model.federated import SESSION_LIFE, PartyProgress, Record, Session
from node.model.plot import PLOT_LIFE, Plot
from node.model.task import TASK_LIFE, Task
from node.model.video import QUERY_LIFE, Query
from node.roles.shared.events import EventBus
from node.roles.shared.registry import Registry

LOOK_EVERY: Final = 1.0


class QueryNews:
    """Tells of every query that was made or changed, and of every step that its results take."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def __call__(self, what: str, query: Query) -> None:
        """What a store's watcher hears."""
        last = query.state in QUERY_LIFE.terminal
        if what == "progress":
            data: dict[str, JsonValue] = {"id": query.id, "attempt": query.attempt, "tally": to_document(query.tally)}
            self._bus.publish(Topic.QUERIES, what, query.id, data)
        else:
            self._bus.publish(Topic.QUERIES, what, query.id, write_document(query), last=last)


class PlotNews:
    """Tells of every plot that was ordered, placed or has got further; never its memo, which holds a secret."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def __call__(self, plot: Plot) -> None:
        """What a store's watcher hears."""
        last = plot.state in PLOT_LIFE.terminal
        self._bus.publish(Topic.PLOTS, "plot", plot.id, write_document(plot.replace(memo=None)), last=last)


class TaskNews:
    """Tells of every task that was made or changed."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def __call__(self, task: Task) -> None:
        """What a store's watcher hears."""
        self._bus.publish(Topic.TASKS, "task", task.id, write_document(task), last=task.state in TASK_LIFE.terminal)


class SessionNews:
    """Tells of every session that was made or changed, of where its parties are, and of every test of its model."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def changed(self, session: Session) -> None:
        """A session is new, or has taken a step of its life."""
        last = session.state in SESSION_LIFE.terminal
        self._bus.publish(Topic.SESSIONS, "session", session.id, write_document(session), last=last)

    def progress(self, session: str, party: str, progress: PartyProgress) -> None:
        """A party has said where it is."""
        data: dict[str, JsonValue] = {"id": session, "party": party, "progress": to_document(progress)}
        self._bus.publish(Topic.SESSIONS, "progress", session, data)

    def record(self, session: str, record: Record) -> None:
        """The model was tested."""
        data: dict[str, JsonValue] = {"id": session, "record": to_document(record)}
        self._bus.publish(Topic.SESSIONS, "record", session, data)


class NodeNews:
    """Tells of every report, and of every node whose silence has changed its state."""

    def __init__(self, bus: EventBus, registry: Registry, clock: Clock) -> None:
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._told: dict[str, NodeState] = {}
        registry.when_changed(self._changed)

    async def run(self) -> None:
        """Looks for nodes that fell silent; ends by cancellation."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            for report in self._registry.reports():
                state = self._registry.state(report.name)
                if state is not None and self._told.get(report.name) != state:
                    self._tell(report, state)

    def _changed(self, name: str) -> None:
        report, state = self._registry.report(name), self._registry.state(name)
        if report is not None and state is not None:
            self._tell(report, state)

    def _tell(self, report: NodeReport, state: NodeState) -> None:
        self._told[report.name] = state
        data: dict[str, JsonValue] = {
            "name": report.name,
            "state": state.value,
            "seen_s": self._registry.silent_for(report.name),
            "boot": report.boot,
            "cpu_fraction": report.cpu_fraction,
            "memory_fraction": report.memory_fraction,
            "jobs": [job.query for job in report.jobs],
        }
        self._bus.publish(Topic.NODES, "node", report.name, data)
