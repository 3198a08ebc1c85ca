"""What is known of the links: by pictures that went, and by probes where none did."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from node.clock import ManualClock
from node.errors import PeerUnreachable
from node.model.cluster import Received, Role
from node.roles.shared.link_meter import LEAST_BYTES, LOOK_EVERY_S, PROBE_BYTES, UNCERTAIN_AFTER_S, LinkMeter
from node.roles.shared.tasks import begin, end
from node.transport.base import Answer, LinkState, Peer


@dataclass
class Links:
    """Two links of 10 ms: one of a megabyte a second, one to a peer that does not answer."""

    clock: ManualClock
    asked: list[str] = field(default_factory=list)

    def links(self) -> tuple[LinkState, ...]:
        peers = [Peer(name, frozenset({Role.EDGE}), "") for name in ("cloud-1", "edge-1", "edge-2")]
        return tuple(LinkState(peer, 0.01, 0, 0) for peer in peers)

    async def call(self, peer, _method, _body, *, blobs, timeout):
        self.asked.append(peer)
        if peer == "edge-2":
            raise PeerUnreachable("no live link to 'edge-2'")
        await self.clock.advance(0.01 + len(blobs[0]) / 1e6)
        return Answer(Received())


async def turns() -> None:
    for _ in range(6):
        await ManualClock().advance(0)


@pytest.fixture
def links():
    return Links(ManualClock())


async def test_a_link_is_probed_when_nothing_is_known_and_when_that_has_grown_old(links):
    meter = LinkMeter("edge-1", links, links.clock)
    probing = begin(meter.run(), "links")
    await turns()
    assert links.asked == ["cloud-1", "edge-2"]
    assert meter.width("cloud-1").bytes_s == pytest.approx(1e6)
    assert meter.width("edge-2") is None
    await links.clock.advance(LOOK_EVERY_S)
    assert links.asked.count("cloud-1") == 1
    await links.clock.advance(UNCERTAIN_AFTER_S + LOOK_EVERY_S)
    assert links.asked.count("cloud-1") == 2
    await end(probing)


async def test_pictures_that_go_spare_the_probe_and_follow_the_link(links):
    meter = LinkMeter("edge-1", links, links.clock)
    meter.took("cloud-1", PROBE_BYTES, 0.01 + PROBE_BYTES / 8e6)
    assert meter.width("cloud-1").bytes_s == pytest.approx(8e6)
    for _ in range(20):
        await links.clock.advance(0.1)
        meter.took("cloud-1", PROBE_BYTES, 0.01 + PROBE_BYTES / 1e6)
    assert meter.width("cloud-1").bytes_s == pytest.approx(1e6, rel=0.02)
    probing = begin(meter.run(), "links")
    await turns()
    assert links.asked == ["edge-2"]
    await end(probing)


async def test_a_message_too_small_to_tell_a_width_tells_none(links):
    meter = LinkMeter("edge-1", links, links.clock)
    meter.took("cloud-1", LEAST_BYTES - 1, 0.5)
    assert meter.width("cloud-1") is None
