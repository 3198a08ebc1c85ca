"""How do members hear of each other, so that they can talk without the cloud between them?

Each member that is linked is sent its roster when it comes and whenever it has changed. A member that others can dial hears of
everybody, because it has to admit them; one that only dials out hears of those that it can dial.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from node.clock import Clock
from node.errors import EcnodeError
from node.model.cluster import Role
from node.model.member import Card, MemberState, can_be_dialled
from node.model.wire.member import MEMBER_ROSTER, Roster
from node.roles.cloud.admission import Admission
from node.roles.shared.registry import Registry
from node.transport.base import Peer, Transport

log = logging.getLogger(__name__)

SEND_TIMEOUT_S: Final = 3.0
GATHER_S: Final = 0.2  # a thousand members that come together are one change each 200 ms, not a thousand
AGAIN_S: Final = 5.0  # to a member that did not take its roster


class Rosters:
    """The sending side, at the cloud."""

    def __init__(self, admission: Admission, registry: Registry, transport: Transport, clock: Clock, boot: int) -> None:
        self._admission = admission
        self._registry = registry
        self._transport = transport
        self._clock = clock
        self._boot = boot
        self._number = 0
        self._taken: dict[str, tuple[Card, ...]] = {}
        self._addresses: dict[str, str] = {}
        self._next_key: str | None = None
        self._aware: set[str] = set()
        self._wake = asyncio.Event()
        admission.changed = self._wake.set
        registry.when_changed(self._reported)
        transport.watch(self._link)

    def announce(self, next_key: str) -> None:
        """Has every member told which key this cloud will go over to."""
        if next_key != self._next_key:
            self._next_key = next_key
            self._aware.clear()
            self._taken.clear()
            self._wake.set()

    def unaware(self) -> tuple[str, ...]:
        """The admitted members that have not acknowledged that key."""
        return tuple(card.name for card in self._cards() if card.name not in self._aware)

    async def run(self) -> None:
        """Sends until cancelled."""
        everybody: tuple[Card, ...] = ()
        reachable: tuple[Card, ...] = ()
        changed = True
        while True:
            self._wake.clear()
            if changed:
                everybody = self._cards()
                reachable = tuple(card for card in everybody if card.address)
            async with asyncio.TaskGroup() as sending:
                for link in self._transport.links():
                    cards = self._for(link.peer, everybody, reachable)
                    if Role.CLOUD not in link.peer.roles and self._taken.get(link.peer.name) != cards:
                        self._number += 1
                        roster = Roster(boot=self._boot, number=self._number, next_key=self._next_key, members=cards)
                        sending.create_task(self._send(link.peer.name, roster))
            try:
                async with self._clock.timeout(AGAIN_S):
                    await self._wake.wait()
                changed = True
            except TimeoutError:
                changed = False
                continue
            await self._clock.sleep(GATHER_S)

    async def _send(self, name: str, roster: Roster) -> None:
        try:
            await self._transport.call(name, MEMBER_ROSTER, roster, timeout=SEND_TIMEOUT_S)
        except EcnodeError as error:
            log.info("roster not taken", extra={"peer": name, "reason": error.message})
            return
        if roster.next_key == self._next_key:
            self._taken[name] = roster.members
            if roster.next_key is not None:
                self._aware.add(name)

    def _cards(self) -> tuple[Card, ...]:
        return tuple(
            Card(
                name=member.name,
                key=member.key,
                roles=member.roles,
                sessions=member.sessions,
                address=self._addresses.get(member.name, ""),
            )
            for member in self._admission.all()
            if member.state is MemberState.ADMITTED
        )

    def _for(self, peer: Peer, everybody: tuple[Card, ...], reachable: tuple[Card, ...]) -> tuple[Card, ...]:
        if not self._addresses.get(peer.name):
            return reachable  # one for all who only dial out: nobody of them is in it
        return tuple(card for card in everybody if card.name != peer.name)

    def _reported(self, name: str) -> None:
        report = self._registry.report(name)
        address = report.address if report is not None and can_be_dialled(report.address) else ""
        if self._addresses.get(name, "") != address:
            self._addresses[name] = address
            self._wake.set()

    def _link(self, peer: Peer, up: bool) -> None:
        self._taken.pop(peer.name, None)
        if up:
            self._wake.set()
