"""What does one message look like on the wire, and which bytes are refused?

No I/O here: messages in, frames out, and back. A message is a few ZeroMQ frames:

    [0xEC 0x01 header] [body] [blob] …

The two opening bytes are the magic and the version of this wire. The header is a msgpack array (kind, id, word, remaining
ms) of at most 1 KiB, the body one msgpack value of at most 1 MiB, or empty. Blobs are frames of their own: never packed, never
scanned, not copied on arrival. A deadline travels as the milliseconds that remain, because two machines share no clock.

The header is checked by hand: it is the one document that every message has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import msgpack  # type: ignore[import-untyped]

from node.errors import Malformed, TooLarge
from node.transport import limits
from node.transport.base import Blob

MAGIC: Final = 0xEC
VERSION: Final = 1
OPENING: Final = bytes((MAGIC, VERSION))
NO_DEADLINE: Final = float("inf")


class Kind(IntEnum):
    """What a message is for."""

    HELLO = 1  # id: boot count, word: the sender's name, body: its release
    PING = 2  # id: any number
    PONG = 3  # id: that of the ping
    REQUEST = 4  # id: chosen by the caller, word: the method
    REPLY = 5  # id: that of the request
    ERROR = 6  # id: that of the request, or 0 for the link itself; word: the code, body: [message, hint]


_KINDS: Final = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `deadline` is a time of the local clock; only a request has one."""

    kind: Kind
    id: int = 0
    word: str = ""
    body: Blob = b""
    blobs: tuple[Blob, ...] = field(default=())
    deadline: float = NO_DEADLINE

    @property
    def size(self) -> int:
        """Bytes of body and blobs, and what the header may take."""
        return limits.HEADER_BYTES + len(self.body) + sum(blob_bytes(blob) for blob in self.blobs)


def blob_bytes(blob: Blob) -> int:
    """Length in bytes; `len` of a memoryview counts items of its first dimension."""
    return blob.nbytes if isinstance(blob, memoryview) else len(blob)


def check_size(message: Message, most: int) -> None:
    """Holds a message that is about to be sent to the limits that its receiver will hold it to.

    Raises:
        TooLarge: the body, the number of blobs or the whole is above its limit.
        Malformed: a blob is a view with gaps.
    """
    if len(message.body) > limits.BODY_BYTES:
        raise TooLarge(f"a body of {len(message.body)} bytes", hint=f"at most {limits.BODY_BYTES}; pictures travel as blobs")
    if len(message.blobs) > limits.BLOBS:
        raise TooLarge(f"a message with {len(message.blobs)} blobs", hint=f"at most {limits.BLOBS}")
    if any(isinstance(blob, memoryview) and not blob.c_contiguous for blob in message.blobs):
        raise Malformed("a blob whose bytes do not lie in one piece", hint="copy it before it is sent")
    if message.size > most:
        raise TooLarge(f"a message of {message.size} bytes", hint=f"at most {most} (transport.max_message)")


def encode(message: Message, now: float) -> list[Blob]:
    """The frames of `message`, for sending at the local time `now`."""
    remaining = 0
    if message.deadline != NO_DEADLINE:
        remaining = min(max(int((message.deadline - now) * 1000), 0), limits.DEADLINE_MS)
    header: bytes = msgpack.packb((int(message.kind), message.id, message.word, remaining))
    return [OPENING + header, message.body, *message.blobs]


def decode(frames: Sequence[Blob], now: float, most: int) -> Message:
    """The message that `frames` hold, received at the local time `now`. Its body is not unpacked yet.

    Raises:
        Malformed: not a message of this wire, or one of another version.
        TooLarge: `most` bytes, or another limit, are exceeded.
    """
    if len(frames) < 2:
        raise Malformed(f"a message of {len(frames)} frames", hint="header and body are two frames at least")
    kind, number, word, remaining = _header(memoryview(frames[0]))
    deadline = NO_DEADLINE
    if kind is Kind.REQUEST:
        deadline = now + min(remaining, limits.DEADLINE_MS) / 1000
    message = Message(kind, number, word, frames[1], tuple(frames[2:]), deadline)
    check_size(message, most)
    return message


def _header(frame: memoryview) -> tuple[Kind, int, str, int]:
    if len(frame) < 2 or frame[0] != MAGIC:
        raise Malformed("bytes that do not open with 0xEC", hint="is the program at the other side an ecnode?")
    if frame[1] != VERSION:
        raise Malformed(f"wire version {frame[1]}", hint=f"this node speaks version {VERSION}: run the same release on both")
    if len(frame) > limits.HEADER_BYTES:
        raise TooLarge(f"a header of {len(frame)} bytes", hint=f"at most {limits.HEADER_BYTES}")
    fields = _unpack(frame[2:], containers=1)
    if type(fields) is not list or len(fields) != limits.HEADER_FIELDS:
        raise Malformed("a header that is not an array of four", hint="kind, id, word, remaining milliseconds")
    kind, number, word, remaining = fields
    if type(kind) is not int or kind not in _KINDS:
        raise Malformed("a message of an unknown kind")
    if type(number) is not int or not 0 <= number < 2**63:
        raise Malformed("a message id that is not a number from 0 to 2⁶³")
    if type(word) is not str or len(word) > limits.WORD_CHARS:
        raise Malformed(f"a word that is not text of at most {limits.WORD_CHARS} characters")
    if type(remaining) is not int or remaining < 0:
        raise Malformed("remaining milliseconds that are not a number from 0")
    return _KINDS[kind], number, word, remaining


def pack_body(value: object) -> bytes:
    """`value` (None, bool, int, float, str, list, tuple, dict) as a body.

    Raises:
        TooLarge: a number, text or nesting that the wire does not carry.
    """
    try:
        packed: bytes = msgpack.packb(value)
    except (ValueError, OverflowError) as error:
        raise TooLarge(f"a body that cannot be packed: {error}") from error
    return packed


def unpack_body(body: Blob) -> object:
    """The value in `body`; None for an empty one.

    Raises:
        Malformed: not one msgpack value, or one that breaks a limit.
    """
    if not len(body):
        return None
    return _unpack(memoryview(body), containers=limits.BODY_CONTAINERS)


class _Budget:
    """Counts lists and maps while they are built, because a few bytes make an object of 72."""

    def __init__(self, containers: int) -> None:
        self._left = containers

    def spend(self, container: object) -> object:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many lists and maps")
        return container

    def spend_on_map(self, pairs: Sequence[tuple[str, object]]) -> object:
        return self.spend(_map(pairs))


def _map(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise Malformed(f"a map with the key '{twice[:63]}' given twice", hint="a document says everything once")
    return found


def _no_extension(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code} of {len(data)} bytes")


def _unpack(data: memoryview, containers: int) -> object:
    budget = None if len(data) <= containers else _Budget(containers)
    try:
        value: object = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            ext_hook=_no_extension,
            object_pairs_hook=budget.spend_on_map if budget else _map,
            list_hook=budget.spend if budget else None,
            max_str_len=limits.BODY_TEXT_BYTES,
            max_bin_len=0,
            max_array_len=limits.BODY_ITEMS,
            max_map_len=limits.BODY_KEYS,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, OverflowError) as error:  # StackError is a ValueError
        raise Malformed(f"bytes that are not a msgpack document within the limits: {type(error).__name__}") from error
    return value
