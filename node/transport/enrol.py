"""How does a newcomer register its own key with the key of a join token?

A straight script over one blocking socket, for a command: greet, ask `member.join`, read the answer. The door's key stands in
the token, so whoever answers is the server that made it. Everything read here is bounded as on any link.
"""

from __future__ import annotations

from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from node.clock import Clock
from node.errors import DeadlineExceeded, PeerRefused, PeerUnreachable
from node.model.wire.member import MEMBER_JOIN, JoinReply, JoinRequest
from node.model.wire.method import Lane
from node.transport import limits
from node.transport.bodies import error_of, pack_value, validated
from node.transport.frames import Kind, Message, decode, encode, pack_body, unpack_body
from node.transport.jointoken import Ticket, joiner_name
from node.transport.options import Dial, LinkOptions
from node.transport.sockets import (
    ADMITTED,
    BROKEN_HANDSHAKE,
    DISCONNECTED,
    REFUSED,
    Socket,
    dealer_socket,
    new_context,
    receive_frames,
)

_ASKED: Final = 1


def enrol(ticket: Ticket, address: str, request: JoinRequest, clock: Clock, timeout: float) -> JoinReply:
    """Shows the token at `address` and registers what `request` says. Blocks, `timeout` seconds at the most.

    Repeating it with the same token and the same key is harmless.

    Raises:
        PeerUnreachable: nobody answers there.
        PeerRefused: that door does not know the token: it was used, has expired or was revoked.
        DeadlineExceeded: it was reached and did not answer.
        Rejected, Unavailable: what it refused the registration with.
    """
    name = joiner_name(ticket.identity.public)
    context = new_context()
    try:
        socket = dealer_socket(context, ticket.identity, Lane.CONTROL, Dial(address, ticket.server), LinkOptions(name))
        monitor: Socket = socket.get_monitor_socket(ADMITTED | REFUSED | BROKEN_HANDSHAKE | DISCONNECTED)
        try:
            return _Registration(socket, monitor, address, clock, clock.monotonic() + timeout).run(name, request)
        finally:
            socket.disable_monitor()  # first: libzmq would block on an event that nobody can take any more
            monitor.close(0)
            socket.close(0)
    finally:
        context.term()


class _Registration:
    """One attempt."""

    def __init__(self, socket: Socket, monitor: Socket, address: str, clock: Clock, deadline: float) -> None:
        self._socket = socket
        self._monitor = monitor
        self._address = address
        self._clock = clock
        self._deadline = deadline

    def run(self, name: str, request: JoinRequest) -> JoinReply:
        self._knock()
        self._say(Message(Kind.HELLO, 0, name, pack_body([request.version, ""])))
        self._hear(Kind.HELLO)
        self._say(Message(Kind.REQUEST, _ASKED, MEMBER_JOIN.name, pack_value(request), deadline=self._deadline))
        reply = self._hear(Kind.REPLY)
        return validated(JoinReply, unpack_body(reply.body), "the answer to the registration")

    def _knock(self) -> None:
        self._socket.connect(self._address)
        if not self._monitor.poll(self._left_ms()):
            raise PeerUnreachable(f"nobody answers at {self._address}", hint="is that the cloud's peers address?")
        event = int(parse_monitor_message(self._monitor.recv_multipart())["event"])
        if event == REFUSED:
            raise PeerRefused(
                "the door does not know this join token: it was used, has expired or was revoked",
                hint="make a new one there: ecnode token create --role edge",
            )
        if event & BROKEN_HANDSHAKE:
            raise PeerUnreachable(f"{self._address} is not the door that made this token", hint="check the address")

    def _say(self, message: Message) -> None:
        if not self._socket.poll(self._left_ms(), zmq.POLLOUT):
            raise DeadlineExceeded(f"{self._address} does not read")
        self._socket.send_multipart(encode((message,), self._clock.monotonic()))

    def _hear(self, kind: Kind) -> Message:
        """The next message of that kind; heartbeats are passed over, a complaint is raised."""
        both = zmq.Poller()
        both.register(self._socket, zmq.POLLIN)
        both.register(self._monitor, zmq.POLLIN)
        while ready := dict(both.poll(self._left_ms())):
            if self._socket not in ready:
                raise PeerUnreachable(f"{self._address} closed the connection", hint="does another node show the same token?")
            frames = [frame.buffer for frame in receive_frames(self._socket)]
            for message in decode(frames, self._clock.monotonic(), limits.CONTROL_BYTES):
                if message.kind is Kind.ERROR:
                    raise error_of(message)
                if message.kind is kind:
                    return message
        raise DeadlineExceeded(f"{self._address} did not answer the registration")

    def _left_ms(self) -> int:
        return max(int((self._deadline - self._clock.monotonic()) * 1000), 0)
