"""How does a command submit and follow video queries?"""

from __future__ import annotations

from urllib.parse import quote

from node.client.connection import (
    API,
    Connection,
    Page,
    page_of,
    refusal,
)
from node.errors import (
    Malformed,
)
from node.model.decision import Decision
from node.model.document import (
    Document,
    PlanChoice,
    PlanItem,
    ResultItem,
    from_document,
    to_document,
)
from node.model.video import Constraint, Event, Plan, Query, QueryRequest, QueryState, Runtime


class QueryCalls(Connection):
    """Of video queries."""

    def submit(self, request: QueryRequest | Document) -> Query:
        """Submits a query, as a value or as the document a user wrote; give it an id, so that a repeat is harmless."""
        body = to_document(request) if isinstance(request, QueryRequest) else request
        return from_document(Query, self._send("POST", "/queries", body))

    def queries(self, state: QueryState | None = None, limit: int = 50, after: str | None = None) -> Page[Query]:
        """Queries, newest first."""
        return page_of(Query, self._get("/queries", {"state": state, "limit": limit, "after": after}))

    def query(self, ref: str) -> Query:
        """One query."""
        return from_document(Query, self._get(f"/queries/{quote(ref, safe='')}"))

    def constrain(self, ref: str, change: Constraint) -> Query:
        """Changes the fields that were set on `change`, and only those."""
        body = {field: value for field, value in to_document(change).items() if field in change.model_fields_set}
        return from_document(Query, self._send("PATCH", f"/queries/{quote(ref, safe='')}/constraint", body))

    def stop(self, ref: str) -> Query:
        """Stops a query."""
        return from_document(Query, self._send("POST", f"/queries/{quote(ref, safe='')}/stop", None))

    def results(self, ref: str, after: int = 0, limit: int = 100, wait: float = 0.0) -> Page[ResultItem]:
        """Results behind a cursor; waits up to `wait` seconds for the first of them."""
        parameters = {"after": after, "limit": limit, "wait": wait}
        return page_of(ResultItem, self._get(f"/queries/{quote(ref, safe='')}/results", parameters, self._timeout + wait))

    def runtime(self, ref: str) -> Runtime:
        """What the newest results say."""
        return from_document(Runtime, self._get(f"/queries/{quote(ref, safe='')}/runtime"))

    def plans(self, ref: str) -> tuple[Plan | None, tuple[PlanItem, ...]]:
        """The plan of now and every plan with its moment, in order."""
        found = self._get(f"/queries/{quote(ref, safe='')}/plan")
        current, history = found.get("current"), found.get("history")
        if not isinstance(history, list):
            raise Malformed("the answer has no plan history")
        return (
            from_document(Plan, current) if current is not None else None,
            tuple(from_document(PlanItem, item) for item in history),
        )

    def choose_plan(self, ref: str, choice: PlanChoice | Document) -> Query:
        """Gives a query a plan of its user's choice, as a value or as the document a user wrote."""
        body = to_document(choice) if isinstance(choice, PlanChoice) else choice
        return from_document(Query, self._send("PUT", f"/queries/{quote(ref, safe='')}/plan", body))

    def picture(self, ref: str) -> bytes:
        """The newest annotated frame as JPEG."""
        status, content = self._exchange("GET", f"{API}/queries/{quote(ref, safe='')}/picture.jpg", None, self._timeout)
        if status != 200:
            raise refusal(status, content)
        return content

    def decisions(self, ref: str, limit: int) -> tuple[Decision, ...]:
        """Why a query has its plans, oldest first."""
        return page_of(Decision, self._get(f"/queries/{quote(ref, safe='')}/decisions?limit={limit}")).items

    def events(self, ref: str) -> tuple[Event, ...]:
        """Every transition of a query."""
        return page_of(Event, self._get(f"/queries/{quote(ref, safe='')}/events")).items
