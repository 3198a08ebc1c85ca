"""How does a command see, call and measure compute services?"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from node.client.connection import API, Connection, page_of
from node.model.document import Document, from_document
from node.model.service import ServiceAnswer, ServiceBench, ServiceItem

CALL_S: Final = 40.0  # the node gives a call 30 s
BENCH_S: Final = 300.0  # a heavy model at four resolutions on a slow machine


class ServiceCalls(Connection):
    """Of the compute services."""

    def services(self) -> tuple[ServiceItem, ...]:
        """Every service, and the nodes that offer it as far as the asked one knows."""
        return page_of(ServiceItem, self._get("/services")).items

    def invoke(self, name: str, inputs: Document, model: int = 0) -> ServiceAnswer:
        """One call on the node; pictures are base64 of a JPEG."""
        path = f"{API}/services/{quote(name, safe='')}/invoke?model={model}"
        return from_document(ServiceAnswer, self._answered("POST", path, inputs, CALL_S))

    def bench(self, name: str) -> ServiceBench:
        """Has the node measure a service now."""
        return from_document(ServiceBench, self._answered("POST", f"{API}/services/{quote(name, safe='')}/bench", {}, BENCH_S))
