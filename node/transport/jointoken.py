"""How does one short text let one newcomer in through a door that admits only keys that it knows?

A join token is 79 characters: `ec1_` and 75 of base64url (RFC 4648 §5, no padding) that hold 56 bytes:

    32  public CURVE key of the server, so that the newcomer cannot be led to another door
    20  secret, random
     4  the beginning of BLAKE2b of the 52 bytes before, so that a mistyped token is told before anybody knocks

The secret is also the seed of a CURVE key pair that is used once: its secret half is BLAKE2b-256 of the seed (personalised, so
that no other use of the secret gives the same bytes), clamped as Curve25519 wants it (RFC 7748 §5), its public half the scalar
multiple of the base point. The server enrols that public half until the token expires and keeps no secret of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

import zmq
from zmq.utils import z85

from node.errors import Malformed
from node.transport.keys import Identity, fingerprint, key_bytes

PREFIX: Final = "ec1_"
TOKEN_CHARS: Final = 79
_KEY_BYTES: Final = 32
_SECRET_BYTES: Final = 20
_CHECK_BYTES: Final = 4
_PERSON: Final = b"ecnode-join-1"
_CHECK_PERSON: Final = b"ecnode-token-1"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a join token says: whose door it opens, and with which key pair."""

    server: str
    identity: Identity = field(repr=False)


def new_token(server: str) -> tuple[str, str]:
    """A fresh token for the door of the key `server`, and the public half of the key pair in it (both Z85 keys)."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    body = key_bytes(server) + secret
    text = base64.urlsafe_b64encode(body + _check(body)).decode().rstrip("=")
    return PREFIX + text, _derived(secret).public


def read_token(text: str) -> Ticket:
    """What a token says.

    Raises:
        Malformed: it is none, or a character of it was mistyped.
    """
    problem = Malformed("that is not a join token", hint="`ecnode token create --role edge` on the cloud prints one")
    if len(text) != TOKEN_CHARS or not text.startswith(PREFIX):
        raise problem
    try:
        raw = base64.b64decode(text[len(PREFIX) :] + "=", altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise problem from error
    body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    if check != _check(body):
        raise Malformed("the join token has a mistyped character", hint="copy all 79 characters of it")
    return Ticket(z85.encode(body[:_KEY_BYTES]).decode("ascii"), _derived(body[_KEY_BYTES:]))


def joiner_name(public: str) -> str:
    """What the owner of a one-use key is called on its link; both ends make it from the key."""
    return f"join-{fingerprint(public).lower()}"


def _derived(secret: bytes) -> Identity:
    scalar = bytearray(hashlib.blake2b(secret, digest_size=_KEY_BYTES, person=_PERSON).digest())
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    text = z85.encode(bytes(scalar))
    return Identity(zmq.curve_public(text).decode(), text.decode("ascii"))


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=_CHECK_PERSON).digest()
