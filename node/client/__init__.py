"""How does a command or a script talk to a node?

Plain blocking HTTP over the standard library, one connection kept open. What the node refuses comes back as the same error that
it raised there. Every request may be repeated: ids are made by the caller, so a lost answer is asked for again once.

One module a noun; `Client` is all of them on one connection.
"""

from __future__ import annotations

from node.client.blobs import BlobCalls
from node.client.connection import TIMEOUT, Page
from node.client.members import MemberCalls
from node.client.nodes import NodeCalls
from node.client.plots import PlotCalls
from node.client.projects import ProjectCalls
from node.client.queries import QueryCalls
from node.client.services import ServiceCalls
from node.client.sessions import SessionCalls
from node.client.sources import SourceCalls
from node.client.tasks import TaskCalls
from node.client.tokens import TokenCalls

__all__ = ["TIMEOUT", "Client", "Page"]


class Client(
    NodeCalls,
    SourceCalls,
    ServiceCalls,
    QueryCalls,
    TaskCalls,
    PlotCalls,
    TokenCalls,
    BlobCalls,
    MemberCalls,
    SessionCalls,
    ProjectCalls,
):
    """A node's HTTP API; see `Connection` for what it is made with."""
