"""Does a node keep out of a private session whom its record does not invite?"""

from __future__ import annotations

from pathlib import Path
from typing import cast
from unittest.mock import NonCallableMock

import pytest
from wire_examples import EXAMPLES

from node.clock import ManualClock
from node.errors import Forbidden
from node.model.cluster import Role
from node.model.wire.session import SessionCreate, SessionSay
from node.pipeline.federated.identity import load_or_create
from node.roles.federated.memory import Memory
from node.roles.federated.peer import SessionPeer
from node.roles.federated.policy import Policy
from node.transport.base import Call, Peer

CREATE = cast(SessionCreate, EXAMPLES["session.create"][0])
SAY = cast(SessionSay, EXAMPLES["session.say"][0])
SPEC = CREATE.spec
OTHER = frozenset({f"s-{9:026d}"})


def a_peer(name: str, sessions: frozenset[str]) -> Peer:
    return Peer(name, frozenset({Role.FEDERATED}), "F", sessions)


def a_node(folder: Path, *known: Peer) -> SessionPeer:
    never = NonCallableMock(spec=())  # whoever is refused reaches nothing of this
    policy = Policy("auto", frozenset(), frozenset(), 0)
    records = {peer.name: peer for peer in known}
    return SessionPeer(
        "party-z",
        load_or_create(folder / "signing.key"),
        policy,
        Memory(folder),
        data=never,
        store=never,
        transport=never,
        delivery=never,
        spawner=never,
        clock=ManualClock(),
        news=never,
        members=records.get,
    )


async def test_a_coordinator_that_is_invited_to_other_sessions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match=f"'{SPEC.coordinator}' may not take part in session {SPEC.session}"):
        await a_node(tmp_path)._create(Call(a_peer(SPEC.coordinator, OTHER), (), 0.0), CREATE)


async def test_a_session_with_a_party_that_is_invited_to_others_is_refused(tmp_path: Path) -> None:
    guest = next(party.node for party in SPEC.parties if party.node != SPEC.coordinator)
    node = a_node(tmp_path, a_peer(guest, OTHER))
    with pytest.raises(Forbidden, match=f"'{guest}' may not take part") as caught:
        await node._create(Call(a_peer(SPEC.coordinator, frozenset()), (), 0.0), CREATE)
    assert f"ecnode peers invite {guest} --session {SPEC.session}" in caught.value.hint


def test_a_word_of_a_party_that_is_invited_to_other_sessions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="may not take part"):
        a_node(tmp_path)._say(Call(a_peer("party-b", OTHER), (b"",), 0.0), SAY)
