"""Is a connection cut that sends without ever finishing a message? Over real TCP connections."""

from __future__ import annotations

import mmap
import socket
import threading
from collections.abc import Iterator

import pytest

from node.transport import limits
from node.transport.guard import AVAILABLE, Guard

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the kernel does not count what a connection received")

AHEAD_BYTES = 2**24


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as sender:
        receiver, _ = door.accept()
        with receiver:
            yield sender, receiver


def push(sender: socket.socket, receiver: socket.socket, amount: int) -> None:
    """Moves that many bytes, which the receiver takes and keeps to itself, as libzmq does."""
    writer = threading.Thread(target=sender.sendall, args=(bytes(amount),))
    writer.start()
    while amount:
        amount -= len(receiver.recv(min(amount, 1 << 20)))
    writer.join()


def test_a_message_without_an_end_is_cut(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends
    guard = Guard(AHEAD_BYTES)
    guard.accepted(receiver.fileno())
    push(sender, receiver, AHEAD_BYTES)
    assert guard.check() == ()
    push(sender, receiver, 1)
    assert guard.check() == ()  # it may be that nobody had the time to take what is complete
    assert guard.check() == (receiver.fileno(),)
    assert sender.recv(1) == b""
    assert len(guard) == 0


def test_whoever_finishes_messages_may_send_for_ever(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = ends
    guard = Guard(AHEAD_BYTES)
    guard.accepted(receiver.fileno())
    for _ in range(4):
        push(sender, receiver, AHEAD_BYTES // 2 + 1)
        guard.delivered(receiver.fileno())
        assert guard.check() == ()


def test_a_descriptor_that_is_closed_by_now_harms_nobody(ends: tuple[socket.socket, socket.socket]) -> None:
    _, receiver = ends
    guard = Guard(AHEAD_BYTES)
    guard.accepted(receiver.fileno())
    receiver.close()
    assert guard.check() == ()


def test_a_look_is_due_when_some_seconds_have_passed_or_this_process_has_grown() -> None:
    guard = Guard(AHEAD_BYTES)
    assert guard.is_due(100.0)
    assert not guard.is_due(100.5)
    with mmap.mmap(-1, 4 * limits.GROWN_BYTES) as grown:  # pages of its own: the heap may have some left from before
        for page in range(0, len(grown), mmap.PAGESIZE):
            grown[page] = 1
        assert guard.is_due(100.5)
    assert guard.is_due(100.5 + limits.GUARD_MOST_S)
