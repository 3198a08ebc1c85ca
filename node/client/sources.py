"""How does a command see, add and remove video sources?"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from node.client.connection import API, Connection, page_of, refusal
from node.model.document import from_document, to_document
from node.model.source import SourceItem, SourceProbe, SourceRequest

LOOK_S: Final = 20.0  # a source that does not answer is given up after twelve


class SourceCalls(Connection):
    """Of the sources of an edge."""

    def sources(self) -> tuple[SourceItem, ...]:
        """The sources of the node, and those that others report to it."""
        return page_of(SourceItem, self._get("/sources")).items

    def add_source(self, request: SourceRequest) -> SourceItem:
        """Adds a source; the same one again is harmless."""
        return from_document(SourceItem, self._send("POST", "/sources", to_document(request)))

    def remove_source(self, name: str) -> SourceItem:
        """Removes a source that was added."""
        return from_document(SourceItem, self._send("DELETE", f"/sources/{quote(name, safe='')}", None))

    def probe(self, name: str) -> SourceProbe:
        """Looks at a source for two seconds."""
        return from_document(SourceProbe, self._get(f"/sources/{quote(name, safe='')}/probe", timeout=LOOK_S))

    def snapshot(self, name: str) -> bytes:
        """The next picture of a source, a JPEG."""
        status, content = self._exchange("GET", f"{API}/sources/{quote(name, safe='')}/snapshot.jpg", None, LOOK_S)
        if status != 200:
            raise refusal(status, content)
        return content
