"""How does a request get to a peer that this node has no link to?

Over a cloud that both are linked with. Three parts in one file, because they are one conversation:

    asker: relay.ask {to, method} → cloud: relay.give {sender, its key and roles, method} → target: its own dispatcher

The rules:
- a direct link is always preferred, for each call anew; over a cloud goes only what has none;
- the target looks at the caller matrix with the roles of the sender, which the cloud names by the key of the sender's link.
  What the target's own directory says of that name holds more than that word, and nobody becomes a cloud by it;
- a cloud passes on over one hop and never what is itself passed on, so nothing goes in circles;
- the body is bytes to the cloud: it is never unpacked there, and may be sealed between the ends;
- whether a request that failed under way took effect is not known, so it is repeated over another cloud only where the first
  one said that it did not pass it on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from node.clock import Clock
from node.errors import Busy, Forbidden, Malformed, NotFound, PeerUnreachable
from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Lane, Method
from node.model.wire.relay import RELAY_ASK, RELAY_ASK_DATA, RELAY_GIVE, RELAY_GIVE_DATA, RelayAsk, RelayGive, RelayReply
from node.transport import limits
from node.transport.base import Answer, Blob, Call, Peer
from node.transport.bodies import error_from, pack_value, validated
from node.transport.dispatch import Dispatcher, count_down
from node.transport.frames import Kind, Message, blob_bytes, check_size, unpack_body
from node.transport.options import LinkOptions

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)

ASK: Final[Mapping[Lane, Method[RelayAsk, RelayReply]]] = {Lane.CONTROL: RELAY_ASK, Lane.DATA: RELAY_ASK_DATA}
GIVE: Final[Mapping[Lane, Method[RelayGive, RelayReply]]] = {Lane.CONTROL: RELAY_GIVE, Lane.DATA: RELAY_GIVE_DATA}
OWN: Final = frozenset({RELAY_ASK.name, RELAY_ASK_DATA.name, RELAY_GIVE.name, RELAY_GIVE_DATA.name})


class Links(Protocol):
    """What the relay asks of the core that it belongs to."""

    async def call(self, peer: str, method: Method[Q, R], body: Q, *, blobs: Sequence[Blob] = (), timeout: float) -> Answer[R]:
        """As `Transport.call`."""

    def linked(self, peer: str) -> bool:
        """Whether there is a live link to that peer."""

    def excuse_of(self, peer: str) -> str:
        """Why there is no link to a peer, as far as it is known."""


@dataclass(slots=True)
class Relayed:
    """What a cloud has passed on since it was started: requests, and their bytes there and back."""

    calls: int = 0
    bytes: int = 0


class Relay:
    """The three parts of one node; `known` tells who has a name in its directory."""

    def __init__(
        self, links: Links, dispatcher: Dispatcher, clock: Clock, options: LinkOptions, known: Callable[[str], Peer | None]
    ) -> None:
        self.relayed = Relayed()
        self._links = links
        self._dispatcher = dispatcher
        self._clock = clock
        self._options = options
        self._known = known
        self._clouds: dict[str, None] = {}
        self._room = Room(max(1, options.max_in_flight // limits.RELAYED_SHARE))
        for lane in Lane:
            dispatcher.answer(ASK[lane], partial(self._pass, lane))
            dispatcher.answer(GIVE[lane], partial(self._take, lane))

    def link(self, peer: Peer, up: bool) -> None:
        """A link has come up or gone down."""
        if Role.CLOUD in peer.roles and peer.name != self._options.name:
            if up:
                self._clouds[peer.name] = None
            else:
                self._clouds.pop(peer.name, None)

    # the asker

    async def call(self, peer: str, method: Method[Q, R], body: Q, *, blobs: Sequence[Blob], timeout: float) -> Answer[R]:
        """As `Transport.call`, for a peer without a link.

        Raises:
            PeerUnreachable: no cloud is linked that is linked with it, or a link on the way went down.
        """
        deadline = self._clock.monotonic() + timeout
        hint, busy = self._links.excuse_of(peer), None
        parts = (pack_value(body), *blobs)
        for cloud in self._ways(peer, method):
            try:
                with self._room.taken((cloud,), _weight(parts)):
                    left = deadline - self._clock.monotonic()
                    wanted = RelayAsk(to=peer, method=method.name)
                    answer = await self._links.call(cloud, ASK[method.lane], wanted, blobs=parts, timeout=left)
            except NotFound as refused:  # it did not pass it on: another one may
                hint = hint or refused.message
            except Busy as error:
                busy = error
            else:
                return _opened(answer, method, f"the reply of {peer} to {method.name}")
        raise busy or PeerUnreachable(f"no live link to '{peer}'", hint=hint)

    def _ways(self, peer: str, method: Method[Q, R]) -> tuple[str, ...]:
        if method.name in OWN or peer == self._options.name or not self._options.relay:
            return ()
        return tuple(self._clouds)

    # the cloud between them

    async def _pass(self, lane: Lane, call: Call, body: RelayAsk) -> Answer[RelayReply]:
        options = self._options
        if not options.relay or Role.CLOUD not in options.roles:
            raise NotFound(f"'{options.name}' passes nothing on", hint="transport.relay, at a node with the role cloud")
        if body.to in {options.name, call.peer.name} or not self._links.linked(body.to):
            raise NotFound(f"'{options.name}' has no link to '{body.to}' either")
        if not call.blobs or body.method in OWN:
            raise Malformed("a request to be passed on without its body, or one that is passed on already")
        sender = call.peer
        given = RelayGive(
            sender=sender.name,
            fingerprint=sender.fingerprint,
            roles=tuple(role for role in Role if role in sender.roles),
            sessions=tuple(sorted(sender.sessions)),
            method=body.method,
        )
        with self._room.taken((f"from {sender.name}", f"to {body.to}"), _weight(call.blobs)):
            left = call.deadline - self._clock.monotonic()
            answer = await self._links.call(body.to, GIVE[lane], given, blobs=call.blobs, timeout=left)
        self.relayed.calls += 1
        self.relayed.bytes += _weight(call.blobs) + _weight(answer.blobs)
        return answer

    # the target

    async def _take(self, lane: Lane, call: Call, body: RelayGive) -> Answer[RelayReply]:
        if not self._options.relay:
            raise NotFound(f"'{self._options.name}' is not asked over others", hint="transport.relay")
        if not call.blobs or body.method in OWN:
            raise Malformed("a request that was passed on without its body, or twice")
        request = Message(Kind.REQUEST, 0, body.method, call.blobs[0], call.blobs[1:], call.deadline)
        check_size(request, self._options.most(lane))
        reply = await self._dispatcher.answer_to(self._sender(body), request)
        return Answer(RelayReply(code=reply.word), (reply.body, *reply.blobs))

    def _sender(self, body: RelayGive) -> Peer:
        known = self._known(body.sender)
        if body.sender == self._options.name or (known is not None and known.fingerprint != body.fingerprint):
            raise Forbidden(
                f"'{body.sender}' has another key here than {body.fingerprint}",
                hint="one name, one key: look at `ecnode peers list`",
            )
        return known or Peer(body.sender, frozenset(body.roles) - {Role.CLOUD}, body.fingerprint, frozenset(body.sessions))


class Room:
    """Requests on their way over another node, by who they concern: `most` of each, and so many bytes of each and of all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._all = 0

    @contextmanager
    def taken(self, names: Sequence[str], weight: int) -> Iterator[None]:
        """Room for one request until the end of the block.

        Raises:
            Busy: there is none.
        """
        for name in names:
            if self._calls[name] >= self._most or self._bytes[name] + weight > limits.RELAYED_BYTES:
                raise Busy(f"{self._calls[name]} requests of {self._bytes[name]} bytes are relayed already: {name}")
        if self._all + weight > limits.RELAYED_BYTES_ALL:
            raise Busy(f"{self._all} bytes are relayed already")
        self._all += weight
        for name in names:
            self._calls[name] += 1
            self._bytes[name] += weight
        try:
            yield
        finally:
            self._all -= weight
            for name in names:
                self._bytes[name] -= weight
                count_down(self._calls, name)
                if name not in self._calls:
                    del self._bytes[name]


def _weight(blobs: Sequence[Blob]) -> int:
    return sum(map(blob_bytes, blobs))


def _opened(answer: Answer[RelayReply], method: Method[Q, R], what: str) -> Answer[R]:
    if not answer.blobs:
        raise Malformed(f"{what} came without its body")
    body = unpack_body(answer.blobs[0])
    if answer.body.code:
        raise error_from(answer.body.code, body)
    return Answer(validated(method.reply, body, what), answer.blobs[1:])
