"""Which message carries the durable ones?"""

from __future__ import annotations

from typing import Final

from node.model.delivery import Batch, BatchReply
from node.model.wire.method import EVERY, Method

DELIVERY_TAKE: Final = Method("delivery.take", Batch, BatchReply, EVERY)  # who may ask for what it carries is checked as well
