"""Which key pair is this node, and how is it kept?

The secret key is written by this module, not by a library's helper that leaves it readable: a temporary file that nobody else
may open, synced, then linked to its name, so that a crash leaves either the whole key or none and an existing key is never
replaced.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import struct
import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from node.errors import ConfigInvalid, Malformed

KEYS_AT_HAND: Final = (
    16_384  # whose fingerprints are kept, × 250 B = 4 MB; a thousand members are looked through at each change
)
KEY_CHARS: Final = 40  # Z85 of 32 bytes
FILE_BYTES: Final = 4096  # two keys and a comment need below 300
_GROUPS: Final = 4
_GROUP_CHARS: Final = 7  # 4 × 7 characters of base 32 are 140 bits of the digest: nobody makes a second key with the same


@dataclass(frozen=True, slots=True)
class Identity:
    """A CURVE key pair in Z85. The secret half is kept out of every text form."""

    public: str
    secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """What two people read to each other to compare keys."""
        return fingerprint(self.public)


@lru_cache(maxsize=KEYS_AT_HAND)
def fingerprint(public: str) -> str:
    """Four groups of seven base-32 characters of the SHA-256 of a public key (Z85).

    Raises:
        Malformed: the text is not a key.
    """
    return fingerprint_of_bytes(key_bytes(public))


def fingerprint_of_bytes(key: bytes) -> str:
    """As `fingerprint`, of the bytes themselves."""
    text = base64.b32encode(hashlib.sha256(key).digest()).decode()
    return "-".join(text[at : at + _GROUP_CHARS] for at in range(0, _GROUPS * _GROUP_CHARS, _GROUP_CHARS))


def key_bytes(public: str) -> bytes:
    """The 32 bytes of a key in Z85.

    Raises:
        Malformed: the text is not a key.
    """
    try:
        if len(public) != KEY_CHARS:
            raise ValueError("a key has 40 characters")
        raw: bytes = z85.decode(public.encode("ascii"))
    except (ValueError, KeyError, struct.error) as error:  # what z85 lets out differs by character
        raise Malformed(f"'{public[:KEY_CHARS]}' is not a public key", hint="40 characters of Z85, see `ecnode id`") from error
    if len(raw) != 32:
        raise Malformed(f"'{public[:KEY_CHARS]}' is not a public key", hint="40 characters of Z85, see `ecnode id`")
    return raw


def new_identity() -> Identity:
    """A fresh key pair that is kept nowhere."""
    public, secret = zmq.curve_keypair()
    return Identity(public.decode(), secret.decode())


def load_or_create(path: Path) -> Identity:
    """The key pair in the file at `path`; made and written there on the first start. Blocks on the disk.

    Raises:
        ConfigInvalid: others may read the file, or it holds no key pair.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, new_identity())
    return _load(path)


def replace_key(path: Path, successor: Path) -> None:
    """From the next start on the key pair in the file `successor` is the one in the file at `path`. Blocks on the disk."""
    _load(successor)
    successor.replace(path)
    _sync_folder(path)


def _load(path: Path) -> Identity:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigInvalid(f"the key file {path} cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise ConfigInvalid(
                f"others may read the secret key in {path} (mode {mode:04o})",
                hint=f"chmod 600 {path} — and if somebody may have read it, delete it and enrol the new key",
            )
        text = file.read(FILE_BYTES)
    return _parse(text, path)


def _parse(text: bytes, path: Path) -> Identity:
    problem = ConfigInvalid(f"{path} holds no key pair", hint="restore it from a backup, or delete it and enrol the new key")
    try:
        record = tomllib.loads(text.decode("ascii"))
    except ValueError as error:
        raise problem from error
    public, secret = record.get("public"), record.get("secret")
    if not isinstance(public, str) or not isinstance(secret, str):
        raise problem
    try:
        derived = zmq.curve_public(secret.encode()).decode()
    except ValueError as error:
        raise problem from error
    if derived != public:
        raise problem
    return Identity(public, secret)


def _write_once(path: Path, identity: Identity) -> None:
    # Z85 has neither quote nor backslash, so that a literal string of TOML holds it
    text = f"# Whoever reads the secret is this node.\npublic = '{identity.public}'\nsecret = '{identity.secret}'\n"
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first: its key is the one
    finally:
        draft.unlink()
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
