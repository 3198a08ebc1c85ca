"""How do a node and its child process talk?

Over one stream socket that the child inherits: a message is a JSON header and a few blobs behind it, each with its length in
front. Both sides are this program, yet a child may be confused by what it decodes, so every length is bounded.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from pydantic import JsonValue

from node.errors import ChildLost, Invalid, TooLarge

Header: TypeAlias = Mapping[str, JsonValue]
Bytes: TypeAlias = bytes | bytearray | memoryview

HEADER_BYTES: Final = 1 << 20  # a result with 256 faces and their poses is 40 kB
BLOBS: Final = 256  # one crop per face, as many as a result may have faces
BLOB_BYTES: Final = 8 << 20  # a raw 1080p picture is 6.2 MB
AHEAD_BYTES: Final = 4096  # read at once; more of a blob would be copied twice
_LENGTHS: Final = struct.Struct("!II")
_LENGTH: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of either side."""

    header: Header
    blobs: tuple[bytes, ...] = ()


def pack(header: Header, blobs: Sequence[Bytes] = ()) -> list[Bytes]:
    """The pieces of one message, to be written in order.

    Raises:
        TooLarge: a piece breaks a limit of this module.
        Invalid: a number that JSON does not have.
    """
    try:
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise Invalid(f"a value cannot be handed to a child process: {error}") from error
    sizes = [len(blob) for blob in blobs]
    if len(text) > HEADER_BYTES or len(sizes) > BLOBS or any(size > BLOB_BYTES for size in sizes):
        raise TooLarge(
            f"a message to a child process: header {len(text)} B, {len(sizes)} blobs, largest {max(sizes, default=0)} B"
        )
    return [_LENGTHS.pack(len(text), len(sizes)), struct.pack(f"!{len(sizes)}I", *sizes), text, *blobs]


def _lengths(head: bytes) -> tuple[int, int]:
    size, blobs = _LENGTHS.unpack(head)
    if size > HEADER_BYTES or blobs > BLOBS:
        raise ChildLost(f"a child process sent a message of {size} B and {blobs} blobs")
    return size, blobs


def _sizes(raw: bytes) -> list[int]:
    sizes = [size for (size,) in _LENGTH.iter_unpack(raw)]
    if any(size > BLOB_BYTES for size in sizes):
        raise ChildLost(f"a child process sent a blob of {max(sizes)} B")
    return sizes


def _header(text: bytes) -> Header:
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ChildLost("a child process sent a header that is no object")
    return header


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message, or None once the other side has closed.

    Raises:
        ChildLost: the bytes are not of this protocol.
    """
    try:
        size, blobs = _lengths(await reader.readexactly(_LENGTHS.size))
        head = await reader.readexactly(_LENGTH.size * blobs + size)
        sizes, header = _sizes(head[: _LENGTH.size * blobs]), _header(head[_LENGTH.size * blobs :])
        return Message(header, tuple([await reader.readexactly(length) for length in sizes]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except ValueError as error:
        raise ChildLost(f"a child process sent a header that is no JSON: {error}") from error


class BlockingChannel:
    """The child's end: blocking, used by one reader and one writer thread."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)
        self._ahead = b""  # came with what was asked for: a small message is one call of the system

    def send(self, header: Header, blobs: Sequence[Bytes] = ()) -> None:
        """Writes one message; blocks while the node does not read.

        Raises:
            TooLarge: see `pack`.
        """
        pieces = pack(header, blobs)
        sent = self._socket.sendmsg(pieces)
        if sent < sum(map(len, pieces)):  # a signal came in between
            self._socket.sendall(b"".join(pieces)[sent:])

    def receive(self) -> Message | None:
        """The next message; None once the node has gone."""
        try:
            size, blobs = _lengths(self._exactly(_LENGTHS.size))
            sizes = _sizes(self._exactly(_LENGTH.size * blobs))
            header = _header(self._exactly(size))
            return Message(header, tuple([self._exactly(length) for length in sizes]))
        except (EOFError, ConnectionError):
            return None

    def wait_end(self) -> None:
        """Returns once the node has hung up, whether all that it sent was read or not."""
        end = select.poll()
        end.register(self._socket, 0)
        end.poll()

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        have = self._ahead
        while len(have) < size <= len(have) + AHEAD_BYTES:
            chunk = self._socket.recv(AHEAD_BYTES)
            if not chunk:
                raise EOFError
            have += chunk
        if len(have) >= size:
            self._ahead = have[size:]
            return have[:size]
        self._ahead = b""
        buffer = bytearray(size)
        buffer[: len(have)] = have
        view = memoryview(buffer)[len(have) :]
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]
        return bytes(buffer)
