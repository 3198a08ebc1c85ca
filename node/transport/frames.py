"""What does one message look like on the wire, and which bytes are refused?

No I/O here: messages in, frames out, and back. What is sent to one peer in one turn of the loop is one burst of a few frames:

    [0xEC 0x02 head] [blob] …

The two opening bytes are the magic and the version of this wire. The head is a msgpack array with a record for each message:
kind, id, word, remaining ms, body, number of blobs. A body is one msgpack value in bytes of its own, or empty, so that only he
unpacks it who wants it. Blobs are frames, in the order of their messages: never packed, never scanned, not copied on arrival. A
deadline travels as the milliseconds that remain, because two machines share no clock.

The head is checked by hand: it is the one document that every message has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from itertools import islice
from typing import Final, cast

import msgpack  # type: ignore[import-untyped]

from node.errors import Malformed, TooLarge
from node.model.value import Value
from node.transport import limits
from node.transport.base import Blob

MAGIC: Final = 0xEC
VERSION: Final = 2
OPENING: Final = bytes((MAGIC, VERSION))
SHORT_BYTES: Final = 256
PLAIN: Final = frozenset({str, int, float, bool, type(None)})
FIXMAP: Final = 0x80  # msgpack's mark of a map of up to 15 pairs, plus their number
NO_DEADLINE: Final = float("inf")


class Kind(IntEnum):
    """What a message is for."""

    HELLO = 1  # id: boot count, word: the sender's name, body: its release
    PING = 2  # id: any number
    PONG = 3  # id: that of the ping
    REQUEST = 4  # id: chosen by the caller, word: the method
    REPLY = 5  # id: that of the request
    ERROR = 6  # id: that of the request, or 0 for the link itself; word: the code, body: [message, hint]
    NOTE = 7  # word: the method; nobody answers


def _fields(value: object) -> dict[str, object]:
    """What the packer asks for what msgpack has no form for: a value object is its fields."""
    if Value in type(value).__mro__:  # `isinstance` asks pydantic's metaclass: ten times as long
        return vars(value)
    if isinstance(value, int):
        raise OverflowError(f"a number of {value.bit_length()} bits")
    raise TypeError(f"a {type(value).__name__} does not travel")


# one packer for all: `packb` makes a new one each time; it holds the interpreter's lock while it packs
_pack: Final = cast(Callable[[object], bytes], msgpack.Packer(autoreset=True, default=_fields).pack)
_KINDS: Final = {int(kind): kind for kind in Kind}
_EXPIRING: Final = frozenset({Kind.REQUEST, Kind.NOTE})


class Message:
    """One message; nothing changes it. `deadline` is a time of the local clock; only a request or a note has one.

    `carried` is the bytes of body and blobs, `size` those and what the record may take.
    """

    # written out: a frozen dataclass takes three times as long to make, and every message is made at both ends
    __slots__ = ("blobs", "body", "carried", "deadline", "id", "kind", "size", "word")

    def __init__(  # noqa: PLR0917 - the fields of a record, in their order
        self,
        kind: Kind,
        id: int = 0,
        word: str = "",
        body: Blob = b"",
        blobs: tuple[Blob, ...] = (),
        deadline: float = NO_DEADLINE,
    ) -> None:
        self.kind = kind
        self.id = id
        self.word = word
        self.body = body
        self.blobs = blobs
        self.deadline = deadline
        self.carried = len(body)
        for blob in blobs:
            self.carried += blob_bytes(blob)
        self.size = limits.HEADER_BYTES + self.carried


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
    for blob in message.blobs:
        if isinstance(blob, memoryview) and not blob.c_contiguous:
            raise Malformed("a blob whose bytes do not lie in one piece", hint="copy it before it is sent")
    if message.size > most:
        raise TooLarge(f"a message of {message.size} bytes", hint=f"at most {most} (transport.max_message)")


def encode(burst: Sequence[Message], now: float) -> list[Blob]:
    """The frames of `burst`, for sending at the local time `now`."""
    records = [
        (
            message.kind,
            message.id,
            message.word,
            0 if message.deadline == NO_DEADLINE else _remaining_ms(message.deadline, now),
            message.body,
            len(message.blobs),
        )
        for message in burst
    ]
    frames: list[Blob] = [OPENING + _pack(records)]
    for message in burst:
        frames += message.blobs
    return frames


def _remaining_ms(deadline: float, now: float) -> int:
    return min(max(int((deadline - now) * 1000), 0), limits.DEADLINE_MS)


def decode(frames: Sequence[Blob], now: float, most: int) -> list[Message]:
    """The messages that `frames` hold, received at the local time `now`. Their bodies are not unpacked yet.

    Raises:
        Malformed: not a burst of this wire, or one of another version.
        TooLarge: a message of more than `most` bytes, or another limit is exceeded.
    """
    if not frames:
        raise Malformed("a message of no frames")
    head, blobs = memoryview(frames[0]), iter(frames[1:])
    burst = [_message(record, blobs, len(frames), now) for record in _records(head)]
    if next(blobs, None) is not None:
        raise Malformed("more blobs than the head of the message names")
    if len(frames) > 1 or len(head) > limits.BURST_BYTES:  # what is shorter holds no message above a limit
        for message in burst:
            check_size(message, most)
    return burst


def _records(frame: memoryview) -> Sequence[object]:
    if len(frame) < 2 or frame[0] != MAGIC:
        raise Malformed("bytes that do not open with 0xEC", hint="is the program at the other side an ecnode?")
    if frame[1] != VERSION:
        raise Malformed(f"wire version {frame[1]}", hint=f"this node speaks version {VERSION}: run the same release on both")
    try:
        records = msgpack.unpackb(frame[2:]) if len(frame) <= limits.HEAD_BYTES_SHORT else _long_head(frame[2:])
    except (ValueError, TypeError, RecursionError, OverflowError) as error:  # StackError is a ValueError
        raise Malformed(f"bytes that are not the head of a message: {type(error).__name__}") from error
    if type(records) is not list or not 0 < len(records) <= limits.BURST_MESSAGES:
        raise Malformed("a head that is not an array of records")
    return cast(list[object], records)


def _long_head(data: memoryview) -> object:
    budget = _Budget(1 + limits.BURST_MESSAGES) if len(data) > limits.BODY_CONTAINERS else None
    return cast(
        object,
        msgpack.unpackb(
            data,
            ext_hook=_no_extension,
            object_hook=_no_map,
            list_hook=budget.spend if budget else None,
            max_str_len=4 * limits.WORD_CHARS,
            max_bin_len=limits.MESSAGE_BYTES,  # MAXMSGSIZE has bounded it; a body above its own limit is told as what it is
            max_array_len=max(limits.BURST_MESSAGES, limits.RECORD_FIELDS),
            max_map_len=0,
            max_ext_len=0,
        ),
    )


def _message(record: object, blobs: Iterator[Blob], frames: int, now: float) -> Message:
    if type(record) is not list or len(record) != limits.RECORD_FIELDS:
        raise Malformed("a record that is not an array of six", hint="kind, id, word, remaining ms, body, number of blobs")
    kind, number, word, remaining, body, count = record
    known = _KINDS.get(kind) if type(kind) is int else None
    if known is None:
        raise Malformed("a message of an unknown kind")
    if type(number) is not int or not 0 <= number < 2**63:
        raise Malformed("a message id that is not a number from 0 to 2⁶³")
    if type(word) is not str or len(word) > limits.WORD_CHARS:
        raise Malformed(f"a word that is not text of at most {limits.WORD_CHARS} characters")
    if type(remaining) is not int or remaining < 0:
        raise Malformed("remaining milliseconds that are not a number from 0")
    if type(body) is not bytes:
        raise Malformed("a body that is not bytes")
    if type(count) is not int or not 0 <= count < frames:
        raise Malformed("a number of blobs that did not come")
    taken = tuple(islice(blobs, count)) if count else ()
    if len(taken) != count:
        raise Malformed("fewer blobs than the head of the message names")
    if known not in _EXPIRING:
        return Message(known, number, word, body, taken)
    return Message(known, number, word, body, taken, now + min(remaining, limits.DEADLINE_MS) / 1000)


def pack_body(value: object) -> bytes:
    """`value` (None, bool, int, float, str, list, tuple, dict, or a value object of such) as a body.

    Raises:
        TooLarge: a number, text or nesting that the wire does not carry.
    """
    try:
        return _pack(value)
    except (ValueError, OverflowError) as error:
        raise TooLarge(f"a body that cannot be packed: {error}") from error


def unpack_body(body: Blob) -> object:
    """The value in `body`; None for an empty one.

    Raises:
        Malformed: not one msgpack value, or one that breaks a limit.
    """
    length = len(body)
    if not length:
        return None
    if length <= SHORT_BYTES and (flat := _flat(body)) is not None:
        return flat
    return _unpack(memoryview(body), containers=limits.BODY_CONTAINERS)


def _flat(body: Blob) -> dict[str, object] | None:
    """A short map of plain values, unpacked without hooks and limits: its size tells what is said twice. A third of the time.

    None where it is something else, or wrong: then the long way says what it is.
    """
    try:
        found = msgpack.unpackb(body)
    except (ValueError, TypeError, OverflowError):
        return None
    if type(found) is not dict or len(found) != body[0] - FIXMAP or not PLAIN.issuperset(map(type, found.values())):
        return None
    return found


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


def _no_map(pairs: object) -> object:
    raise ValueError("a map in a head")


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
