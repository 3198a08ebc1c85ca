"""Does the directory hold who is admitted, and nobody twice?"""

from __future__ import annotations

import pytest

from node.errors import Conflict, Malformed
from node.model.cluster import Role
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.keys import new_identity


def record(name: str) -> tuple[str, Peer]:
    key = new_identity()
    return key.public, Peer(name, frozenset({Role.EDGE}), key.fingerprint)


def test_a_replacement_takes_effect_whole_and_watchers_hear_of_it() -> None:
    old, new = record("edge-1"), record("edge-2")
    directory, heard = Directory([old]), list[str]()
    end = directory.watch(lambda: heard.append("replaced"))
    directory.replace([new])
    assert (directory.find(old[0]), directory.find(new[0])) == (None, new[1])
    end()
    directory.replace([old])
    assert heard == ["replaced"]


def test_a_name_or_a_key_twice_is_a_conflict() -> None:
    one, other = record("edge-1"), record("edge-2")
    with pytest.raises(Conflict):
        Directory([one, (one[0], other[1])])
    with pytest.raises(Conflict):
        Directory([one, (other[0], one[1])])


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(Malformed):
        Directory([("x", record("edge-1")[1])])
