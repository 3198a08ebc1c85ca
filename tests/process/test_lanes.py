"""What happens to a link when one of its lanes is full, slow or broken? Real sockets, real handshakes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import zmq
from peers import CLOCK, FAST, MOST, Ask, Scene

from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.transport import limits
from node.transport.frames import Kind, decode
from node.transport.sockets import Outbox
from node.transport.zmq import ZmqTransport

QUIET = replace(FAST, heartbeat=30.0, suspect_after=60.0)  # nothing that would wake a socket by the way
NOTE_CHARS = 60_000



class Words(Value):
    text: str


WORDS = Method("test.words", Words, Ask, frozenset(Role), Lane.DATA)


def notes_at(socket: zmq.Socket[bytes], patience_ms: int) -> int:
    """Takes what has come, until nothing comes for so long; how many notes there were."""
    found = 0
    while socket.poll(patience_ms):
        found += sum(message.kind is Kind.NOTE for message in decode(receive(socket), 0.0, MOST))
    return found


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    frames = socket.recv_multipart()
    return frames[1:] if socket.type == zmq.ROUTER else frames


async def told_until_full(transport: ZmqTransport, to: str, outbox: Outbox) -> int:
    """Tells notes until the kernel's buffers and libzmq's queues at both ends are full and some wait; how many."""
    told = 0
    while not outbox:
        for _ in range(8):
            transport.tell(to, WORDS, Words(text="x" * NOTE_CHARS))
            told += 1
        await CLOCK.sleep(0.02)
    return told


async def all_come(socket: zmq.Socket[bytes], missing: int, own: zmq.Socket[bytes]) -> None:
    """What was told comes although the credit for it was taken in by a question that nobody asked for its sake."""
    heard = notes_at(socket, 200)  # the loop stands still meanwhile: when it goes on all credit has come
    own.get(zmq.EVENTS)  # takes it in, and with it what would have woken the loop
    assert 0 < heard < missing
    async with CLOCK.timeout(0.2):
        while heard < missing:
            heard += notes_at(socket, 0)
            await CLOCK.sleep(0.002)


async def test_credit_that_a_listener_takes_in_unnoticed_does_not_hold_up_what_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GUARD_S", 60.0)  # a look at the memory takes a turn by the way
    cloud = await scene.open(options=QUIET)
    lazy = scene.raw(scene.keys["edge-1"], hwm=2)
    await lazy.join("edge-1")
    await scene.hears("edge-1", up=True)
    router = cloud._routers[1]
    (connection,) = router._connections.values()
    assert lazy.data is not None
    told = await told_until_full(cloud, "edge-1", connection.outbox)
    await all_come(zmq.Socket.shadow(lazy.data.underlying), told, router._socket)


async def test_credit_that_a_dialler_takes_in_unnoticed_does_not_hold_up_what_waits(scene: Scene) -> None:
    cloud = await scene.open(options=QUIET)
    edge = await scene.joined("edge-1", QUIET)
    router = cloud._routers[1]
    router._pump.close()  # from now on it is read by the test
    (dealer,) = edge._dealers.values()
    assert dealer._session is not None
    wire = dealer._session._data
    assert wire is not None
    told = await told_until_full(edge, "cloud-1", wire._outbox)
    await all_come(router._socket, told, wire._socket)
