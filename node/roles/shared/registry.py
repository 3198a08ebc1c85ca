"""Which nodes are there, how are they, and since when has a silent one been silent?

Every node keeps one: the newest report of each peer, and a state by its age. A link that goes down makes its peer suspect at
once, without waiting for the next heartbeat to stay away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from node.clock import Clock
from node.errors import Forbidden
from node.model.cluster import NodeReport, NodeState, NodeView
from node.model.wire.member import NODE_REPORT, Report, ReportReply
from node.transport.base import Answer, Call, Peer, Transport

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    peer: Peer
    report: NodeReport
    seen_at: float
    linked: bool


class Registry:
    """The peers of one node. `changed` watchers hear the name of a node that reported, left or came back.

    With `lease` each report is answered with a lease of so many seconds.
    """

    def __init__(
        self,
        here: Callable[[], NodeReport],
        clock: Clock,
        *,
        suspect_after: float,
        dead_after: float,
        lease: float = 0.0,
    ) -> None:
        self._here = here
        self._clock = clock
        self._suspect_after = suspect_after
        self._dead_after = dead_after
        self._lease = lease
        self._entries: dict[str, _Entry] = {}
        self._watchers: list[Callable[[str], None]] = []
        self._transport: Transport | None = None
        self._taken: Answer[ReportReply] | None = None
        self.started_at = clock.monotonic()

    def register(self, transport: Transport) -> None:
        """Takes the peers' heartbeats; only before the transport starts."""
        self._transport = transport
        transport.answer(NODE_REPORT, self._answer)
        transport.hear(NODE_REPORT, self._hear)
        transport.watch(self._link)

    def when_changed(self, watcher: Callable[[str], None]) -> None:
        """Has `watcher(name)` called when a node reports, or its link goes up or down."""
        self._watchers.append(watcher)

    def here(self) -> NodeReport:
        """This node's own report, made now."""
        return self._here()

    def views(self) -> tuple[NodeView, ...]:
        """Every node that has ever reported to this process, itself included, by name."""
        rtts = {link.peer.name: link.rtt_s * 1000 for link in self._transport.links()} if self._transport else {}
        return tuple(self._view(self._entries[name], rtts) for name in sorted(self._entries))

    def view(self, name: str) -> NodeView | None:
        """One peer, or None where it has never reported to this process."""
        entry = self._entries.get(name)
        return self._view(entry, {}) if entry else None

    def report(self, name: str) -> NodeReport | None:
        """The newest report of a peer, None where it has never reported to this process."""
        entry = self._entries.get(name)
        return entry.report if entry else None

    def hears(self, name: str) -> bool:
        """Whether nothing speaks against a peer: it reports in time, or has never reported here."""
        entry = self._entries.get(name)
        return entry is None or self.state(name) is NodeState.READY

    def reports(self) -> tuple[NodeReport, ...]:
        """The newest report of every node that has ever reported to this process."""
        return tuple(entry.report for entry in self._entries.values())

    def state(self, name: str) -> NodeState | None:
        """How a peer is now, or None where it has never reported to this process."""
        entry = self._entries.get(name)
        return self._state(entry, self._clock.monotonic() - entry.seen_at) if entry else None

    def silent_for(self, name: str) -> float:
        """Seconds since the node's newest report, or since this process began to listen."""
        entry = self._entries.get(name)
        return self._clock.monotonic() - (entry.seen_at if entry else self.started_at)

    def _view(self, entry: _Entry, rtts: dict[str, float]) -> NodeView:
        age = self._clock.monotonic() - entry.seen_at
        return NodeView(
            state=self._state(entry, age),
            seen_s=age,
            rtt_ms=rtts.get(entry.peer.name),
            fingerprint=entry.peer.fingerprint,
            report=entry.report,
        )

    def _state(self, entry: _Entry, age: float) -> NodeState:
        if age >= self._dead_after:
            return NodeState.LOST
        if age >= self._suspect_after or not entry.linked:
            return NodeState.SUSPECT
        return NodeState.READY

    def _answer(self, call: Call, message: Report) -> Answer[ReportReply]:
        self._take(call.peer, message.report)
        if self._taken is None:  # the same for all: its own report, made anew for a thousand of them, would name each link
            self._taken = Answer(ReportReply(name=self._here().name, lease=self._lease))
        return self._taken

    def _hear(self, call: Call, message: Report) -> None:
        try:
            self._take(call.peer, message.report)
        except Forbidden as error:
            log.warning("report refused", extra={"peer": call.peer.name, "reason": error.message})

    def _take(self, peer: Peer, report: NodeReport) -> None:
        if report.name != peer.name or not frozenset(report.roles) <= peer.roles:
            raise Forbidden(
                f"'{peer.name}' reported as '{report.name}' with the roles {', '.join(report.roles)}",
                hint="the name and the roles of a node are those of its entry in transport.allow",
            )
        if report.name not in self._entries:
            log.info("node joined", extra={"peer": report.name, "roles": ", ".join(report.roles)})
        self._entries[report.name] = _Entry(peer, report, self._clock.monotonic(), linked=True)
        self._tell(report.name)

    def _link(self, peer: Peer, up: bool) -> None:
        entry = self._entries.get(peer.name)
        if entry is not None:
            entry.linked = up
        self._tell(peer.name)

    def _tell(self, name: str) -> None:
        for watcher in self._watchers:
            watcher(name)
