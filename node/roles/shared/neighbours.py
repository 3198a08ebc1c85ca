"""Whom does a member let in, and whom does it dial, beside those of its own config?

What the cloud's newest roster says, but never in the place of what the config says: a name or a key of the config's stays as it
is. Of two members that can both be dialled the one whose name comes later dials.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from node.errors import Conflict
from node.model.cluster import Received
from node.model.member import NEXT_KEYS, Card, can_be_dialled
from node.model.wire.member import MEMBER_ROSTER, Roster
from node.transport.auth import Directory
from node.transport.base import Answer, Call, Dialler, Peer, Transport
from node.transport.keys import fingerprint, key_bytes
from node.transport.options import Dial

log = logging.getLogger(__name__)

CLOUDS_MOST: Final = 16  # rosters of different clouds that are kept


class KnownKeys(Protocol):
    """Where it is kept which keys a cloud has announced."""

    async def succeed(self, public: str, name: str, successors: Sequence[str]) -> None:
        """Remembers that the owner of `public` also answers to these keys."""


class Neighbours:
    """The receiving side of the rosters. `fixed` are the peers of the config and of the join, by key."""

    def __init__(
        self, name: str, public_key: str, fixed: Sequence[tuple[str, Peer]], directory: Directory, keys: KnownKeys
    ) -> None:
        self._name = name
        self._public_key = public_key
        self._fixed = tuple(fixed)
        self._directory = directory
        self._keys = keys
        self._rosters: dict[str, Roster] = {}
        self._dialled: dict[str, Dial] = {}
        self._dialler: Dialler | None = None
        self._address: Callable[[], str] = str

    def register(self, transport: Transport, dialler: Dialler, address: Callable[[], str]) -> None:
        """Takes rosters; only before the transport starts. `address` tells where others dial this node."""
        self._dialler = dialler
        self._address = address
        transport.answer(MEMBER_ROSTER, self._take)

    async def _take(self, call: Call, roster: Roster) -> Answer[Received]:
        sender = call.peer.name
        known = self._rosters.get(sender)
        if known is None or (roster.boot, roster.number) > (known.boot, known.number):
            for card in roster.members:
                key_bytes(card.key)
            if known is None and len(self._rosters) >= CLOUDS_MOST:
                raise Conflict(f"{CLOUDS_MOST} clouds sent their rosters already", hint="join fewer of them")
            if roster.next_key is not None:
                await self._go_along(sender, roster.next_key)
            self._rosters[sender] = roster
            cards = dict(self._cards())
            log.info("roster taken", extra={"peer": sender, "members": len(cards)})
            self._directory.replace([*self._fixed, *((key, _peer(card)) for key, card in cards.items())])
            self._dial(cards)
        return Answer(Received())

    async def _go_along(self, cloud: str, next_key: str) -> None:
        """Takes the cloud's next key too; the cloud hears of it once it is written down."""
        public = next((public for public, peer in self._fixed if peer.name == cloud), None)
        if public is not None and next_key not in self._directory.keys_of(public):
            successors = (*self._directory.keys_of(public)[1:], next_key)[-NEXT_KEYS:]
            await self._keys.succeed(public, cloud, successors)
            self._directory.succeed(public, successors)
            log.info("cloud announced its next key", extra={"peer": cloud, "fingerprint": fingerprint(next_key)})

    def _cards(self) -> Iterator[tuple[str, Card]]:
        names = {self._name, *(peer.name for _, peer in self._fixed)}
        keys = {self._public_key, *(public for public, _ in self._fixed)}
        for roster in self._rosters.values():
            for card in roster.members:
                if card.name not in names and card.key not in keys:
                    names.add(card.name)
                    keys.add(card.key)
                    yield card.key, card

    def _dial(self, cards: Mapping[str, Card]) -> None:
        assert self._dialler is not None, "registered before the first roster"
        wanted = {card.name: Dial(card.address, card.key) for card in cards.values() if self._is_mine_to_dial(card)}
        for name, door in list(self._dialled.items()):
            if wanted.get(name) != door:
                self._dialler.undial(door)
                del self._dialled[name]
        for name in wanted.keys() - self._dialled.keys():
            self._dialler.dial(wanted[name])
            self._dialled[name] = wanted[name]

    def _is_mine_to_dial(self, card: Card) -> bool:
        return can_be_dialled(card.address) and (not self._address() or self._name > card.name)


def _peer(card: Card) -> Peer:
    return Peer(card.name, frozenset(card.roles), fingerprint(card.key), frozenset(card.sessions))
