"""Does a member take from a roster what it may, and nothing of what its config says?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from node.clock import ManualClock
from node.errors import Malformed
from node.model.cluster import Role
from node.model.member import Card
from node.model.wire.member import Roster
from node.roles.shared.neighbours import Neighbours
from node.transport.auth import Directory
from node.transport.base import Call, Peer
from node.transport.keys import Identity, new_identity
from node.transport.loopback import LoopbackHub
from node.transport.options import Dial

CLOUD = new_identity()


@dataclass
class Dials:
    """Doors that are knocked at."""

    doors: list[str] = field(default_factory=list)

    def dial(self, door: Dial) -> None:
        self.doors.append(door.address)

    def undial(self, door: Dial) -> None:
        self.doors.remove(door.address)


@dataclass
class Kept:
    """What was written down of announced keys."""

    keys: list[tuple[str, ...]] = field(default_factory=list)

    async def succeed(self, public: str, name: str, successors: Sequence[str]) -> None:
        assert (public, name) == (CLOUD.public, "cloud-1")
        self.keys.append(tuple(successors))


class Member:
    """edge-5, which hears rosters of cloud-1."""

    def __init__(self, address: str = "") -> None:
        cloud = Peer("cloud-1", frozenset({Role.CLOUD}), CLOUD.fingerprint)
        self.directory = Directory([(CLOUD.public, cloud)])
        self.dials, self.kept, self.cloud = Dials(), Kept(), cloud
        transport = LoopbackHub().transport("edge-5", {Role.EDGE}, ManualClock())
        self.neighbours = Neighbours("edge-5", new_identity().public, [(CLOUD.public, cloud)], self.directory, self.kept)
        self.neighbours.register(transport, self.dials, lambda: address)

    async def hears(self, number: int, *members: Card, next_key: str | None = None) -> None:
        roster = Roster(boot=1, number=number, next_key=next_key, members=members)
        await self.neighbours._take(Call(self.cloud, (), 0.0), roster)


def card(name: str, address: str = "", key: Identity | None = None, *roles: Role) -> Card:
    return Card(name=name, key=(key or new_identity()).public, roles=roles or (Role.EDGE,), address=address)


async def test_a_newer_roster_replaces_an_older_one_and_never_the_other_way() -> None:
    member, first, second = Member(), card("edge-1"), card("edge-2")
    await member.hears(2, second)
    await member.hears(1, first)
    assert "edge-2" in member.directory
    assert "edge-1" not in member.directory
    await member.hears(3)
    assert "edge-2" not in member.directory
    assert "cloud-1" in member.directory


async def test_what_the_config_says_about_a_name_or_a_key_stays() -> None:
    member, thief = Member(), new_identity()
    await member.hears(1, card("cloud-1", "", thief, Role.CLOUD), card("edge-1", "", CLOUD), card("edge-5", "", thief))
    assert member.directory.find(thief.public) is None
    assert member.directory.find(CLOUD.public) == member.cloud


async def test_a_roster_with_a_key_that_is_none_changes_nothing() -> None:
    member = Member()
    with pytest.raises(Malformed):
        await member.hears(1, card("edge-1"), Card(name="edge-2", key="~" * 40, roles=(Role.EDGE,)))
    assert "edge-1" not in member.directory


async def test_of_two_that_can_be_dialled_the_later_name_dials_and_the_door_is_left_when_it_goes() -> None:
    member = Member("tcp://10.0.0.5:7440")
    await member.hears(1, card("edge-1", "tcp://10.0.0.1:7440"), card("edge-9", "tcp://10.0.0.9:7440"), card("edge-3"))
    assert member.dials.doors == ["tcp://10.0.0.1:7440"]
    await member.hears(2)
    assert member.dials.doors == []


async def test_who_cannot_be_dialled_dials_everybody_who_can() -> None:
    member = Member()
    addresses = ["tcp://10.0.0.1:7440", "tcp://10.0.0.9:7440"]
    await member.hears(1, card("edge-1", addresses[0]), card("edge-9", addresses[1]), card("edge-7", "tcp://0.0.0.0:7440"))
    assert sorted(member.dials.doors) == addresses


async def test_an_announced_key_is_written_down_and_then_the_cloud_s_too() -> None:
    member, keys = Member(), [new_identity().public for _ in range(3)]
    for number, key in enumerate(keys, 1):
        await member.hears(number, next_key=key)
        assert member.directory.find(key) == member.cloud
    await member.hears(4, next_key=keys[2])  # again: nothing new
    assert member.kept.keys == [(keys[0],), (keys[0], keys[1]), (keys[1], keys[2])]
    assert member.directory.find(keys[0]) is None
    assert member.directory.keys_of(CLOUD.public) == (CLOUD.public, keys[1], keys[2])
