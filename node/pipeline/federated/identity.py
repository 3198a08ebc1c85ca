"""How does a node sign for its parties, so that nobody else can speak for them?

The Ed25519 key lies in the data directory beside the node's CURVE key. Other nodes ask for its public half over a link that the
CURVE key has proved, and remember it: what the spec of a session says about a party is compared with that.

This module and `sealed` are the only ones of the folder that a node's main process loads: no NumPy in them.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from node.errors import Malformed, StorageFailed

KEY_BYTES: Final = 32
_SPEC: Final = b"ecnode session spec 1\n"
_TOKEN: Final = b"ecnode session token 1\n"


class SigningKey:
    """A node's Ed25519 key."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @property
    def public(self) -> str:
        """The public half in hexadecimal."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign_spec(self, digest: bytes) -> str:
        """The signature under the digest of a session's spec, in hexadecimal."""
        return self._key.sign(_SPEC + digest).hex()


def check_spec(digest: bytes, signature: str, public: str) -> None:
    """Is content where the holder of `public` has signed that spec.

    Raises:
        Malformed: it has not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), _SPEC + digest)
    except (InvalidSignature, ValueError) as error:
        raise Malformed("the spec of the session is not signed by the party's node") from error


def prove_token(token: str, digest: bytes) -> str:
    """What shows that one knows the token of a session's parties, without telling it; good for the spec of that digest only."""
    return hmac.digest(token.encode(), _TOKEN + digest, "sha256").hex()


def knows_token(proof: str, token: str, digest: bytes) -> bool:
    """Whether the proof was made with that token for that spec; an empty token proves nothing."""
    return bool(token) and hmac.compare_digest(proof.encode(), prove_token(token, digest).encode())


def load_or_create(path: Path) -> SigningKey:
    """The key in a file that its owner alone may read; a new one where there is none. Blocks.

    Raises:
        StorageFailed: the file cannot be used, or others may read it.
    """
    try:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return SigningKey(_read(path))
        with os.fdopen(descriptor, "wb") as file:
            secret = os.urandom(KEY_BYTES)
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        return SigningKey(secret)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be used: {error.strerror}") from error


def _read(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise StorageFailed(f"{path} can be read by others", hint=f"chmod 600 {path}")
    secret = path.read_bytes()
    if len(secret) != KEY_BYTES:
        raise StorageFailed(f"{path} holds {len(secret)} bytes, a key has {KEY_BYTES}", hint="put its backup back")
    return secret
