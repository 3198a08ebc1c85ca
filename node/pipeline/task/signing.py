"""Who vouches for a program: how is it signed, and is it?

A signature is Ed25519 over the SHA-256 of the script or bundle and the file of it that is run; arguments, config and data are
the caller's own. It travels with the task, so that each node that is to run it judges for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_PROGRAM: Final = b"ecnode task program 1\n"


def _message(digest: str, entry: str) -> bytes:
    return _PROGRAM + bytes.fromhex(digest) + entry.encode()


def digest_of(content: bytes) -> str:
    """What stands for a script or a bundle, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sign(secret: bytes, digest: str, entry: str) -> str:
    """The signature of a program in hexadecimal; `secret` is the private key's 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(secret).sign(_message(digest, entry)).hex()


def is_signed(digest: str, entry: str, signature: str, signers: Iterable[str]) -> bool:
    """Whether one of the signers, public keys in hexadecimal, has signed the program."""
    message, given = _message(digest, entry), bytes.fromhex(signature)
    for signer in signers:
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(given, message)
        except InvalidSignature:
            continue
        return True
    return False
