"""Who is this node, and which others does it know?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import document, page
from node.api.route import API, DOOR, Route, Scope
from node.model.cluster import NodeView
from node.model.document import NodeCard


async def here(request: web.Request) -> web.Response:
    """This node's newest figures and its identity."""
    door = request.app[DOOR]
    nodes = door.ports.nodes
    card = NodeCard(
        report=nodes.here(),
        fingerprint=nodes.fingerprint,
        public_key=nodes.public_key,
        uptime_s=door.clock.monotonic() - door.opened,
    )
    return document(card)


async def known(request: web.Request) -> web.Response:
    """Every node that has reported here; their number is bounded by the admitted peers, so there is one page."""
    return page(request.app[DOOR].ports.nodes.views(), None)


ROUTES: Final = (
    Route("GET", f"{API}/node", Scope.READ, here, "This node.", reply=NodeCard),
    Route("GET", f"{API}/nodes", Scope.READ, known, "The nodes that report here.", reply=NodeView, many=True),
)
