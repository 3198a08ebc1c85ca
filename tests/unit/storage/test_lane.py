"""What becomes of callers when the thread behind a lane fails."""

from __future__ import annotations

import asyncio
import threading

import pytest

from node.clock import ManualClock
from node.errors import StorageFailed
from node.storage.lane import Burst, Lane


class Broken:
    """An engine with a fault in it."""

    def __init__(self, *, opens: bool) -> None:
        self._opens = opens

    def open(self) -> None:
        if not self._opens:
            raise StorageFailed("no disk")

    def perform(self, burst: Burst[str]) -> None:
        raise ZeroDivisionError

    def close(self) -> None:
        raise AssertionError("a thread that ended by a fault has nothing to close")


async def test_a_lane_that_cannot_open_says_why_and_leaves_no_thread() -> None:
    lane = Lane("storage-broken", Broken(opens=False), ManualClock())
    with pytest.raises(StorageFailed, match="no disk"):
        await lane.open()
    assert "storage-broken" not in [thread.name for thread in threading.enumerate()]
    assert not lane.alive


async def test_a_fault_in_the_thread_reaches_every_caller_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    lane = Lane("storage-broken", Broken(opens=True), ManualClock())
    await lane.open()
    outcomes = await asyncio.gather(*(lane.submit(len) for _ in range(5)), return_exceptions=True)
    assert isinstance(outcomes[0], ZeroDivisionError)
    assert all(isinstance(outcome, StorageFailed) for outcome in outcomes[1:])
    assert "ZeroDivisionError" in caplog.text
    await lane.close()
    with pytest.raises(StorageFailed, match="closed"):
        await lane.submit(len)


async def test_what_is_posted_while_the_thread_ends_is_answered() -> None:
    lane = Lane("storage-broken", Broken(opens=True), ManualClock())
    late = lane.post(len)
    lane._abandon()  # the thread's last word may come before the turn of the loop is over
    with pytest.raises(StorageFailed, match="ended"):
        await late
