"""Does one connection make libzmq keep more than a message for us?

MAXMSGSIZE bounds a frame, nothing bounds the frames of a message: libzmq buffers them all until the last has come, so that an
endless message grows without limit (measured: 522 MB before it was stopped by hand). The kernel counts what each connection has
received; when that runs ahead of the last complete message by far more than a message may have, at two looks in a row, the
connection is cut. One look is not enough: complete messages may wait for a busy loop.

A look costs a system call per connection. So it is taken when this process has grown, or when a few seconds have passed.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import socket
import struct
from pathlib import Path
from typing import Final

from node.transport import limits

log = logging.getLogger(__name__)

AVAILABLE: Final = hasattr(socket, "TCP_INFO")  # Linux

# struct tcp_info of linux/tcp.h: tcpi_bytes_received is the u64 at byte 128
_RECEIVED_AT: Final = 128
_INFO_BYTES: Final = 136
_PAGES: Final = Path("/proc/self/statm")
_getsockopt: Final = ctypes.CDLL(None).getsockopt
_number: Final = struct.Struct("=Q").unpack_from


class Guard:
    """The bytes that each connection (by descriptor) had received when its last complete message was seen.

    A connection may be `ahead` bytes beyond that.
    """

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._seen: dict[int, int] = {}
        self._delivered: set[int] = set()
        self._suspects: set[int] = set()
        self._record = ctypes.create_string_buffer(_INFO_BYTES)
        self._size = ctypes.c_uint32()
        self._size_at = ctypes.byref(self._size)
        self._next_look = float("-inf")
        self._grown_from = 0

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, descriptor: int) -> bool:
        """Whether that connection has come and not ended."""
        return descriptor in self._seen

    def accepted(self, descriptor: int) -> None:
        """A connection has come."""
        self._seen[descriptor] = 0

    def delivered(self, descriptor: int) -> None:
        """A complete message has come over it."""
        self._delivered.add(descriptor)

    def closed(self, descriptor: int) -> None:
        """It has ended. Harmless for one that is not known."""
        self._seen.pop(descriptor, None)
        self._delivered.discard(descriptor)
        self._suspects.discard(descriptor)

    def is_due(self, now: float) -> bool:
        """Whether it is time for a look: some seconds have passed, memory has grown, or somebody is under suspicion."""
        resident = int(_PAGES.read_bytes().split()[1]) * resource.getpagesize()
        if now < self._next_look and resident < self._grown_from + limits.GROWN_BYTES and not self._suspects:
            return False
        self._next_look, self._grown_from = now + limits.GUARD_MOST_S, resident
        return True

    def check(self) -> tuple[int, ...]:
        """Cuts the connections that were too far ahead the last time and still are, and names them."""
        offenders = tuple(descriptor for descriptor in self._seen if self._is_over(descriptor))
        self._delivered.clear()
        for descriptor in offenders:
            self.closed(descriptor)
        return offenders

    def _is_over(self, descriptor: int) -> bool:
        received = self._received(descriptor)
        if received is None:  # closed meanwhile, or not TCP: then the file system says who may connect
            return False
        if descriptor in self._delivered:
            self._seen[descriptor] = received
        ahead = received - self._seen[descriptor]
        if ahead <= self._ahead:
            self._suspects.discard(descriptor)
            return False
        if descriptor not in self._suspects:
            self._suspects.add(descriptor)
            return False
        try:
            with socket.socket(fileno=os.dup(descriptor)) as twin:
                twin.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        log.warning("connection cut: a message without an end", extra={"bytes": ahead})
        return True

    def _received(self, descriptor: int) -> int | None:
        """Bytes that the kernel has received on a TCP connection; None where the descriptor is none.

        Asked of the C library: a socket object for a descriptor that libzmq owns costs ten times as much.
        """
        self._size.value = _INFO_BYTES
        if _getsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_INFO, self._record, self._size_at):
            return None
        return int(_number(self._record, _RECEIVED_AT)[0]) if self._size.value == _INFO_BYTES else None
