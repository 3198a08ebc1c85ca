"""Who is this node, and which others does it know?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import document, page, write, written
from node.api.route import API, DOOR, Door, Route, Scope
from node.model.cluster import LinkReport, NodeReport, NodeState, NodeView
from node.model.document import NodeCard, Topology, TopologyLink, TopologyNode, to_document

CARD_FRESH: Final = 0.2  # seconds; far below a heartbeat, and making it takes as long as ten answers


async def here(request: web.Request) -> web.Response:
    """This node's newest figures and its identity, at most 0.2 s old."""
    door = request.app[DOOR]
    return written(door.card.content(lambda: _card(door)))


def _card(door: Door) -> bytes:
    nodes = door.ports.nodes
    card = NodeCard(
        report=nodes.here(),
        fingerprint=nodes.fingerprint,
        public_key=nodes.public_key,
        uptime_s=door.clock.monotonic() - door.opened,
    )
    return write(to_document(card))


async def known(request: web.Request) -> web.Response:
    """Every node that has reported here; their number is bounded by the admitted peers, so there is one page."""
    return page(request.app[DOOR].ports.nodes.views(), None)


async def topology(request: web.Request) -> web.Response:
    """Made of the newest reports; a node that is lost still stands in it, with the state that says so."""
    nodes = request.app[DOOR].ports.nodes
    here = nodes.here()
    others = [view for view in nodes.views() if view.report.name != here.name]
    told = [(here, NodeState.READY, False), *((view.report, view.state, view.drained) for view in others)]
    links = tuple(_link(report, link) for report, _, _ in told for link in report.links)
    return document(Topology(nodes=tuple(_node(*one) for one in told), links=links))


def _node(report: NodeReport, state: NodeState, drained: bool) -> TopologyNode:
    return TopologyNode(
        name=report.name,
        roles=report.roles,
        state=state,
        drained=drained,
        cpu_fraction=report.cpu_fraction,
        others_fraction=report.others_fraction,
        others_running=report.others_running,
        memory_fraction=report.memory_fraction,
        queued=report.queued,
        waiting={service.name: service.queued for service in report.services},
        wait_ms={service.name: service.wait_ms for service in report.services},
        jobs=len(report.jobs),
    )


def _link(report: NodeReport, link: LinkReport) -> TopologyLink:
    return TopologyLink(
        source=report.name,
        target=link.peer,
        rtt_ms=link.rtt_ms,
        bytes_s=link.bytes_s,
        measured_s=link.measured_s,
        bytes_out=link.bytes_out,
        bytes_in=link.bytes_in,
    )


ROUTES: Final = (
    Route("GET", f"{API}/topology", Scope.READ, topology, "The nodes and the links between them.", reply=Topology),
    Route("GET", f"{API}/node", Scope.READ, here, "This node.", reply=NodeCard),
    Route("GET", f"{API}/nodes", Scope.READ, known, "The nodes that report here.", reply=NodeView, many=True),
)
