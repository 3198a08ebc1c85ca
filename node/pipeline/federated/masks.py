"""Where do the masks come from that two parties must draw alike, and how is none used twice?

A stream is a key that its two holders agreed on. What is drawn stands under a name and an index: the same on both sides,
without a byte between them. One index of one name is given out once; a mask that hides two words shows their difference.

Source: RFC 8439, ChaCha20; RFC 5869, HKDF.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from node.errors import Internal
from node.pipeline.federated.ring import WORD_BYTES, Words

KEY_BYTES: Final = 32
_COUNTER: Final = bytes(4)  # of blocks, within one draw
_INDEX_BYTES: Final = 12
DRAW_MOST: Final = 64 * 2**32  # bytes behind one index: the block counter has 32 bits


class MaskStream:
    """The masks under one key; a twin with the same key draws the same."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, "a key of ChaCha20"
        self._key = key
        self._named: dict[str, bytes] = {}
        self._used: dict[str, int] = {}

    def draw(self, name: str, index: int, shape: tuple[int, ...], bits: int = 64) -> Words:
        """Uniform words below 2^`bits`. The indexes of a name must rise from draw to draw.

        Raises:
            Internal: that index, or a higher one, was drawn before.
        """
        if index <= self._used.get(name, -1):
            raise Internal(f"mask {name} {index} was drawn before; it must never hide two things")
        self._used[name] = index
        count = math.prod(shape)
        words: Words = np.frombuffer(keystream(self._key_of(name), index, count * WORD_BYTES), "<u8").reshape(shape)
        return words if bits == 64 else words & np.uint64((1 << bits) - 1)

    def _key_of(self, name: str) -> bytes:
        key = self._named.get(name)
        if key is None:
            key = self._named[name] = derive(self._key, f"masks {name}")
        return key


def keystream(key: bytes, index: int, size: int) -> bytes:
    """`size` bytes of the ChaCha20 stream whose nonce is `index`."""
    assert size <= DRAW_MOST, "the block counter would begin again"
    nonce = _COUNTER + index.to_bytes(_INDEX_BYTES, "little")
    return Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(bytes(size))


def derive(secret: bytes, purpose: str, salt: bytes = b"", size: int = KEY_BYTES) -> bytes:
    """A key for one purpose out of a secret that must not be used for two."""
    return HKDF(hashes.SHA256(), size, salt or None, f"ecnode {purpose}".encode()).derive(secret)
