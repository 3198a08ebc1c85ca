"""Who goes, who waits, and who gives way when a peer's credit is used up?"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.clock import ManualClock, SystemClock
from node.errors import Superseded
from node.roles.edge.credit import FrameCredit


async def turns() -> None:
    await ManualClock().advance(0)


class Street:
    """Pictures on their way to one peer; each stays until it is let go."""

    def __init__(self, credit: int) -> None:
        self.credit = FrameCredit(credit)
        self.going: list[tuple[str, int, asyncio.Event]] = []
        self.gone: list[tuple[str, int]] = []
        self.gave_way: list[tuple[str, int]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def offer(self, query: str, number: int) -> None:
        self.tasks.append(asyncio.create_task(self._travel(query, number)))
        await turns()

    async def let_go(self) -> None:
        if self.going:
            self.going.pop(0)[2].set()
            await turns()

    async def _travel(self, query: str, number: int) -> None:
        try:
            async with self.credit.spend("edge-2", query):
                arrived = asyncio.Event()
                self.going.append((query, number, arrived))
                await arrived.wait()
            self.gone.append((query, number))
        except Superseded:
            self.gave_way.append((query, number))


async def test_of_each_query_only_the_newest_waits_and_turns_are_in_order():
    street = Street(credit=2)
    for number in range(5):
        await street.offer("a", number)
        await street.offer("b", number)
    assert [(query, number) for query, number, _ in street.going] == [("a", 0), ("b", 0)]
    assert set(street.gave_way) == {(query, number) for query in "ab" for number in (1, 2, 3)}
    assert street.credit.superseded == 6
    for _ in range(4):
        await street.let_go()
    assert street.gone == [("a", 0), ("b", 0), ("a", 4), ("b", 4)]
    await asyncio.gather(*street.tasks)


async def test_one_peer_s_credit_is_not_another_s():
    credit = FrameCredit(1)
    async with credit.spend("edge-2", "a"), credit.spend("edge-3", "a"):
        waiting = asyncio.create_task(credit.spend("edge-2", "b").__aenter__())
        await turns()
        assert not waiting.done()
        waiting.cancel()
    async with credit.spend("edge-2", "b"):
        pass


@given(st.lists(st.sampled_from(["a", "b", "c", "let go", "cancel first", "cancel last"]), max_size=40), st.integers(1, 3))
async def test_the_credit_is_never_overdrawn_and_never_lost(script: list[str], most: int):
    street = Street(most)
    for number, step in enumerate(script):
        match step:
            case "let go":
                await street.let_go()
            case "cancel first" | "cancel last":
                live = [task for task in street.tasks if not task.done()]
                if live:
                    live[0 if step == "cancel first" else -1].cancel()
                    await turns()
                    street.going = [each for each in street.going if each[2]._waiters]
            case query:
                await street.offer(query, number)
        assert len(street.going) <= most
    while street.going:
        await street.let_go()
    await asyncio.gather(*street.tasks, return_exceptions=True)
    async with SystemClock().timeout(1):
        for _ in range(most):
            await street.offer("z", 0)
    assert len(street.going) == most
    for task in street.tasks:
        task.cancel()
    await asyncio.gather(*street.tasks, return_exceptions=True)


async def test_a_turn_handed_over_to_one_who_leaves_goes_to_the_next():
    credit = FrameCredit(1)
    first = credit.spend("edge-2", "a")
    await first.__aenter__()
    leaving = asyncio.create_task(credit.spend("edge-2", "b").__aenter__())
    staying = asyncio.create_task(credit.spend("edge-2", "c").__aenter__())
    await turns()
    await first.__aexit__(None, None, None)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    async with SystemClock().timeout(1):
        await staying
