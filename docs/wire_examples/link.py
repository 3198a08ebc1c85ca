"""What do the messages of `node/model/wire/link.py` look like?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.value import Value
from node.model.wire.link import LinkProbe

EXAMPLES: Final[dict[str, tuple[Value, Value]]] = {"link.probe": (LinkProbe(), Received())}
