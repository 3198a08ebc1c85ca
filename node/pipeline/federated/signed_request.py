"""How does a console prove that a request is its own, meant for this console, now, with this body?

The signature covers who is asked, what, when, and a nonce: at another console, later, or with another body it is worth nothing.
The nonces of the last minutes are remembered by whoever is asked. No NumPy in here: a node's main process loads it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from node.errors import Forbidden, Unauthorized
from node.pipeline.federated.identity import SigningKey

KEY: Final = "X-Peer-Key"
TIME: Final = "X-Peer-Time"
NONCE: Final = "X-Peer-Nonce"
SIGNATURE: Final = "X-Peer-Sig"
REPLY_SIGNATURE: Final = "X-Peer-Reply-Sig"
SKEW_S: Final = 120.0  # how far two consoles' clocks may be apart, the way of the request included

_PREFIX: Final = "ecnode peer request 1"
_REPLY_PREFIX: Final = "ecnode peer reply 1"
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_TIME: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_NONCE: Final = re.compile(r"[0-9a-f]{32}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of whom: the callee's public key, the method, the path below its base address, and the body."""

    callee: str
    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """Who has asked, at which wall time by its own clock, and the nonce that may be taken once."""

    key: str
    time: float
    nonce: str


def sign(key: SigningKey, asked: Asked, wall: float) -> dict[str, str]:
    """The headers that prove a request."""
    time, nonce = f"{wall:.3f}", secrets.token_hex(16)
    signature = _private(key).sign(_words(asked, time, nonce)).hex()
    return {KEY: key.public, TIME: time, NONCE: nonce, SIGNATURE: signature}


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a request says that it is signed."""
    return any(name in headers for name in (KEY, TIME, NONCE, SIGNATURE))


def check(headers: Mapping[str, str], asked: Asked, wall: float) -> Proven:
    """Who has signed a request; whether it is one that may ask, and whether the nonce is new, is for the caller to see.

    Raises:
        Unauthorized: it is not signed, or not so that it could be good.
        Forbidden: the signature is of another request, for another console, or of another time.
    """
    given = [headers.get(name, "") for name in (KEY, TIME, NONCE, SIGNATURE)]
    shapes = (_KEY, _TIME, _NONCE, _SIGNATURE)
    for name, value, shape in zip((KEY, TIME, NONCE, SIGNATURE), given, shapes, strict=True):
        if not shape.fullmatch(value):
            raise Unauthorized(f"the header {name} is missing or malformed", hint="requests between consoles are signed")
    key, time, nonce, signature = given
    if abs(wall - float(time)) > SKEW_S:
        raise Forbidden(
            f"the request was signed {wall - float(time):+.0f} s from now, {SKEW_S:.0f} s are allowed",
            hint="set both clocks by the same source; a request is not repeated later, it is signed anew",
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), _words(asked, time, nonce))
    except (InvalidSignature, ValueError) as error:
        raise Forbidden(
            "the signature is not one of this request to this console",
            hint=f"it covers the key of the console that is asked ({asked.callee[:16]}…), method, path, time, nonce and body",
        ) from error
    return Proven(key, float(time), nonce)


def sign_reply(key: SigningKey, nonce: str, status: int, body: bytes) -> str:
    """What proves that an answer is this console's, to that request."""
    return _private(key).sign(_reply_words(nonce, status, body)).hex()


def check_reply(key: str, signature: str, nonce: str, status: int, body: bytes) -> bool:
    """Whether the holder of `key` gave that answer to the request with that nonce."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(signature), _reply_words(nonce, status, body)
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def _private(key: SigningKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(key.secret)


def _words(asked: Asked, time: str, nonce: str) -> bytes:
    digest = hashlib.sha256(asked.body).hexdigest()
    return "|".join((_PREFIX, asked.callee, asked.method, asked.path, time, nonce, digest)).encode()


def _reply_words(nonce: str, status: int, body: bytes) -> bytes:
    return "|".join((_REPLY_PREFIX, nonce, str(status), hashlib.sha256(body).hexdigest())).encode()
