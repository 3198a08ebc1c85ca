"""How is a word closed that a third node passes on, so that it sees who speaks to whom and nothing else?

Two parties have a key for each direction of each epoch, and one of them says a word of one name and number once: name, number
and part make the nonce. No NumPy here: a node's main process closes, because it alone knows when there is no direct link; the
worker of the other party opens.

Source: RFC 8439, ChaCha20-Poly1305.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from node.errors import Malformed

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


def close_word(key: bytes, name: str, content: bytes | bytearray | memoryview) -> bytes:
    """The word for whoever has the key; `name` is its name, number and part, and is said once under that key."""
    return ChaCha20Poly1305(key).encrypt(_nonce(name), content, name.encode())


def open_word(key: bytes, name: str, content: bytes) -> bytes:
    """What was closed under that name.

    Raises:
        Malformed: it was not, or not with this key.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_nonce(name), content, name.encode())
    except InvalidTag as error:
        raise Malformed(f"the closed word '{name}' cannot be opened") from error


def _nonce(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=NONCE_BYTES, person=b"ecnode word").digest()
