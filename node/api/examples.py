"""What does a good body look like? One example for each, shown in the description of the API and tried by its test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from node.model.access import TokenRequest
from node.model.document import Document
from node.model.value import Value
from node.model.video import Constraint, QueryRequest

EXAMPLES: Final[Mapping[type[Value], Document]] = {
    QueryRequest: {
        "name": "head count",
        "node": "edge-1",
        "source": "lobby",
        "pipeline": ["face_detection", "face_alignment"],
        "constraint": {"delay": 0.3, "accuracy": 0.85},
    },
    Constraint: {"delay": 0.5},
    TokenRequest: {"label": "dashboard on the wall", "scope": "read", "ttl": 3600.0},
}
