"""How does a command make and follow private sessions, and register data sets for them?"""

from __future__ import annotations

from urllib.parse import quote

from node.client.connection import Connection, Page, page_of
from node.model.block import ModelBlock
from node.model.document import Document, from_document, to_document
from node.model.federated import (
    Dataset,
    DatasetRequest,
    PartyTraffic,
    Record,
    Session,
    SessionEvent,
    SessionOutput,
    SessionRequest,
)


class SessionCalls(Connection):
    """Of private sessions."""

    def create_session(self, request: SessionRequest | Document) -> Session:
        """Makes a session; give it an id, so that a repeat is harmless."""
        body = to_document(request) if isinstance(request, SessionRequest) else request
        return from_document(Session, self._send("POST", "/sessions", body))

    def sessions(self, limit: int = 50, after: str | None = None) -> Page[Session]:
        """Sessions, newest first."""
        return page_of(Session, self._get("/sessions", {"limit": limit, "after": after}))

    def session(self, ref: str) -> Session:
        """One session with where its parties are now."""
        return from_document(Session, self._get(_place(ref)))

    def accept_session(self, ref: str) -> Session:
        """Has the node's parties take part."""
        return from_document(Session, self._send("POST", _place(ref, "accept"), None))

    def reject_session(self, ref: str, reason: str) -> Session:
        """Has the node's parties refuse."""
        return from_document(Session, self._send("POST", _place(ref, "reject"), {"reason": reason}))

    def start_session(self, ref: str) -> Session:
        """Starts a session that all have accepted."""
        return from_document(Session, self._send("POST", _place(ref, "start"), None))

    def stop_session(self, ref: str) -> Session:
        """Ends a session."""
        return from_document(Session, self._send("POST", _place(ref, "stop"), None))

    def session_metrics(self, ref: str, after: int = -1) -> tuple[Record, ...]:
        """The tests of the model behind a step."""
        return page_of(Record, self._get(_place(ref, "metrics"), {"after": after})).items

    def session_traffic(self, ref: str) -> tuple[PartyTraffic, ...]:
        """What each party has said and heard."""
        return page_of(PartyTraffic, self._get(_place(ref, "traffic"))).items

    def session_outputs(self, ref: str) -> tuple[SessionOutput, ...]:
        """The files of the parties."""
        return page_of(SessionOutput, self._get(_place(ref, "outputs"))).items

    def session_model(self, ref: str) -> tuple[ModelBlock, ...]:
        """The blocks of its model that lie at the node."""
        return page_of(ModelBlock, self._get(_place(ref, "model"))).items

    def session_events(self, ref: str) -> tuple[SessionEvent, ...]:
        """Every step of a session's life."""
        return page_of(SessionEvent, self._get(_place(ref, "events"))).items

    def register_dataset(self, request: DatasetRequest) -> Dataset:
        """Has the node look at a file of its own and keep what it is."""
        return from_document(Dataset, self._send("POST", "/datasets", to_document(request)))

    def datasets(self) -> tuple[Dataset, ...]:
        """The data sets of the node."""
        return page_of(Dataset, self._get("/datasets")).items

    def dataset(self, name: str) -> Dataset:
        """One data set."""
        return from_document(Dataset, self._get(f"/datasets/{quote(name, safe='')}"))


def _place(ref: str, part: str = "") -> str:
    return f"/sessions/{quote(ref, safe='')}" + (f"/{part}" if part else "")
