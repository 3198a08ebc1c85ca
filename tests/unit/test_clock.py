"""Does time that a test drives behave like time?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.clock import ManualClock, SystemClock, rfc3339


async def test_sleepers_wake_in_the_order_of_their_time() -> None:
    clock, woken = ManualClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        for seconds in (3.0, 1.0, 2.0, 1.0):
            group.create_task(sleeper(seconds))
        await clock.advance(5.0)
    assert woken == [(1.0, 1001.0), (1.0, 1001.0), (2.0, 1002.0), (3.0, 1003.0)]
    assert clock.monotonic() == 1005.0


async def test_nobody_wakes_before_time() -> None:
    clock = ManualClock()
    sleeping = asyncio.ensure_future(clock.sleep(1.0))
    await clock.advance(0.999)
    assert not sleeping.done()
    await clock.advance(0.001)
    assert sleeping.done()


async def test_one_who_wakes_and_sleeps_again_wakes_again_within_one_advance() -> None:
    clock, beats = ManualClock(start=0.0), []

    async def beat() -> None:
        while True:
            await clock.sleep(2.0)
            beats.append(clock.monotonic())

    beating = asyncio.ensure_future(beat())
    await clock.advance(7.0)
    beating.cancel()
    assert beats == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_sleep_at_all_ends_with_the_next_advance(seconds: float) -> None:
    clock = ManualClock()
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    await clock.advance(0.0)
    assert sleeping.done()


async def test_a_timeout_ends_a_wait_when_its_time_has_passed() -> None:
    clock, ended = ManualClock(), []

    async def wait() -> None:
        with pytest.raises(TimeoutError):
            async with clock.timeout(2.0):
                await asyncio.Event().wait()
        ended.append(clock.monotonic())

    waiting = asyncio.ensure_future(wait())
    await clock.advance(1.9)
    assert not waiting.done()
    await clock.advance(1.0)
    await waiting
    assert ended == [1002.0]


async def test_a_timeout_that_was_not_needed_fires_no_more() -> None:
    clock = ManualClock()
    async with clock.timeout(1.0):
        pass
    await clock.advance(2.0)  # would raise here, or cancel this task, if the timer were still armed


async def test_a_timeout_of_none_waits_for_ever() -> None:
    clock, done = ManualClock(), asyncio.Event()

    async def wait() -> None:
        async with clock.timeout(None):
            await done.wait()

    waiting = asyncio.ensure_future(wait())
    await clock.advance(1e9)
    assert not waiting.done()
    done.set()
    await waiting


async def test_the_inner_of_two_timeouts_ends_only_its_own_body() -> None:
    clock, seen = ManualClock(), []

    async def wait() -> None:
        async with clock.timeout(10.0):
            try:
                async with clock.timeout(1.0):
                    await asyncio.Event().wait()
            except TimeoutError:
                seen.append("inner")
        seen.append("went on")

    waiting = asyncio.ensure_future(wait())
    await clock.advance(1.0)
    await waiting
    assert seen == ["inner", "went on"]


async def test_an_error_of_the_body_is_not_hidden_by_the_timeout() -> None:
    with pytest.raises(KeyError):
        async with ManualClock().timeout(1.0):
            raise KeyError


async def test_a_cancelled_sleeper_is_passed_over() -> None:
    clock = ManualClock()
    sleeping = asyncio.ensure_future(clock.sleep(1.0))
    await clock.advance(0.5)
    sleeping.cancel()
    await clock.advance(1.0)
    assert sleeping.cancelled()


async def test_a_thousand_finished_timeouts_leave_nothing_behind() -> None:
    clock = ManualClock()
    for _ in range(1000):
        async with clock.timeout(1.0):
            pass
    await clock.advance(1.0)
    assert clock._timers == []


async def test_the_machines_clock_keeps_the_same_contract() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    with pytest.raises(TimeoutError):
        async with clock.timeout(0.01):
            await asyncio.Event().wait()
    await clock.sleep(0.0)
    assert clock.monotonic() - before >= 0.01
    assert clock.wall() > 1_700_000_000


def test_a_wall_time_is_written_with_milliseconds_in_utc() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_700_000_000.1239) == "2023-11-14T22:13:20.123Z"


@given(st.floats(0.0, 4e9) | st.integers(0, 2**31).map(lambda whole: whole + 0.9999996))
def test_a_moment_is_written_as_the_standard_library_writes_it(wall: float) -> None:
    expected = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    assert rfc3339(wall) == expected.replace("+00:00", "Z")
