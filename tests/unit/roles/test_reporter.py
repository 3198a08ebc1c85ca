"""The reporter: clouds are asked with every heartbeat, others are told, and a new link hears at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from reports import PATIENT, a_report

from node.clock import ManualClock
from node.model.cluster import LinkReport, NodeReport, Role
from node.model.wire.member import NODE_REPORT, Report, ReportReply
from node.roles.shared.leases import Leases
from node.roles.shared.reporter import Reporter
from node.roles.shared.tasks import begin, end
from node.transport.base import Answer, Call
from node.transport.loopback import LoopbackHub
from node.transport.options import LinkOptions

PERIOD = 2.0


class World:
    """edge-1 reports to a cloud and to another edge."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        hub = LoopbackHub()
        self.nodes = {
            name: hub.transport(name, {role}, self.clock, LinkOptions(name, **PATIENT))
            for name, role in (("edge-1", Role.EDGE), ("cloud-1", Role.CLOUD), ("edge-2", Role.EDGE))
        }
        self.asked: list[NodeReport] = []
        self.told: list[NodeReport] = []
        self.made: Counter[str] = Counter()
        self.nodes["cloud-1"].answer(NODE_REPORT, self._answer)
        self.nodes["edge-2"].hear(NODE_REPORT, lambda _call, message: self.told.append(message.report))
        self.leases = Leases(self.clock)
        self.reporter = Reporter(self._report, self.nodes["edge-1"], self.clock, PERIOD, self.leases)

    def _answer(self, _call: Call, message: Report) -> Answer[ReportReply]:
        self.asked.append(message.report)
        return Answer(ReportReply(name="cloud-1", lease=15.0))

    def _report(self) -> NodeReport:
        self.made["reports"] += 1
        return a_report("edge-1", Role.EDGE, links=(LinkReport(peer="cloud-1", rtt_ms=1.0),))


@pytest.fixture
async def world() -> Iterator[World]:
    made = World()
    for node in made.nodes.values():
        await node.start()
    await made.clock.advance(0.0)
    reporting = begin(made.reporter.run(), "reports")
    await made.clock.advance(0.0)
    yield made
    await end(reporting)
    for node in made.nodes.values():
        await node.stop()


async def test_a_cloud_is_asked_and_hears_of_the_links_and_an_edge_is_told_without_them(world: World) -> None:
    assert [len(report.links) for report in world.asked] == [1]
    assert [len(report.links) for report in world.told] == [0]
    assert world.leases.hold("cloud-1")


async def test_everybody_hears_once_with_every_heartbeat(world: World) -> None:
    for _ in range(3):
        await world.clock.advance(PERIOD)
    assert (len(world.asked), len(world.told), world.made["reports"]) == (4, 4, 4)


async def test_a_link_that_comes_up_hears_at_once_and_the_others_with_the_next_heartbeat(world: World) -> None:
    before = len(world.asked)
    for (peer,) in [[link.peer for link in world.nodes["edge-1"].links() if link.peer.name == "edge-2"]]:
        world.reporter._link(peer, True)
    await world.clock.advance(0.0)
    assert len(world.told) == 2
    assert len(world.asked) == before
