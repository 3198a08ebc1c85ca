"""How does a command ask a node of itself and of those it knows?"""

from __future__ import annotations

from node.client.connection import (
    Connection,
    document,
    page_of,
    refusal,
)
from node.model.cluster import NodeView
from node.model.document import (
    Document,
    NodeCard,
    Readiness,
    from_document,
)


class NodeCalls(Connection):
    """Of a node itself and of those it knows."""

    def ready(self) -> Readiness:
        """Whether the node can work; not an error when it cannot."""
        status, content = self._exchange("GET", "/readyz", None, self._timeout)
        if status not in {200, 503}:
            raise refusal(status, content)
        return from_document(Readiness, document(content))

    def node(self) -> NodeCard:
        """The node that answers here."""
        return from_document(NodeCard, self._get("/node"))

    def nodes(self) -> tuple[NodeView, ...]:
        """The nodes it knows."""
        return page_of(NodeView, self._get("/nodes")).items

    def metrics(self) -> str:
        """The node's figures in the Prometheus text format."""
        status, content = self._exchange("GET", "/metrics", None, self._timeout)
        if status != 200:
            raise refusal(status, content)
        return content.decode()

    def ask(self, method: str, target: str, body: Document | None = None) -> bytes:
        """The content of any answer below 300; `target` is a path with its query string."""
        status, content = self._exchange(method, target, body, self._timeout)
        if status >= 300:
            raise refusal(status, content)
        return content
