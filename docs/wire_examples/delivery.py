"""What carries durable messages?"""

from __future__ import annotations

from typing import Final

from node.model.delivery import Batch, BatchReply
from node.model.wire.delivery import DELIVERY_TAKE
from node.model.wire.job import JOB_PROGRESS
from wire_examples.pair import Examples

_STREAM: Final = "0f4a6b1c9d2e4f5a8b7c6d5e4f3a2b1c"

_READER: Final = "9e8d7c6b5a4f4e3d2c1b0a9f8e7d6c5b"

EXAMPLES: Final[Examples] = {
    DELIVERY_TAKE.name: (
        Batch(
            stream=_STREAM,
            boot=7,
            life="c5d1f0a2b3e44756889900aabbccddee",
            turn=18,
            reader=_READER,
            low=1023,
            last=1026,
            first=1025,
            methods=(JOB_PROGRESS.name, JOB_PROGRESS.name),
        ),
        BatchReply(memory=_READER, boot=12, taken=1026, first=1025, fates=("", "")),
    ),
}
