"""The registry: the newest report of each peer, and a state by its age."""

from __future__ import annotations

import pytest
from reports import PATIENT, a_report

from node.clock import ManualClock
from node.errors import Forbidden
from node.model.cluster import NodeState, Role
from node.model.wire.member import NODE_REPORT, Report
from node.roles.shared.registry import Registry
from node.transport.loopback import LoopbackHub
from node.transport.options import LinkOptions


class System:
    def __init__(self) -> None:
        self.clock = ManualClock()
        hub = LoopbackHub()
        self.cloud = hub.transport("cloud-1", {Role.CLOUD}, self.clock, LinkOptions("cloud-1", **PATIENT))
        self.edge = hub.transport("edge-1", {Role.EDGE}, self.clock, LinkOptions("edge-1", **PATIENT))
        self.registry = Registry(lambda: a_report("cloud-1", Role.CLOUD), self.clock, suspect_after=6.0, dead_after=20.0)
        self.changes: list[str] = []
        self.registry.register(self.cloud)
        self.registry.when_changed(self.changes.append)

    async def report(self, **changes: object) -> None:
        message = Report(report=a_report("edge-1", Role.EDGE, **changes))
        await self.edge.call("cloud-1", NODE_REPORT, message, timeout=1.0)

    def state(self) -> NodeState:
        view = self.registry.view("edge-1")
        assert view is not None
        return view.state


@pytest.fixture
async def system():
    made = System()
    await made.cloud.start()
    await made.edge.start()
    await made.clock.advance(0.0)
    yield made
    await made.edge.stop()
    await made.cloud.stop()


async def test_a_node_is_unknown_until_it_reports(system):
    assert system.registry.view("edge-1") is None
    await system.report()
    assert system.state() is NodeState.READY
    assert [view.report.name for view in system.registry.views()] == ["edge-1"]
    assert "edge-1" in system.changes


async def test_silence_makes_a_node_suspect_then_lost_and_a_report_makes_it_ready(system):
    await system.report()
    await system.clock.advance(6.0)
    assert system.state() is NodeState.SUSPECT
    await system.clock.advance(14.0)
    assert system.state() is NodeState.LOST
    assert system.registry.silent_for("edge-1") == 20.0
    await system.report()
    assert system.state() is NodeState.READY


async def test_a_cut_link_makes_a_node_suspect_at_once(system):
    await system.report()
    await system.edge.stop()
    assert system.state() is NodeState.SUSPECT


@pytest.mark.parametrize("claim", [{"name": "edge-2"}, {"roles": (Role.EDGE, Role.CLOUD)}])
async def test_nobody_reports_as_somebody_else(system, claim):
    with pytest.raises(Forbidden, match="reported as"):
        await system.report(**claim)
    assert system.registry.views() == ()


async def test_a_note_counts_as_a_report_and_a_false_one_does_not(system, caplog):
    system.edge.tell("cloud-1", NODE_REPORT, Report(report=a_report("edge-2", Role.EDGE)))
    system.edge.tell("cloud-1", NODE_REPORT, Report(report=a_report("edge-1", Role.EDGE)))
    await system.clock.advance(0.0)
    assert system.state() is NodeState.READY
    assert system.registry.state("edge-1") is NodeState.READY
    assert [report.name for report in system.registry.reports()] == ["edge-1"]
    assert "report refused" in caplog.text
