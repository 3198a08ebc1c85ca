"""Which peers can be reached now, over which connection, and since when is one silent?

A peer may have several links at once (both sides dialled; an old connection that has not noticed its end): the newest one
that is up carries the calls, the others only answer. Watchers hear of the first link of a peer that comes up and of the last
that goes down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from node import __version__
from node.clock import Clock
from node.errors import EcnodeError, Forbidden, Unavailable
from node.transport import limits
from node.transport.base import LinkState, LinkWatcher, Peer
from node.transport.bodies import complaint
from node.transport.frames import Kind, Message, pack_body, unpack_body
from node.transport.link import Link, Wire
from node.transport.options import LinkOptions

log = logging.getLogger(__name__)


class Links:
    """The link table of one node: greeting, heartbeats, up and down."""

    def __init__(self, clock: Clock, options: LinkOptions, lost: Callable[[Link, str], None]) -> None:
        self._clock = clock
        self._options = options
        self._lost = lost
        self._links: dict[str, list[Link]] = {}
        self._watchers: list[LinkWatcher] = []
        self._doomed: list[Wire] = []
        self._pings = 0

    def watch(self, watcher: LinkWatcher) -> None:
        """Has `watcher(peer, up)` called from now on."""
        self._watchers.append(watcher)

    def attach(self, wire: Wire, peer: Peer) -> Link:
        """Takes a new connection of `peer` into the table and greets it."""
        link = Link(wire, peer, self._clock.monotonic())
        table = self._links.setdefault(peer.name, [])
        table.append(link)
        for old in table[: -limits.LINKS_PER_PEER]:
            self.cut(old, "newer links took its place")
        body = pack_body(__version__)
        self._try_send(link, Message(Kind.HELLO, self._options.boot, self._options.name, body))
        return link

    def detach(self, link: Link, reason: str) -> None:
        """Forgets a connection that has ended. Harmless when repeated."""
        if link.ended:
            return
        link.ended = True
        name = link.peer.name
        table = self._links[name]
        table.remove(link)
        if not table:
            del self._links[name]
        was_up, link.up = link.up, False
        self._lost(link, reason)
        if was_up:
            log.info("link down", extra={"peer": name, "reason": reason})
            if self.find(name) is None:
                self._tell(link.peer, up=False)

    def cut(self, link: Link, reason: str) -> None:
        """Forgets a connection and ends it."""
        self.detach(link, reason)
        link.wire.cut(reason)

    def find(self, name: str) -> Link | None:
        """The newest link to `name` that is up."""
        return next((link for link in reversed(self._links.get(name, ())) if link.up), None)

    def states(self) -> tuple[LinkState, ...]:
        """One state for each peer that can be reached."""
        chosen = (self.find(name) for name in sorted(self._links))
        return tuple(link.state() for link in chosen if link is not None)

    def greeted(self, link: Link, hello: Message) -> None:
        """Takes the greeting of the other side; from then on the link is up.

        The key has said already who it is; a name that differs is a wrong record or a lie, and both are refused.
        """
        if hello.word != link.peer.name:
            error = Forbidden(
                f"this key is enrolled as '{link.peer.name}', not as '{hello.word[:63]}'",
                hint="give the node that name, or enrol its key under the other",
            )
            log.warning("peer claims another name", extra={"peer": link.peer.name, "claimed": hello.word})
            self.complain(link, error)
            self.detach(link, "claimed another name")
            self._doomed.append(link.wire)  # cut with the next heartbeat: the complaint has to get out first
            return
        if link.up:
            return
        release = str(unpack_body(hello.body))[: limits.WORD_CHARS]
        first = self.find(link.peer.name) is None
        link.up = True
        log.info("link up", extra={"peer": link.peer.name, "release": release, "boot": hello.id})
        self._ping(link)
        if first:
            self._tell(link.peer, up=True)

    def complain(self, link: Link, error: EcnodeError) -> None:
        """Tells the other side of `link` what is wrong with the link itself."""
        self._try_send(link, complaint(error))

    def ponged(self, link: Link, pong: Message) -> None:
        """Takes the answer to a heartbeat."""
        if pong.id == link.ping:
            link.rtt_s = self._clock.monotonic() - link.ping_at

    async def beat(self) -> None:
        """Sends heartbeats and ends links that have been silent too long; runs until it is cancelled."""
        while True:
            await self._clock.sleep(self._options.heartbeat)
            self._cut_doomed()
            now = self._clock.monotonic()
            for link in list(self._every()):
                if now - link.heard >= self._options.suspect_after:
                    self.cut(link, f"silent for {now - link.heard:.1f} s")
                elif link.up:
                    self._ping(link)

    def end(self, reason: str) -> None:
        """Cuts every link."""
        self._cut_doomed()
        for link in list(self._every()):
            self.cut(link, reason)

    def _every(self) -> Iterator[Link]:
        for table in self._links.values():
            yield from table

    def _cut_doomed(self) -> None:
        doomed, self._doomed = self._doomed, []
        for wire in doomed:
            wire.cut("claimed another name")

    def _ping(self, link: Link) -> None:
        self._pings += 1
        link.ping, link.ping_at = self._pings, self._clock.monotonic()
        self._try_send(link, Message(Kind.PING, link.ping))

    def _try_send(self, link: Link, message: Message) -> None:
        try:
            link.send(message)
        except Unavailable as error:  # a full queue or a dead wire: the missing answer will end the link
            log.debug("message of the link not sent", extra={"peer": link.peer.name, "reason": error.message})

    def _tell(self, peer: Peer, *, up: bool) -> None:
        for watcher in self._watchers:
            try:
                watcher(peer, up)
            except Exception:  # part of the dispatcher: one watcher must not blind the others
                log.exception("link watcher failed", extra={"peer": peer.name})
