"""Does the door refuse a stranger, really and now?"""

from __future__ import annotations

import asyncio
from typing import Final

from node.errors import Unavailable
from node.model.wire.method import Lane
from node.transport.keys import Identity
from node.transport.options import Dial
from node.transport.sockets import ADMITTED, BROKEN_HANDSHAKE, REFUSED, Monitor, Station, dealer_socket

SELF_TEST_S: Final = 5.0  # a handshake on loopback takes 3 ms


async def prove_that_strangers_are_refused(station: Station, stranger: Identity, endpoint: str) -> None:
    """Knocks at `endpoint` with a key that is not admitted.

    Raises:
        Unavailable: the key was admitted, or not refused by the thread that should.
    """
    outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def seen(event: int, _: int) -> None:
        if not outcome.done():
            outcome.set_result(event)

    dial = Dial(endpoint, station.identity.public)
    socket = dealer_socket(station.context, stranger, Lane.CONTROL, dial, station.options)
    monitor = Monitor(socket, ADMITTED | REFUSED | BROKEN_HANDSHAKE, seen)
    try:
        socket.connect(dial.address)
        async with station.clock.timeout(SELF_TEST_S):
            event = await outcome
    except TimeoutError as error:
        raise Unavailable("the door did not answer its self-test") from error
    finally:
        monitor.close()
        socket.close(0)
    if event == ADMITTED:
        raise Unavailable("an unknown key was admitted in the self-test of the door", hint="do not run this node; report it")
    if event != REFUSED:
        raise Unavailable(
            "the self-test of the door ended without a verdict", hint="the thread that admits peers did not answer"
        )
