"""How does a node listen, and which connection belongs to which peer?

One ROUTER per lane behind CURVE and the ZAP thread. Rules:
- who speaks is the User-Id of each message, set by libzmq from the key of its connection; a routing id is an address only;
- the newest control connection of a key that says HELLO is the link, older ones of that key are cut;
- a data connection joins the link of its key, the newest in the place of an older one; the link does not end with it;
- a connection's end is heard from the monitor, by descriptor. The kernel reuses descriptors, so the monitor is heard out before
  a new connection is written down: the end of the descriptor's former owner was announced before;
- what an ended connection still had under way is passed over: taken for a new one it would strike, and it would end the link of
  whoever has its descriptor now. Diallers take a new routing id each time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket as sockets_of_the_system
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast

import zmq

from node.errors import EcnodeError, Malformed, PeerUnreachable, Rejected, Unavailable
from node.model.wire.method import Lane
from node.transport import limits
from node.transport.base import Peer
from node.transport.bodies import complaint
from node.transport.frames import Kind, Message, decode, encode
from node.transport.guard import Guard
from node.transport.keys import Identity
from node.transport.link import Link
from node.transport.options import IPC_DATA
from node.transport.selftest import prove_that_strangers_are_refused
from node.transport.sockets import (
    ACCEPTED,
    DISCONNECTED,
    NOBLOCK,
    Monitor,
    Outbox,
    Pump,
    Station,
    receive_frames,
    router_socket,
    send_frames,
)

log = logging.getLogger(__name__)

_SELF_TEST_ADDRESS: Final = "tcp://127.0.0.1:0"


class Connection:
    """One accepted connection; the `Wire` of its link."""

    def __init__(self, router: Router, routing_id: bytes, key: str, peer: Peer, descriptor: int) -> None:
        self.routing_id = routing_id
        self.key = key
        self.peer = peer
        self.descriptor = descriptor
        self.address = _address(descriptor)
        self.outbox = Outbox()
        self.data_place = router.data_place(descriptor)
        self.link: Link | None = None
        self.strikes = 0
        self.ended = False
        self._router = router

    def send(self, message: Message, *, at_once: bool = False) -> None:
        """As `Wire.send`."""
        if self.ended:
            raise PeerUnreachable(f"the connection of '{self.peer.name}' has ended")
        burst = self.outbox.push(message)
        self._router.has_mail(self, burst=burst, at_once=at_once)

    def open_data(self, place: str) -> None:
        """As `Wire.open_data`: the end that dialled connects."""

    def cut(self, reason: str) -> None:
        """As `Wire.cut`."""
        self._router.drop(self, reason, cut=True)


class Router:
    """The listening side of one lane of a transport; a data lane has its `control`."""

    def __init__(self, station: Station, control: Router | None = None) -> None:
        self._lane = Lane.CONTROL if control is None else Lane.DATA
        self._control = control
        self._data_places: dict[object, str] = {}
        self._station = station
        self._directory = station.directory
        self._rpc = station.rpc
        self._clock = station.clock
        self._most = station.options.most(self._lane)
        self._connections: dict[bytes, Connection] = {}
        self._by_descriptor: dict[int, Connection] = {}
        self._ended: dict[tuple[bytes, str], None] = {}
        self._guard = Guard(limits.AHEAD_MESSAGES * self._most)
        self._posting: set[Connection] = set()
        self.endpoints: tuple[str, ...] = ()

    async def start(self, listen: Sequence[str], stranger: Identity) -> None:
        """Proves on loopback that `stranger` is refused, then binds.

        Raises:
            Unavailable: it is not, or an address cannot be bound.
        """
        self._socket = router_socket(self._station, self._lane, listen)
        self._monitor = Monitor(self._socket, ACCEPTED | DISCONNECTED, self._happened)
        self._pump = Pump(self._socket, self._read, self._write, limits.TURN_MESSAGES)
        try:
            trial = self._bind(_SELF_TEST_ADDRESS)
            await prove_that_strangers_are_refused(self._station, stranger, trial)
            self._socket.unbind(trial)
            self.endpoints = tuple(self._bind(address) for address in listen)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Closes the socket and with it all connections."""
        self._pump.close()
        self._monitor.close()
        self._socket.close(0)
        for connection in list(self._connections.values()):
            self.drop(connection, "this node stops", cut=False)

    async def watch_memory(self) -> None:
        """Cuts connections that fill libzmq's memory; runs until it is cancelled."""
        while True:
            await self._clock.sleep(limits.GUARD_S)
            if not self._guard.is_due(self._clock.monotonic()):
                continue
            self._monitor.drain()
            self._pump.turn()  # what is complete counts as delivered
            for descriptor in self._guard.check():
                if (connection := self._by_descriptor.get(descriptor)) is not None:
                    self._kick(connection, "sends a message without an end")

    def recheck(self) -> None:
        """Ends the connections whose key is not admitted any more, or as somebody else."""
        for connection in list(self._connections.values()):
            if self._directory.find(connection.key) != connection.peer:
                self.drop(connection, "its key is not admitted any more", cut=True)

    def announce_data(self, endpoints: Sequence[str]) -> None:
        """Has greetings say where data goes; `endpoints` are those of the data lane, in the order of this lane's own."""
        for own, data in zip(self.endpoints, endpoints, strict=True):
            self._data_places[_place(own)] = _place(data) if own.startswith("tcp://") else IPC_DATA

    def data_place(self, descriptor: int) -> str:
        """What to tell a connection about where data goes."""
        return self._data_places.get(_own_place(descriptor), "") if self._data_places else ""

    def link_of(self, key: str) -> Link | None:
        """The link of a key that has greeted."""
        for connection in self._connections.values():
            if connection.key == key and connection.link is not None and connection.link.greeted:
                return connection.link
        return None

    def has_mail(self, connection: Connection, *, burst: bool, at_once: bool) -> None:
        """Sends what waits for a connection at the end of this turn of the loop, or now: a burst, or what is alone."""
        if burst or (at_once and not self._pump.turning):
            self._post(connection)
            self._pump.sent()
        else:
            self._posting.add(connection)
            self._pump.poke()

    def _post(self, connection: Connection) -> None:
        """Sends until the outbox is empty or libzmq's queue to that peer is full; then a later turn goes on."""
        if connection.outbox.drain(partial(self._transmit, connection), self._clock.monotonic()):
            self._posting.discard(connection)
        else:
            self._posting.add(connection)
            self._pump.full()

    def _transmit(self, connection: Connection, burst: Sequence[Message]) -> bool:
        try:
            return send_frames(self._socket, [connection.routing_id, *encode(burst, self._clock.monotonic())])
        except zmq.ZMQError as error:
            self.drop(connection, f"gone: {error}", cut=False)  # EHOSTUNREACH, thanks to ROUTER_MANDATORY
            return True

    def drop(self, connection: Connection, reason: str, *, cut: bool) -> None:
        """Forgets a connection, with `cut` also ends it. Harmless when repeated."""
        if connection.ended:
            return
        connection.ended = True
        self._ended[connection.routing_id, connection.key] = None
        if len(self._ended) > limits.ENDED_CONNECTIONS:
            del self._ended[next(iter(self._ended))]
        connection.outbox.clear()
        self._posting.discard(connection)
        del self._connections[connection.routing_id]
        if self._by_descriptor.get(connection.descriptor) is connection:
            del self._by_descriptor[connection.descriptor]
        if connection.link is not None:
            if self._lane is Lane.CONTROL:
                self._rpc.detach(connection.link, reason)
            else:
                self._rpc.detach_data(connection.link, connection, reason)
        if cut:
            _shut_down(connection)

    def _bind(self, address: str) -> str:
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            raise Unavailable(
                f"cannot listen on {address}: {error}", hint="another program may have that port, see `ss -ltnp`"
            ) from error
        return self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def _write(self) -> None:
        for connection in list(self._posting):
            self._post(connection)

    def _happened(self, event: int, descriptor: int) -> None:
        if event == ACCEPTED:
            self._guard.accepted(descriptor)
            return
        self._guard.closed(descriptor)
        connection = self._by_descriptor.get(descriptor)
        if connection is not None:
            self.drop(connection, "the connection was closed", cut=False)

    def _read(self) -> None:
        routing_id = self._socket.recv(NOBLOCK)
        frames = receive_frames(self._socket)
        key = frames[0].get("User-Id")
        connection = self._connections.get(routing_id)
        if connection is None or connection.key != key:
            connection = self._take(routing_id, str(key), int(frames[0].get(zmq.SRCFD)))
            if connection is None:
                return
        self._guard.delivered(connection.descriptor)
        try:
            for message in decode([frame.buffer for frame in frames], self._clock.monotonic(), self._most):
                if connection.link is None:
                    self._greet(connection, message)
                elif not connection.ended:
                    self._rpc.receive(connection.link, message, self._lane)
        except Rejected as error:
            self._strike(connection, error)

    def _take(self, routing_id: bytes, key: str, descriptor: int) -> Connection | None:
        self._monitor.drain()
        if (routing_id, key) in self._ended or descriptor not in self._guard:
            return None
        peer = self._directory.find(key)
        if peer is None:  # admitted a moment ago, taken out since
            return None
        for stale in (self._connections.get(routing_id), self._by_descriptor.get(descriptor)):
            if stale is not None:
                self.drop(stale, "its address has a new owner", cut=False)
        same = [connection for connection in self._connections.values() if connection.key == key]
        for old in same[: -limits.CONNECTIONS_PER_KEY + 1 or None]:
            self.drop(old, "too many connections of one key", cut=True)
        connection = Connection(self, routing_id, key, peer, descriptor)
        self._connections[routing_id] = connection
        self._by_descriptor[descriptor] = connection
        return connection

    def _greet(self, connection: Connection, message: Message) -> None:
        if connection.ended:
            return
        if message.kind is not Kind.HELLO:
            raise Malformed("a message before the greeting", hint="HELLO opens every link")
        if self._control is not None:
            self._join(connection, self._control.link_of(connection.key))
            return
        for other in [other for other in self._connections.values() if other.key == connection.key and other is not connection]:
            self.drop(other, "a newer connection took its place", cut=True)
        connection.link = self._rpc.attach(connection, connection.peer)
        self._rpc.receive(connection.link, message, self._lane)

    def _join(self, connection: Connection, link: Link | None) -> None:
        if link is None:
            self.drop(connection, "a data connection without a link", cut=True)
            return
        if link.data is not None:
            link.data.cut("a newer data connection took its place")
        connection.link = link
        self._rpc.attach_data(link, connection)

    def _strike(self, connection: Connection, error: EcnodeError) -> None:
        connection.strikes += 1
        log.warning(
            "message refused",
            extra={"peer": connection.peer.name, "reason": error.message, "hint": error.hint, "strike": connection.strikes},
        )
        if connection.strikes >= limits.STRIKES:
            self._kick(connection, "sends what cannot be decoded")
            return
        with contextlib.suppress(Unavailable):  # it does not read either: the next strike ends it
            connection.send(complaint(error))

    def _kick(self, connection: Connection, reason: str) -> None:
        """Ends both lanes of a peer, and has the audit know it."""
        log.warning("peer cut", extra={"peer": connection.peer.name, "reason": reason})
        self._directory.offences.note(connection.peer, reason)
        if connection.link is not None:
            self._rpc.detach(connection.link, reason)
        self.drop(connection, reason, cut=True)


def data_address(address: str) -> str:
    """Where to bind the data lane of a control lane bound to `address`: the next port; any where any was asked for."""
    if not address.startswith("tcp://"):
        return address + IPC_DATA
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}" if port.isdecimal() and int(port) else f"{host}:0"


def _place(endpoint: str) -> str:
    """The port of a TCP endpoint, the path of another."""
    scheme, _, rest = endpoint.partition("://")
    return rest.rpartition(":")[2] if scheme == "tcp" else rest


def _own_place(descriptor: int) -> object:
    """`_place` of the endpoint that a connection came in by, or None when it is closed by now."""
    name = _ask(descriptor, sockets_of_the_system.socket.getsockname)
    if isinstance(name, tuple):
        return str(name[1])
    return name if name is None else os.fsdecode(cast(str, name)).replace("\0", "@")  # the abstract names of Linux


def _address(descriptor: int) -> object:
    """Whom a descriptor is connected to, or None when it is closed by now."""
    return _ask(descriptor, sockets_of_the_system.socket.getpeername)


def _ask(descriptor: int, what: Callable[[sockets_of_the_system.socket], object]) -> object:
    """What the system says of a connection that libzmq owns; None when it is closed by now."""
    try:
        with sockets_of_the_system.socket(fileno=os.dup(descriptor)) as twin:
            return what(twin)
    except OSError:
        return None


def _shut_down(connection: Connection) -> None:
    """Ends a connection that libzmq owns. Its descriptor may belong to another one by now: then nothing happens."""
    with contextlib.suppress(OSError), sockets_of_the_system.socket(fileno=os.dup(connection.descriptor)) as twin:
        if twin.getpeername() == connection.address:
            twin.shutdown(sockets_of_the_system.SHUT_RDWR)
