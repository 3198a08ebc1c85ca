"""What is a blob, and into which pieces is it cut?

A blob is bytes under the SHA-256 of the whole of them, so that `sha256sum` names it too. It is described by its size and a
digest for each chunk of 1 MiB: that of everything up to the chunk's end. So one pass over the bytes makes and proves all
digests, and the last of them is the id. The others are only somebody's word until then: they say early which chunk is wrong.
What is written down while a blob comes in are pieces, a quarter of a chunk each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from node.errors import Invalid
from node.model.value import Count, Seconds, Value

CHUNK_BYTES: Final = 2**20
PIECE_BYTES: Final = CHUNK_BYTES // 4
DIGEST_BYTES: Final = 32
BLOB_MOST: Final = 64 * 2**30  # 65,536 chunks × 32 B of digests = 2 MiB, which fits into one message
_ID: Final = re.compile(r"[0-9a-f]{64}")

BlobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
BlobSize = Annotated[int, Field(ge=0, le=BLOB_MOST)]


def check_id(text: str) -> str:
    """`text`, which is the id of a blob: files are named by it.

    Raises:
        Invalid: it is not.
    """
    if not _ID.fullmatch(text):
        raise Invalid(f"'{text[:80]}' is not the id of a blob", hint="64 digits from 0 to f, as sha256sum prints them")
    return text


class BlobInfo(Value):
    """One blob of a store. Until it is complete it cannot be read: `received` of its bytes are there, not all proven yet.

    `changed_at` is when the last of them was written.
    """

    id: BlobId
    size: BlobSize
    received: Count
    complete: bool
    changed_at: Seconds


@dataclass(frozen=True, slots=True)
class Manifest:
    """How the content of a blob is said to be: its size and the digests of its chunks, one behind the other.

    Raises:
        Invalid: the parts do not fit each other, or not the id.
    """

    id: str
    size: int
    digests: bytes

    def __post_init__(self) -> None:
        check_id(self.id)
        if not 0 <= self.size <= BLOB_MOST:
            raise Invalid(f"a blob of {self.size} bytes", hint=f"at most {BLOB_MOST}")
        if len(self.digests) != self.layout.chunks * DIGEST_BYTES:
            raise Invalid(f"{len(self.digests)} bytes of digests for a blob of {self.size}", hint="32 for each MiB begun")
        if (self.digests[-DIGEST_BYTES:] or hashlib.sha256().digest()).hex() != self.id:
            raise Invalid("the last digest is not the id", hint="it is that of the whole")

    @property
    def layout(self) -> Layout:
        """The chunks and pieces of it."""
        return Layout(self.size)

    def digest(self, chunk: int) -> bytes:
        """What everything up to the end of a chunk must hash to."""
        return self.digests[chunk * DIGEST_BYTES : (chunk + 1) * DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the chunks and the pieces of `size` bytes lie; both are counted from 0."""

    size: int

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.size // CHUNK_BYTES)

    @property
    def pieces(self) -> int:
        """How many pieces there are."""
        return -(-self.size // PIECE_BYTES)

    def chunk(self, number: int) -> tuple[int, int]:
        """Offset and length of a chunk."""
        return number * CHUNK_BYTES, min(CHUNK_BYTES, self.size - number * CHUNK_BYTES)

    def span(self, pieces: range) -> tuple[int, int]:
        """Offset and length of pieces that follow each other."""
        offset = pieces.start * PIECE_BYTES
        return offset, min(pieces.stop * PIECE_BYTES, self.size) - offset

    def pieces_of(self, chunk: int) -> range:
        """The pieces of a chunk."""
        first = chunk * (CHUNK_BYTES // PIECE_BYTES)
        return range(first, min(first + CHUNK_BYTES // PIECE_BYTES, self.pieces))

    def chunk_of(self, piece: int) -> int:
        """The chunk that a piece is a part of."""
        return piece // (CHUNK_BYTES // PIECE_BYTES)


class Marks:
    """Which pieces are there: one byte each, so that two writers of neighbours never rewrite each other's mark."""

    def __init__(self, layout: Layout, marks: bytes = b"") -> None:
        self.layout = layout
        self._marks = bytearray(bytes(mark != 0 for mark in marks[: layout.pieces]).ljust(layout.pieces, b"\0"))

    def __bytes__(self) -> bytes:
        return bytes(self._marks)

    def __contains__(self, piece: int) -> bool:
        return self._marks[piece] != 0

    def add(self, pieces: range) -> None:
        """These pieces are there."""
        self._marks[pieces.start : pieces.stop] = b"\1" * len(pieces)

    def drop(self, chunk: int) -> None:
        """Nothing of a chunk is there."""
        pieces = self.layout.pieces_of(chunk)
        self._marks[pieces.start : pieces.stop] = bytes(len(pieces))

    def has(self, chunk: int) -> bool:
        """Whether a chunk is there whole."""
        pieces = self.layout.pieces_of(chunk)
        return 0 not in self._marks[pieces.start : pieces.stop]

    def missing(self, chunk: int) -> Iterator[range]:
        """Runs of pieces of a chunk that are not there."""
        start = -1
        pieces = self.layout.pieces_of(chunk)
        for piece in (*pieces, pieces.stop):
            if piece < pieces.stop and piece not in self:
                start = piece if start < 0 else start
            elif start >= 0:
                yield range(start, piece)
                start = -1

    @property
    def received(self) -> int:
        """Bytes that are there."""
        full = self._marks.count(1)
        if not full:
            return 0
        short = self.layout.pieces * PIECE_BYTES - self.layout.size if self._marks[-1] else 0
        return full * PIECE_BYTES - short
