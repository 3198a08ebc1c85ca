"""How does a node reach a door, and what does it do when the door stays shut?

A fresh DEALER for each attempt after a lost or refused connection: libzmq never retries a refused one by itself, and a new
routing id keeps a half-dead predecessor at the other side from being in the way. While nobody listens libzmq retries by itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final

from node.errors import PeerUnreachable, Rejected
from node.transport import limits
from node.transport.frames import Message, decode, encode
from node.transport.link import Link
from node.transport.options import Dial
from node.transport.sockets import (
    ADMITTED,
    BROKEN_HANDSHAKE,
    DISCONNECTED,
    REFUSED,
    Monitor,
    Outbox,
    Pump,
    Station,
    dealer_socket,
    receive_frames,
    send_frames,
)

log = logging.getLogger(__name__)

_EVENTS: Final = ADMITTED | REFUSED | BROKEN_HANDSHAKE | DISCONNECTED


class Dealer:
    """The dialling side of one link; runs in a task of its owner."""

    def __init__(self, station: Station, dial: Dial) -> None:
        self._station = station
        self._dial = dial
        self._session: Session | None = None

    async def run(self) -> None:
        """Dials, and dials again after each end, until it is cancelled."""
        while True:
            self._session = Session(self._station, self._dial)
            try:
                pause = await self._session.over
            finally:
                self._session.close()
                self._session = None
            await self._station.clock.sleep(pause * secrets.SystemRandom().uniform(0.5, 1.0))

    def recheck(self) -> None:
        """Ends the link when its key is not admitted any more, or as somebody else."""
        if self._session is not None:
            self._session.recheck()


class Session:
    """One attempt and the connection that may come of it; the `Wire` of its link.

    `over` gives the pause before the next attempt.
    """

    def __init__(self, station: Station, dial: Dial) -> None:
        self._station = station
        self._dial = dial
        self._rpc = station.rpc
        self._clock = station.clock
        self._options = station.options
        self._outbox = Outbox()
        self._link: Link | None = None
        self.over: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._socket = dealer_socket(station.context, station.identity, dial, station.options)
        self._monitor = Monitor(self._socket, _EVENTS, self._happened)
        self._pump = Pump(self._socket, self._read, self._write, limits.TURN_MESSAGES)
        self._socket.connect(dial.address)

    def close(self) -> None:
        """Closes the socket and ends the link."""
        self._pump.close()
        self._monitor.close()
        self._socket.close(0)
        self._outbox.clear()
        if self._link is not None:
            self._rpc.detach(self._link, "the connection was closed")

    def send(self, message: Message) -> None:
        """As `Wire.send`."""
        if self._socket.closed or self.over.done():
            raise PeerUnreachable(f"the connection to {self._dial.address} has ended")
        if self._outbox or not self._transmit(message):
            self._outbox.push(message)
        self._pump.poke()

    def cut(self, reason: str) -> None:
        """As `Wire.cut`."""
        self._end(self._options.redial, reason)

    def recheck(self) -> None:
        """As `Dealer.recheck`."""
        if self._link is not None and self._station.directory.find(self._dial.public) != self._link.peer:
            self._end(self._options.redial_refused, "its key is not admitted any more")

    def _end(self, pause: float, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(pause)
        if self._link is not None:
            self._rpc.detach(self._link, reason)

    def _happened(self, event: int, _: int) -> None:
        if self.over.done():
            return
        if event == ADMITTED:
            self._greet()
        elif event == REFUSED:
            self._refused()
        elif event == DISCONNECTED and self._link is not None:
            self._end(self._options.redial, "the connection was closed")
        elif event & BROKEN_HANDSHAKE:
            self._broken()

    def _greet(self) -> None:
        peer = self._station.directory.find(self._dial.public)
        if peer is None:
            log.warning("dialled a key that is not in the directory", extra={"address": self._dial.address})
            self._end(self._options.redial_refused, "its key is not in the directory")
            return
        self._link = self._rpc.attach(self, peer)

    def _refused(self) -> None:
        mine = self._station.identity
        if self._excuse(f"it does not admit this node's key yet: approve {mine.fingerprint} ({mine.public}) there"):
            log.warning(
                "refused: the other side has to approve this node's key",
                extra={"address": self._dial.address, "fingerprint": mine.fingerprint, "public_key": mine.public},
            )
        self._end(self._options.redial_refused, "refused")

    def _broken(self) -> None:
        reason = f"the handshake with {self._dial.address} failed: is the key of that door the right one?"
        if self._excuse(reason):
            log.warning("handshake failed", extra={"address": self._dial.address, "public_key": self._dial.public})
        self._end(self._options.redial, reason)

    def _excuse(self, reason: str) -> bool:
        peer = self._station.directory.find(self._dial.public)
        return peer is None or self._rpc.excuse(peer.name, reason)

    def _transmit(self, message: Message) -> bool:
        return send_frames(self._socket, encode(message, self._clock.monotonic()))

    def _write(self) -> None:
        if self._outbox:
            self._outbox.drain(self._transmit, self._clock.monotonic())

    def _read(self) -> None:
        frames = receive_frames(self._socket)
        if self._link is None:
            self._monitor.drain()  # the handshake is announced before the first message, on another descriptor
        if self._link is None or self.over.done():
            return
        try:
            message = decode([frame.buffer for frame in frames], self._clock.monotonic(), self._options.max_message)
            self._rpc.receive(self._link, message)
        except Rejected as error:
            log.warning("message refused", extra={"peer": self._link.peer.name, "reason": error.message, "hint": error.hint})
            self._end(self._options.redial_refused, f"it sent what cannot be decoded: {error.message}")
