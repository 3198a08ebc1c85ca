"""How does a node reach a door, and what does it do when the door stays shut?

A fresh pair of DEALERs for each attempt after a lost or refused connection: libzmq never retries a refused one by itself, and a
new routing id keeps a half-dead predecessor at the other side from being in the way. While nobody listens libzmq retries alone.
Where only the data connection breaks, or its handshake takes too long, only that one is dialled again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Final

import zmq

from node.errors import Malformed, PeerUnreachable, Rejected
from node.model.wire.method import Lane
from node.transport import limits
from node.transport.frames import Kind, Message, decode, encode
from node.transport.link import Link
from node.transport.options import IPC_DATA, Dial
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
        turn = 0
        while True:
            keys = self._station.directory.keys_of(self._dial.public)
            dial = Dial(self._dial.address, keys[turn % len(keys)])
            self._session = Session(self._station, dial)
            try:
                pause = await self._session.run()
                turn += self._session.broken  # a door that answers to another key now may have announced it
            finally:
                self._session.close()
                self._session = None
            await self._station.clock.sleep(_drawn(pause))

    def recheck(self) -> None:
        """Ends the link when its key is not admitted any more, or as somebody else."""
        if self._session is not None:
            self._session.recheck()


class Session:
    """One attempt and the link that may come of it; `over` is set with the pause before the next attempt.

    The control connection comes first. Its greeting says where the other side takes data, then the data connection follows.
    """

    def __init__(self, station: Station, dial: Dial) -> None:
        self._station = station
        self._dial = dial
        self._rpc = station.rpc
        self._options = station.options
        self._link: Link | None = None
        self._data: DialledWire | None = None
        self._data_dial: Dial | None = None
        self._news = asyncio.Event()
        self.broken = False
        self.over: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._control = DialledWire(self, station, Lane.CONTROL, dial)

    async def run(self) -> float:
        """Dials the data lane again where it was lost, until the attempt is over; the pause before the next attempt."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                async with self._station.clock.timeout(_drawn(self._options.redial)):
                    return await asyncio.shield(self.over)
            except TimeoutError:
                self._dial_data()

    def close(self) -> None:
        """Closes the sockets and ends the link."""
        if self._link is not None:
            self._rpc.detach(self._link, "the connection was closed")
        for wire in (self._data, self._control):
            if wire is not None:
                wire.close()

    def recheck(self) -> None:
        """As `Dealer.recheck`."""
        if self._link is not None and self._station.directory.find(self._dial.public) != self._link.peer:
            self.end(self._options.redial_refused, "its key is not admitted any more")

    def end(self, pause: float, reason: str) -> None:
        """Gives the attempt up. Harmless when repeated."""
        if not self.over.done():
            self.over.set_result(pause)
            self._news.set()
        if self._link is not None:
            self._rpc.detach(self._link, reason)

    def open_data(self, place: str) -> None:
        """Dials the data lane.

        Raises:
            Malformed: that is no place.
        """
        if self._data_dial is None and not self.over.done():
            self._data_dial = Dial(_data_address(self._dial.address, place), self._dial.public)
            self._excuse(f"its data lane at {self._data_dial.address} has not answered yet: is that port open?")
            self._dial_data()

    def _dial_data(self) -> None:
        if self._data_dial is not None and self._data is None:
            self._data = DialledWire(self, self._station, Lane.DATA, self._data_dial)

    def happened(self, wire: DialledWire, event: int) -> None:
        """The handshake of a wire succeeded or failed, or the wire broke."""
        if self.over.done():
            return
        if event == ADMITTED:
            self._admitted(wire)
        elif event == REFUSED:
            self._refused()
        elif wire is self._data:
            self._data_ended(wire, "the connection was closed" if event == DISCONNECTED else "the handshake failed")
        elif event == DISCONNECTED and self._link is not None:
            self.end(self._options.redial, "the connection was closed")
        elif event & BROKEN_HANDSHAKE:
            self._broken()

    def receive(self, wire: DialledWire, frames: Sequence[zmq.Frame]) -> None:
        """A burst has come."""
        if self._link is None or self.over.done():
            return
        try:
            for message in decode([frame.buffer for frame in frames], self._station.clock.monotonic(), wire.most):
                self._rpc.receive(self._link, message, wire.lane)
        except Rejected as error:
            log.warning("message refused", extra={"peer": self._link.peer.name, "reason": error.message, "hint": error.hint})
            self._station.directory.offences.note(self._link.peer, "sends what cannot be decoded")
            self.end(self._options.redial_refused, f"it sent what cannot be decoded: {error.message}")

    def _admitted(self, wire: DialledWire) -> None:
        wire.admitted = self._station.clock.monotonic()
        peer = self._station.directory.find(self._dial.public)
        if peer is None:
            log.warning("dialled a key that is not in the directory", extra={"address": self._dial.address})
            self.end(self._options.redial_refused, "its key is not in the directory")
        elif wire.lane is Lane.CONTROL:
            self._link = self._rpc.attach(wire, peer)
        elif self._link is not None:
            wire.send(Message(Kind.HELLO, self._options.boot, self._options.name), at_once=True)
            self._rpc.attach_data(self._link, wire)

    def _refused(self) -> None:
        mine, options = self._station.identity, self._options
        roles = "".join(f" --role {role}" for role in sorted(options.roles))
        command = f"ecnode peers approve {mine.fingerprint} --name {options.name}{roles}"
        if self._excuse(f"it does not admit this node's key yet; there: {command}"):
            log.warning(
                "refused: the other side has to approve this node's key",
                extra={"address": self._dial.address, "public_key": mine.public, "there": command},
            )
        self.end(self._options.redial_refused, "refused")

    def _broken(self) -> None:
        self.broken = True
        reason = f"the handshake with {self._dial.address} failed: is the key of that door the right one?"
        if self._excuse(reason):
            log.warning("handshake failed", extra={"address": self._dial.address, "public_key": self._dial.public})
        self.end(self._options.redial, reason)

    def _data_ended(self, wire: DialledWire, reason: str) -> None:
        """The data lane alone is dialled again, but where it was taken and ended at once: there its link is not known."""
        if wire.admitted is not None and self._station.clock.monotonic() - wire.admitted < self._options.redial:
            self.end(self._options.redial, f"the data lane was taken and ended at once: {reason}")
            return
        self._data = None
        wire.close()
        if self._link is not None:
            self._rpc.detach_data(self._link, wire, reason)
        if wire.admitted is None and self._excuse(f"its data lane at {wire.address} cannot be reached: {reason}"):
            log.warning("data lane not reached", extra={"address": wire.address, "reason": reason})
        self._news.set()

    def _excuse(self, reason: str) -> bool:
        peer = self._station.directory.find(self._dial.public)
        return peer is None or self._rpc.excuse(peer.name, reason)


class DialledWire:
    """One connection that this node dialled; the `Wire` of a lane."""

    data_place = ""

    def __init__(self, session: Session, station: Station, lane: Lane, dial: Dial) -> None:
        self.lane = lane
        self.most = station.options.most(lane)
        self.address = dial.address
        self.admitted: float | None = None
        self._session = session
        self._station = station
        self._outbox = Outbox()
        self._socket = dealer_socket(station.context, station.identity, lane, dial, station.options)
        self._monitor = Monitor(self._socket, _EVENTS, lambda event, _: session.happened(self, event))
        self._pump = Pump(self._socket, self._read, self._write, limits.TURN_MESSAGES)
        self._socket.connect(dial.address)

    def close(self) -> None:
        """Closes the socket."""
        self._pump.close()
        self._monitor.close()
        self._socket.close(0)
        self._outbox.clear()

    def send(self, message: Message, *, at_once: bool = False) -> None:
        """As `Wire.send`."""
        if self._socket.closed or self._session.over.done():
            raise PeerUnreachable(f"the connection to {self.address} has ended")
        if self._outbox.push(message) or (at_once and not self._pump.turning):
            self._write()
            self._pump.sent()
        else:
            self._pump.poke()

    def open_data(self, place: str) -> None:
        """As `Wire.open_data`."""
        self._session.open_data(place)

    def cut(self, reason: str) -> None:
        """As `Wire.cut`."""
        self._session.end(self._station.options.redial, reason)

    def _transmit(self, burst: Sequence[Message]) -> bool:
        return send_frames(self._socket, encode(burst, self._station.clock.monotonic()))

    def _write(self) -> None:
        if self._outbox and not self._outbox.drain(self._transmit, self._station.clock.monotonic()):
            self._pump.full()

    def _read(self) -> None:
        frames = receive_frames(self._socket)
        if self.admitted is None:
            self._monitor.drain()  # the handshake is announced before the first message, on another descriptor
        self._session.receive(self, frames)


def _drawn(pause: float) -> float:
    """Between half of it and all of it, so that a thousand edges do not return in one instant."""
    return pause * secrets.SystemRandom().uniform(0.5, 1.0)


def _data_address(address: str, place: str) -> str:
    """Where the data lane is of who listens for control at `address`; the other side chooses the port only.

    Raises:
        Malformed: it names none.
    """
    if place == IPC_DATA and not address.startswith("tcp://"):
        return address + place
    if not place.isdecimal() or not 0 < int(place[:6]) < 1 << 16 or len(place) > 5:
        raise Malformed("a greeting that does not say on which port data goes")
    return f"{address.rpartition(':')[0]}:{place}"
