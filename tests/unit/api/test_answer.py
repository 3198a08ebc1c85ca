"""When is content that many ask for made anew?"""

from __future__ import annotations

from node.api.answer import Fresh
from node.clock import ManualClock


async def test_content_is_made_once_until_it_is_too_old() -> None:
    clock, made = ManualClock(), []
    fresh = Fresh(clock, 0.2)

    def make() -> bytes:
        made.append(clock.monotonic())
        return b"%d" % len(made)

    assert [fresh.content(make) for _ in range(3)] == [b"1"] * 3
    await clock.advance(0.19)
    assert fresh.content(make) == b"1"
    await clock.advance(0.02)
    assert fresh.content(make) == b"2"


def test_a_fault_while_it_is_made_is_not_kept() -> None:
    fresh = Fresh(ManualClock(), 0.2)

    def fail() -> bytes:
        raise ValueError("not now")

    try:
        fresh.content(fail)
    except ValueError:
        assert fresh.content(lambda: b"better") == b"better"
