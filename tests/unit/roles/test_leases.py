"""Does a member stop before its cloud gives its work away, and go on when it may?"""

from __future__ import annotations

import pytest

from node.clock import ManualClock, SystemClock
from node.roles.shared.leases import MARGIN_S, Leases


async def test_a_lease_counts_from_the_asking_and_ends_before_the_cloud_thinks() -> None:
    clock = ManualClock()
    leases, asked_at = Leases(clock), clock.boottime()
    await clock.advance(4.0)  # the answer was slow
    leases.renewed("cloud-1", asked_at, 15.0)
    await clock.advance(15.0 - MARGIN_S - 4.0 - 0.01)
    assert leases.hold("cloud-1")
    await clock.advance(0.02)
    assert not leases.hold("cloud-1")


async def test_a_late_answer_to_an_early_question_shortens_nothing() -> None:
    clock = ManualClock()
    leases, first = Leases(clock), clock.boottime()
    await clock.advance(5.0)
    leases.renewed("cloud-1", clock.boottime(), 15.0)
    leases.renewed("cloud-1", first, 15.0)
    await clock.advance(12.9)
    assert leases.hold("cloud-1")


async def test_clouds_are_apart_and_one_that_gives_no_lease_is_trusted(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    leases = Leases(clock)
    leases.renewed("cloud-1", clock.boottime(), 5.0)
    leases.renewed("cloud-2", clock.boottime(), 0.0)
    await clock.advance(60.0)
    assert not leases.hold("cloud-1")
    assert leases.hold("cloud-2")
    assert [record.message for record in caplog.records] == ["lease ran out, work for this cloud rests"]


def test_the_time_of_leases_goes_on() -> None:
    clock = SystemClock()
    before = clock.boottime()
    assert before <= clock.boottime()
    assert before >= clock.monotonic() - 1.0  # never behind the clock that stands still in suspend
