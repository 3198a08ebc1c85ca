"""What does the front door need from the roles behind it?

Protocols only: the roles implement them, the composition root joins them, tests put small ones in their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from node.model.cluster import NodeReport, NodeView
from node.model.video import Constraint, Event, Plan, Query, QueryRequest, QueryState, Result, Runtime


class HttpSettings(Protocol):
    """The part of the config's `[http]` that the door reads; `node.config` has it."""

    @property
    def listen(self) -> tuple[str, ...]: ...
    @property
    def auth(self) -> str: ...
    @property
    def hosts(self) -> tuple[str, ...]: ...


class Queries(Protocol):
    """The queries of a cloud. `ref` is an id, a unique prefix of one, a name or `@last`.

    Raises:
        NotFound, Conflict: nothing, or more than one thing, has that ref.
    """

    async def submit(self, request: QueryRequest) -> tuple[Query, bool]:
        """The stored query and whether it is new; the same id and content again is not an error."""

    async def get(self, ref: str) -> Query: ...

    async def list(self, state: QueryState | None, limit: int, after: str | None) -> tuple[Query, ...]:
        """Newest first, behind the id `after`."""

    async def constrain(self, ref: str, constraint: Constraint) -> Query: ...

    async def stop(self, ref: str) -> Query: ...

    async def results(self, ref: str, after: int, limit: int, wait: float) -> tuple[tuple[int, Result], ...]:
        """Results behind the cursor `after`; waits up to `wait` seconds for the first of them."""

    async def runtime(self, ref: str) -> Runtime: ...

    async def picture(self, ref: str) -> tuple[bytes, Result]:
        """The newest processed frame as JPEG, and the result that belongs to it."""

    async def plans(self, ref: str) -> Sequence[tuple[float, Plan]]:
        """Every plan with the wall time of its choice, in order."""

    async def events(self, ref: str) -> Sequence[Event]: ...


class Nodes(Protocol):
    """This node and the ones it knows."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def public_key(self) -> str: ...

    def here(self) -> NodeReport: ...

    def views(self) -> tuple[NodeView, ...]: ...


class Health(Protocol):
    """Whether the node can work."""

    def problems(self) -> Mapping[str, str | None]:
        """Every component by name, with the reason why it is not ready, or None."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything behind the door; `queries` is None on a node without the role cloud."""

    queries: Queries | None
    nodes: Nodes
    health: Health
