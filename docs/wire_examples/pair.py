"""What is an example?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from node.model.value import Value

Examples: TypeAlias = Mapping[str, tuple[Value, Value]]
"""A request and a reply by the method's name."""

QUERY: Final = "q-01jd8a4e9v0000000000000000"
