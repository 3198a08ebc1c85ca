"""Does one timer for all tell each that is late, and nobody else?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.clock import ManualClock
from node.transport.deadlines import Deadlines


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=30))
async def test_whoever_is_late_is_told_in_time_and_whoever_was_removed_is_not(spans: list[tuple[int, bool]]) -> None:
    clock, late = ManualClock(), list[tuple[int, float]]()
    began = clock.monotonic()
    watch = Deadlines[int](clock, lambda key: late.append((key, clock.monotonic() - began)))
    for key, (span, _) in enumerate(spans):
        watch.add(key, began + span)
    for key, (_, removed) in enumerate(spans):
        if removed:
            watch.remove(key)
    await clock.advance(30)
    assert sorted(late) == [(key, float(span)) for key, (span, removed) in enumerate(spans) if not removed]


async def test_nobody_is_told_after_the_close() -> None:
    clock, late = ManualClock(), list[int]()
    watch = Deadlines[int](clock, late.append)
    watch.add(1, clock.monotonic() + 1)
    watch.close()
    await clock.advance(5)
    assert late == []
