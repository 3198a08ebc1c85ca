"""A member that speaks CurveZMQ (RFC 26) over a plain TCP socket, so that it can send what no libzmq would.

libzmq passes a message on to its connection only when the last frame has come, so that a message without an end cannot be sent
with it. The arithmetic is that of the libsodium that pyzmq's wheel carries.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path
from types import TracebackType

import zmq
from zmq.utils import z85

from node.transport.keys import Identity

MORE = 0x01
_LARGE, _COMMAND = 0x02, 0x04
_KEY, _MAC = 32, 16


def _sodium() -> ctypes.CDLL:
    (path,) = Path(zmq.__file__).parent.parent.glob("pyzmq.libs/libsodium*")
    library = ctypes.CDLL(str(path))
    library.sodium_init()
    return library


SODIUM = _sodium()


def _box(plain: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
    sealed = ctypes.create_string_buffer(len(plain) + _MAC)
    assert SODIUM.crypto_box_easy(sealed, plain, ctypes.c_ulonglong(len(plain)), nonce, public, secret) == 0
    return sealed.raw


def _opened(sealed: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
    plain = ctypes.create_string_buffer(max(len(sealed) - _MAC, 1))
    assert SODIUM.crypto_box_open_easy(plain, sealed, ctypes.c_ulonglong(len(sealed)), nonce, public, secret) == 0
    return plain.raw[: len(sealed) - _MAC]


class Curve:
    """One connection, its handshake done. Blocks; closed by the `with` statement."""

    def __init__(self, address: str, server: str, key: Identity) -> None:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=5)
        self._number = 0
        try:
            self._shake_hands(z85.decode(server), z85.decode(key.public), z85.decode(key.secret))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, frame: bytes, *, more: bool = False) -> None:
        """One frame; OSError when the other side has cut the connection."""
        plain = bytes((MORE if more else 0,)) + frame
        nonce = self._next()
        sealed = ctypes.create_string_buffer(len(plain) + _MAC)
        SODIUM.crypto_box_easy_afternm(sealed, plain, ctypes.c_ulonglong(len(plain)), b"CurveZMQMESSAGEC" + nonce, self._shared)
        self._put(0, b"\x07MESSAGE" + nonce + sealed.raw)

    def _shake_hands(self, server: bytes, public: bytes, secret: bytes) -> None:
        self._socket.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32))
        self._take(64)
        mine, hidden = ctypes.create_string_buffer(_KEY), ctypes.create_string_buffer(_KEY)
        SODIUM.crypto_box_keypair(mine, hidden)
        nonce = self._next()
        proof = _box(bytes(64), b"CurveZMQHELLO---" + nonce, server, hidden.raw)
        self._put(_COMMAND, b"\x05HELLO\x01\x00" + bytes(72) + mine.raw + nonce + proof)
        welcome = self._command(b"\x07WELCOME")
        inside = _opened(welcome[16:], b"WELCOME-" + welcome[:16], server, hidden.raw)
        theirs, cookie = inside[:_KEY], inside[_KEY:]
        vouched = os.urandom(16)
        vouch = _box(mine.raw + server, b"VOUCH---" + vouched, theirs, secret)
        metadata = b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
        nonce = self._next()
        told = _box(public + vouched + vouch + metadata, b"CurveZMQINITIATE" + nonce, theirs, hidden.raw)
        self._put(_COMMAND, b"\x08INITIATE" + cookie + nonce + told)
        self._command(b"\x05READY")
        shared = ctypes.create_string_buffer(_KEY)
        SODIUM.crypto_box_beforenm(shared, theirs, hidden.raw)
        self._shared = shared.raw

    def _next(self) -> bytes:
        self._number += 1
        return struct.pack(">Q", self._number)

    def _put(self, flags: int, body: bytes) -> None:
        if len(body) < 256:
            self._socket.sendall(bytes((flags, len(body))) + body)
        else:
            self._socket.sendall(bytes((flags | _LARGE,)) + struct.pack(">Q", len(body)) + body)

    def _command(self, name: bytes) -> bytes:
        flags, size = self._take(2)
        assert flags == _COMMAND, flags
        body = self._take(size)
        assert body.startswith(name), body[:16]
        return body[len(name) :]

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            some = self._socket.recv(count - len(taken))
            if not some:
                raise ConnectionResetError("cut")
            taken += some
        return taken
