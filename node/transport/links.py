"""Which peers can be reached now, over which connection, and since when is one silent?

A peer may have several links at once (both sides dialled; an old connection that has not noticed its end): the newest one
that is up carries the calls, the others only answer. Watchers hear of the first link of a peer that comes up and of the last
that goes down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from typing import Final

from node import __version__
from node.clock import Clock
from node.errors import EcnodeError, Forbidden, Malformed, Unavailable
from node.model.wire.method import Lane
from node.transport import limits
from node.transport.base import LinkState, LinkWatcher, Peer
from node.transport.bodies import complaint
from node.transport.frames import Kind, Message, pack_body, unpack_body
from node.transport.link import Link, Wire
from node.transport.options import LinkOptions

log = logging.getLogger(__name__)


RTT_BEATS: Final = 4  # heartbeats between two measures of the round trip while the other side is heard anyway


class Links:
    """The link table of one node: greeting, heartbeats, up and down."""

    def __init__(self, clock: Clock, options: LinkOptions, lost: Callable[[Link, str, Collection[Lane]], None]) -> None:
        self._clock = clock
        self._options = options
        self._lost = lost
        self._links: dict[str, list[Link]] = {}
        self._watchers: list[LinkWatcher] = []
        self._doomed: list[Link] = []
        self._pings = 0
        self._rtt_every = RTT_BEATS * options.heartbeat

    def watch(self, watcher: LinkWatcher) -> None:
        """Has `watcher(peer, up)` called from now on."""
        self._watchers.append(watcher)

    def attach(self, wire: Wire, peer: Peer, data: Wire | None = None) -> Link:
        """Takes a new control connection of `peer` into the table and greets it; `data` may come later."""
        link = Link(wire, peer, self._clock.monotonic(), data)
        table = self._links.setdefault(peer.name, [])
        table.append(link)
        for old in table[: -limits.LINKS_PER_PEER]:
            self.detach(old, "newer links took its place")
        body = pack_body([__version__, wire.data_place])
        self._try_send(link, Message(Kind.HELLO, self._options.boot, self._options.name, body))
        return link

    def attach_data(self, link: Link, wire: Wire) -> None:
        """The data connection of a link has come, or a new one after it was lost."""
        link.data = wire
        if link.greeted and not link.up:
            self._came_up(link)

    def detach_data(self, link: Link, wire: Wire, reason: str) -> None:
        """Forgets the data connection of a link, which stays up until `suspect_after`. Harmless when repeated."""
        if link.ended or link.data is not wire:
            return
        log.info("data lane lost", extra={"peer": link.peer.name, "reason": reason})
        link.data, link.data_lost = None, self._clock.monotonic()
        self._lost(link, reason, (Lane.DATA,))

    def detach(self, link: Link, reason: str) -> None:
        """Forgets a link of which a connection has ended, and ends what is left of it. Harmless when repeated."""
        if link.ended:
            return
        link.ended = True
        link.cut(reason)
        name = link.peer.name
        table = self._links[name]
        table.remove(link)
        if not table:
            del self._links[name]
        was_up, link.up = link.up, False
        self._lost(link, reason, frozenset(Lane))
        if was_up:
            self._went_down(link, reason)

    def find(self, name: str) -> Link | None:
        """The newest link to `name` that is up."""
        for link in reversed(self._links.get(name, ())):
            if link.up:
                return link
        return None

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
            self._doomed.append(link)  # ended with the next heartbeat: the complaint has to get out first
            return
        if link.greeted or link in self._doomed:
            return
        match unpack_body(hello.body):
            case [str(release), str(place)]:
                link.greeted, link.release, link.boot = True, release[: limits.WORD_CHARS], hello.id
            case _:
                raise Malformed("a greeting that does not say the release and where data goes", hint="[release, place]")
        link.wire.open_data(place)
        if link.data is not None:
            self._came_up(link)

    def _came_up(self, link: Link) -> None:
        first = self.find(link.peer.name) is None
        link.up = True
        log.info("link up", extra={"peer": link.peer.name, "release": link.release, "boot": link.boot})
        self._ping(link)
        if first:
            self._tell(link.peer, up=True)

    def _went_down(self, link: Link, reason: str) -> None:
        log.info("link down", extra={"peer": link.peer.name, "reason": reason})
        if self.find(link.peer.name) is None:
            self._tell(link.peer, up=False)

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
                    self.detach(link, f"silent for {now - link.heard:.1f} s")
                elif link.greeted and (now - link.heard >= self._options.heartbeat or now >= link.ping_at + self._rtt_every):
                    self._ping(link)  # whoever was heard a moment ago lives: then only now and then, for the round trip
                if link.up and link.data is None and now - link.data_lost >= self._options.suspect_after:
                    link.up = False  # until there is one again: the control connection has done no wrong
                    self._went_down(link, f"without a data lane for {now - link.data_lost:.1f} s")

    def end(self, reason: str) -> None:
        """Cuts every link."""
        self._cut_doomed()
        for link in list(self._every()):
            self.detach(link, reason)

    def _every(self) -> Iterator[Link]:
        for table in self._links.values():
            yield from table

    def _cut_doomed(self) -> None:
        doomed, self._doomed = self._doomed, []
        for link in doomed:
            self.detach(link, "claimed another name")

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
