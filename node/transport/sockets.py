"""How is one ZeroMQ socket set up, and how does the event loop drive it?

A socket's descriptor is watched with `add_reader`, which works with every loop; never one future per message. The descriptor
is edge-triggered and any send may swallow an edge, hence two rules: read until EVENTS says that nothing is left, and look at
EVENTS again after every send. Measured: asking EVENTS costs 3 µs, catching `Again` 7.5 µs. That question in its turn may take
credit in unnoticed, and a ROUTER cannot be asked about one peer: whoever found the queue full tries again by the clock.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import zmq
from zmq.backend import Socket as RawSocket
from zmq.utils.monitor import parse_monitor_message

from node.clock import Clock
from node.errors import Busy
from node.model.wire.method import Lane
from node.transport import limits
from node.transport.auth import DOMAIN, Directory
from node.transport.base import Blob
from node.transport.frames import Message
from node.transport.keys import Identity
from node.transport.options import Dial, LinkOptions
from node.transport.rpc import Rpc

Context: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"
Socket: TypeAlias = "zmq.Socket[bytes]"

NOBLOCK: Final = int(zmq.NOBLOCK)
SNDMORE: Final = int(zmq.SNDMORE)
READABLE: Final = int(zmq.POLLIN)
EVENTS: Final = int(zmq.EVENTS)
ROUTING_ID_BYTES: Final = 16
KEPT_BYTES: Final = 2 * limits.MESSAGE_BYTES  # of freed memory at the heap's end, 16 MiB at the most
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
HANDSHAKE_MS: Final = 4000
FULL_S: Final = 0.01  # between two attempts to send into a full queue: a turn of 20 µs, 0.2 % of a core
LIBZMQ_HEARTBEAT: Final = (2000, 6000, 8000)  # interval, time-out, TTL in ms: ours sees hung programs, this one dead machines
ASKED_ONLY: Final = 0  # the interval at a ROUTER: a DEALER's heartbeats carry the TTL after which it is taken for dead here
REFUSED: Final = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
ADMITTED: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
BROKEN_HANDSHAKE: Final = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)


# the methods without pyzmq's own layer, which turns every number into an enumeration first
_get: Final = cast(Callable[[Socket, int], int], RawSocket.get)
_send: Final = cast(Callable[[Socket, Blob, int], None], RawSocket.send)


@dataclass(frozen=True, slots=True)
class Station:
    """What all sockets of one transport share."""

    context: Context
    identity: Identity
    directory: Directory
    rpc: Rpc
    clock: Clock
    options: LinkOptions


def new_context() -> Context:
    """A context of its own per transport: ZAP has one handler per context."""
    seed_libc()
    _keep_freed_memory()
    return zmq.Context()


def _keep_freed_memory() -> None:
    """Lets glibc reuse the memory of large messages instead of giving it back and asking for it with each one.

    Only both thresholds together help. Measured by the design: 6 MB sent and received in 0.9 ms instead of 11.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def seed_libc() -> None:
    """Seeds `rand`, from which libzmq draws the first routing id that it gives out.

    Unseeded they are the same at each start, and an admitted peer that claims the next one makes libzmq abort the process.
    """
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "big"))


def router_socket(station: Station, lane: Lane, addresses: Sequence[str]) -> Socket:
    """A ROUTER, to be bound to `addresses`, that admits only whom the ZAP thread admits."""
    seed_libc()
    socket: Socket = station.context.socket(zmq.ROUTER)
    _common(socket, lane, addresses, station.options)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, station.identity.secret.encode())
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)  # 1 would let a peer take over another one's messages
    socket.setsockopt(zmq.BACKLOG, limits.BACKLOG)
    socket.setsockopt(zmq.HEARTBEAT_IVL, ASKED_ONLY)
    return socket


def dealer_socket(context: Context, identity: Identity, lane: Lane, dial: Dial, options: LinkOptions) -> Socket:
    """An unconnected DEALER that speaks only to the owner of `dial.public`."""
    socket: Socket = context.socket(zmq.DEALER)
    _common(socket, lane, (dial.address,), options)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, identity.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, identity.secret.encode())
    socket.setsockopt(zmq.CURVE_SERVERKEY, dial.public.encode())
    socket.setsockopt(zmq.ROUTING_ID, _routing_id())
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, max(int(options.redial * 1000), 1))
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, max(int(options.redial * 3000), 3))
    socket.setsockopt(zmq.CONNECT_TIMEOUT, 3000)
    return socket


def _common(socket: Socket, lane: Lane, addresses: Sequence[str], options: LinkOptions) -> None:
    interval, timeout, ttl = LIBZMQ_HEARTBEAT
    waiting = limits.CONTROL_MESSAGES if lane is Lane.CONTROL else limits.DATA_MESSAGES
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.MAXMSGSIZE, options.most(lane)),
        (zmq.SNDHWM, waiting),
        (zmq.RCVHWM, waiting),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.HEARTBEAT_IVL, interval),
        (zmq.HEARTBEAT_TIMEOUT, timeout),
        (zmq.HEARTBEAT_TTL, ttl),
        (zmq.IPV6, any("[" in address for address in addresses)),
    ):
        socket.setsockopt(option, value)


def _routing_id() -> bytes:
    """An address that nobody guesses, new for each connection; ids that open with 0 belong to libzmq."""
    return bytes((os.urandom(1)[0] | 1,)) + os.urandom(ROUTING_ID_BYTES - 1)


class Pump:
    """Drives one socket from the running loop: `read` takes one burst, `write` sends what waits.

    The owner closes the socket, after the pump.
    """

    def __init__(self, socket: Socket, read: Callable[[], None], write: Callable[[], None], most: int) -> None:
        self._socket = socket
        self._read = read
        self._write = write
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._scheduled: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._open = True
        self.turning = False
        self._loop.add_reader(self._descriptor, self.turn)
        self.poke()  # an edge may be gone already

    def poke(self) -> None:
        """Has a turn at the end of this one of the loop: what is sent until then leaves together."""
        if self._scheduled is None and self._open and not self.turning:
            self._scheduled = self._loop.call_soon(self.turn)

    def sent(self) -> None:
        """To be called after a send: outside a turn it may have swallowed the edge of what has arrived."""
        if self._scheduled is None and not self.turning and self._readable():
            self.poke()

    def full(self) -> None:
        """To be called where the queue had no room for what waits: there is another turn soon, whatever swallows its edge."""
        if self._later is None and self._open:
            self._later = self._loop.call_later(FULL_S, self._try_again)

    def _try_again(self) -> None:
        self._later = None
        self.turn()

    def turn(self) -> None:
        """Sends what waits, reads what is there, up to the cap, and sends what each burst gave rise to.

        Writing comes before the question for EVENTS, so that one question serves both rules.
        """
        if self.turning:
            return
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        self.turning = True
        try:
            self._write()
            for _ in range(self._most):
                if not self._readable():
                    return
                self._read()
                if self._open:
                    self._write()
        finally:
            self.turning = False
        self.poke()

    @property
    def has_more(self) -> bool:
        """Whether the last turn has left something to read."""
        return self._scheduled is not None and not self.turning

    def close(self) -> None:
        """Stops watching. Harmless when repeated."""
        if not self._open:
            return
        self._open = False
        for handle in (self._scheduled, self._later):
            if handle is not None:
                handle.cancel()
        self._loop.remove_reader(self._descriptor)

    def _readable(self) -> bool:
        return self._open and bool(_get(self._socket, EVENTS) & READABLE)


class Monitor:
    """Tells `seen(event, value)` of a socket's connections, from the running loop."""

    def __init__(self, socket: Socket, events: int, seen: Callable[[int, int], None]) -> None:
        self._watched = socket
        self._seen = seen
        self._socket: Socket = socket.get_monitor_socket(events)
        self._pump = Pump(self._socket, self._read, lambda: None, limits.MONITOR_EVENTS)

    def drain(self) -> None:
        """Hears now all that has happened already: in a storm that is more than one turn takes."""
        self._pump.turn()
        while self._pump.has_more:
            self._pump.turn()

    def close(self) -> None:
        """Ends the monitor; before the watched socket is closed. Harmless when repeated."""
        self._pump.close()
        if not self._socket.closed:
            self._watched.disable_monitor()
            self._socket.close(0)

    def _read(self) -> None:
        event = parse_monitor_message(self._socket.recv_multipart(NOBLOCK))
        self._seen(int(event["event"]), int(event["value"]))


def send_frames(socket: Socket, frames: Sequence[Blob]) -> bool:
    """Sends one burst; False when the socket is full, and then nothing of it was sent.

    Everything is copied: the caller may reuse its buffers at once, and pyzmq's thread for buffers that are not never starts.
    """
    if _send_once(socket, frames):
        return True
    # at the high-water mark a send fails although credit has come; asking EVENTS makes libzmq take it in
    _get(socket, EVENTS)
    return _send_once(socket, frames)


def _send_once(socket: Socket, frames: Sequence[Blob]) -> bool:
    last = len(frames) - 1
    try:
        for place, frame in enumerate(frames):
            _send(socket, frame, NOBLOCK if place == last else NOBLOCK | SNDMORE)
    except zmq.Again:
        return False
    return True


def receive_frames(socket: Socket) -> list[zmq.Frame]:
    """The frames of the burst that is ready, or what is left of it; those above any limit are read and dropped."""
    frames: list[zmq.Frame] = []
    more = True
    while more:
        frame = socket.recv(NOBLOCK, copy=False)
        more = frame.more
        if len(frames) <= limits.BLOBS + 1:  # one above what `decode` accepts, so that it refuses
            frames.append(frame)
    return frames


class Outbox:
    """Messages to one peer on their way into the socket, bounded by number and by bytes."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._blobs = 0
        self._enough = limits.BURST_FIRST

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def push(self, message: Message) -> bool:
        """Appends; True when enough waits to be sent before this turn of the loop ends.

        That is a few messages at first, then twice as many each time: both ends work at once instead of waiting for one
        another's whole burst, and a long row of messages still leaves in long bursts.

        Raises:
            Busy: no room.
        """
        number, size = len(self._waiting), self._bytes + message.carried
        if number >= limits.OUT_QUEUE_MESSAGES or size > limits.OUT_QUEUE_BYTES:
            raise Busy(f"{number} messages ({self._bytes} bytes) wait already", hint="the peer reads too slowly")
        self._waiting.append(message)
        self._bytes = size
        self._blobs += len(message.blobs)
        return number + 1 >= self._enough or size >= limits.BURST_BYTES

    def drain(self, send: Callable[[list[Message]], bool], now: float) -> bool:
        """Sends from the front, a burst at a time, until nothing is left (True) or `send` says that the socket is full.

        A request that nobody waits for any more is left out.
        """
        number = len(self._waiting)
        self._enough = min(2 * self._enough, limits.BURST_MESSAGES) if number >= self._enough else limits.BURST_FIRST
        if number <= limits.BURST_MESSAGES and self._bytes <= limits.BURST_BYTES and self._blobs <= limits.BLOBS:
            return self._drain_at_once(send, now)
        while self._waiting:
            burst = self._burst(now)
            if burst and not send(burst):
                return False
            if self._waiting:  # sending may have found that the connection is gone, and cleared this
                self._forget(burst)
        return True

    def _drain_at_once(self, send: Callable[[list[Message]], bool], now: float) -> bool:
        """As `drain` of what is one burst: not a message is looked at twice."""
        burst = [message for message in self._waiting if message.deadline > now]
        if burst and not send(burst):
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Drops everything: the connection has ended."""
        self._waiting.clear()
        self._bytes = self._blobs = 0

    def _burst(self, now: float) -> list[Message]:
        """The next messages that leave together, still in the queue; those in front of them that are too late are gone."""
        while self._waiting and self._waiting[0].deadline <= now:
            self._forget((self._waiting[0],))
        burst: list[Message] = []
        size = blobs = 0
        for message in self._waiting:
            size += message.carried
            blobs += len(message.blobs)
            if burst and (
                size > limits.BURST_BYTES
                or blobs > limits.BLOBS
                or len(burst) >= limits.BURST_MESSAGES
                or message.deadline <= now
            ):
                break
            burst.append(message)
        return burst

    def _forget(self, burst: Sequence[Message]) -> None:
        for message in burst:
            self._waiting.popleft()
            self._bytes -= message.carried
            self._blobs -= len(message.blobs)
