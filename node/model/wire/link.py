"""How does a node find out how wide a link is?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.value import Value
from node.model.wire.method import COMPUTING, Lane, Method


class LinkProbe(Value):
    """Take this blob of 64 KiB and answer at once. Sent where no picture has told of late how wide the link is."""


LINK_PROBE: Final = Method("link.probe", LinkProbe, Received, COMPUTING, Lane.DATA)
