"""Who is this node, and which others does it know?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import page, write, written
from node.api.route import API, DOOR, Door, Route, Scope
from node.model.cluster import NodeView
from node.model.document import NodeCard, to_document

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


ROUTES: Final = (
    Route("GET", f"{API}/node", Scope.READ, here, "This node.", reply=NodeCard),
    Route("GET", f"{API}/nodes", Scope.READ, known, "The nodes that report here.", reply=NodeView, many=True),
)
