"""How is a blob fetched?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.wire.blob import BLOB_CHUNK, BLOB_MANIFEST, BlobReply, BlobRequest, ChunkRequest
from wire_examples.pair import Examples

_BLOB: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

EXAMPLES: Final[Examples] = {
    BLOB_MANIFEST.name: (BlobRequest(blob=_BLOB), BlobReply(size=268_435_456)),
    BLOB_CHUNK.name: (ChunkRequest(blob=_BLOB, offset=7_340_032, length=1_048_576), Received()),
}
