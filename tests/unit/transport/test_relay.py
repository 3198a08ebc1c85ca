"""Is there room for another relayed request?"""

from __future__ import annotations

import pytest

from node.errors import Busy
from node.transport import limits
from node.transport.relay import Room

HALF = limits.RELAYED_BYTES // 2


def test_calls_and_bytes_of_each_are_bounded_and_free_again_afterwards() -> None:
    room = Room(2)
    for _ in range(3):
        with room.taken(("from a", "to b"), HALF), room.taken(("from a", "to c"), HALF):
            with pytest.raises(Busy, match="from a"), room.taken(("from a", "to d"), 0):
                pass
            with room.taken(("from b", "to d"), HALF + 1), pytest.raises(Busy), room.taken(("from b", "to d"), HALF):
                pass
    assert not room._calls
    assert not room._bytes
    assert room._all == 0


def test_the_bytes_of_all_together_are_bounded() -> None:
    room = Room(2)
    names = [f"from {number}" for number in range(limits.RELAYED_BYTES_ALL // limits.RELAYED_BYTES)]
    places = [room.taken((name,), limits.RELAYED_BYTES) for name in names]
    for place in places:
        place.__enter__()
    with pytest.raises(Busy), room.taken(("from another",), 1):
        pass
    for place in places:
        place.__exit__(None, None, None)
    with room.taken(("from another",), 1):
        pass
