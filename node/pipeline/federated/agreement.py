"""How do the parties of a session come to keys that nobody else has, the ones who help them included?

Every party says hello with a fresh X25519 key, signed by the Ed25519 identity that the session's spec pins; the hellos of all
are the transcript. Two parties share a key by Diffie-Hellman over it. Those who hold data seal 32 random bytes to each other,
and the session key is made from all of these: a main client or crypto producer that carries or sees every message does not have
it.

Pure: no socket and no clock, bytes in and bytes out. The primitives are `cryptography`'s.
Source: RFC 7748 (X25519), RFC 8032 (Ed25519), RFC 5869 (HKDF), RFC 8439 (ChaCha20-Poly1305).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from node.errors import Malformed
from node.pipeline.federated.masks import derive

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
HELLO_BYTES: Final = KEY_BYTES + NONCE_BYTES + SIGNATURE_BYTES
_HELLO: Final = b"ecnode session hello 1"
_ONCE: Final = bytes(12)  # the nonce of a key that seals one thing


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the agreement is for: the session, the digest of its signed spec, and the epoch, each bound into every hello."""

    session: str
    spec_digest: bytes
    epoch: int

    def bytes_of(self, party: str) -> bytes:
        """What a party signs besides its fresh key and nonce; every part has its length in front."""
        parts = (_HELLO, self.session.encode(), self.spec_digest, struct.pack("!Q", self.epoch), party.encode())
        return b"".join(struct.pack("!I", len(part)) + part for part in parts)


class Agreement:
    """One party's side, for one epoch of one session. Made, asked for its `hello`, given those of all others, then for keys."""

    def __init__(self, party: str, signing_key: bytes, occasion: Occasion) -> None:
        self._party = party
        self._occasion = occasion
        self._private = X25519PrivateKey.generate()
        fresh = self._private.public_key().public_bytes_raw() + os.urandom(NONCE_BYTES)
        signature = Ed25519PrivateKey.from_private_bytes(signing_key).sign(occasion.bytes_of(party) + fresh)
        self.hello = fresh + signature

    def meet(self, hellos: Mapping[str, bytes], identities: Mapping[str, bytes]) -> Keys:
        """The keys with each of the others. `hellos` and `identities` (Ed25519, from the spec) are by party, without this one.

        Raises:
            Malformed: a hello that its party did not sign for this session, spec and epoch.
        """
        for party, hello in hellos.items():
            _check_hello(party, hello, identities[party], self._occasion)
        everybody = sorted({**hellos, self._party: self.hello}.items())
        content = b"".join(self._occasion.bytes_of(party) + hello for party, hello in everybody)
        transcript = hashlib.sha256(content).digest()
        pairs = {}
        for party, hello in hellos.items():
            try:
                shared = self._private.exchange(X25519PublicKey.from_public_bytes(hello[:KEY_BYTES]))
            except ValueError as error:
                raise Malformed(f"party {party} sent a key of low order") from error
            pairs[party] = derive(shared, f"pair {' '.join(sorted((party, self._party)))}", transcript)
        return Keys(self._party, transcript, pairs)


def _check_hello(party: str, hello: bytes, identity: bytes, occasion: Occasion) -> None:
    if len(hello) != HELLO_BYTES:
        raise Malformed(f"party {party} sent a hello of {len(hello)} bytes, {HELLO_BYTES} belong")
    fresh, signature = hello[:-SIGNATURE_BYTES], hello[-SIGNATURE_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, occasion.bytes_of(party) + fresh)
    except (InvalidSignature, ValueError) as error:
        raise Malformed(f"the hello of party {party} is not signed for this session, spec and epoch") from error


class Keys:
    """What one party has once it knows the hellos of all: a key with each other party, and what the session key is made of."""

    def __init__(self, party: str, transcript: bytes, pairs: Mapping[str, bytes]) -> None:
        self._party = party
        self._pairs = dict(pairs)
        self._contribution = os.urandom(KEY_BYTES)
        self.transcript = transcript

    def pair(self, other: str, purpose: str) -> bytes:
        """A key for one purpose that only this party and `other` have."""
        return derive(self._pairs[other], purpose)

    def closed(self, other: str, purpose: str, content: bytes) -> bytes:
        """Content for `other`'s eyes only; one purpose closes one thing."""
        key = self.pair(other, f"close {purpose} {self._party} {other}")
        return ChaCha20Poly1305(key).encrypt(_ONCE, content, self.transcript)

    def opened(self, other: str, purpose: str, content: bytes) -> bytes:
        """What `other` has closed for this party.

        Raises:
            Malformed: it cannot be opened.
        """
        key = self.pair(other, f"close {purpose} {other} {self._party}")
        try:
            return ChaCha20Poly1305(key).decrypt(_ONCE, content, self.transcript)
        except InvalidTag as error:
            raise Malformed(f"what party {other} closed as {purpose} cannot be opened") from error

    def sealed(self, other: str) -> bytes:
        """This party's contribution to the session key, for `other`'s eyes only."""
        return self.closed(other, "contribution", self._contribution)

    def session_key(self, sealed: Mapping[str, bytes]) -> SessionKey:
        """The key of those who hold data, from what each other of them sealed for this one.

        Raises:
            Malformed: a contribution that cannot be opened.
        """
        contributions = {self._party: self._contribution}
        for party, content in sealed.items():
            contributions[party] = self.opened(party, "contribution", content)
        joined = b"".join(content for _, content in sorted(contributions.items()))
        return SessionKey(derive(joined, f"session {' '.join(sorted(contributions))}", self.transcript))


class SessionKey:
    """The secret of the parties that hold data."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def purpose(self, name: str) -> bytes:
        """A key of its own for each use."""
        return derive(self._key, name)

    def confirmation(self, party: str) -> bytes:
        """By what `party` shows that it has the same key."""
        return hmac.digest(self.purpose("confirmation"), party.encode(), "sha256")

    def check(self, party: str, confirmation: bytes) -> None:
        """Is content where `party` has the same key.

        Raises:
            Malformed: it has another one.
        """
        if not hmac.compare_digest(confirmation, self.confirmation(party)):
            raise Malformed(f"party {party} came to another session key")
