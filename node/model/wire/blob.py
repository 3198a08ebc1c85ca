"""How does a node fetch a blob from another, chunk by chunk?"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from node.model.blob import CHUNK_BYTES, BlobId, BlobSize
from node.model.cluster import Received
from node.model.value import Value
from node.model.wire.method import EVERY, Lane, Method


class BlobRequest(Value):
    """How is this blob made up? To know its id is to be allowed to read it."""

    blob: BlobId


class BlobReply(Value):
    """Its size. Reply blob: for each chunk of 1 MiB the SHA-256 of everything up to its end, 32 bytes each, in order."""

    size: BlobSize


class ChunkRequest(Value):
    """Give a part of this blob, at most one chunk. Reply blob: those bytes, no more and no less."""

    blob: BlobId
    offset: BlobSize
    length: Annotated[int, Field(ge=1, le=CHUNK_BYTES)]


BLOB_MANIFEST: Final = Method("blob.manifest", BlobRequest, BlobReply, EVERY, Lane.DATA)
BLOB_CHUNK: Final = Method("blob.chunk", ChunkRequest, Received, EVERY, Lane.DATA)
