"""Are pictures pulled once for all who look, and never for one who does not read?"""

from __future__ import annotations

import asyncio

import pytest

from node.errors import Busy, PeerUnreachable
from node.model.video import Query
from node.model.wire.job import JobPictureReply
from node.roles.cloud.views import VIEWS, Views
from node.transport.base import Answer
from tests.support.doors import result

QUERY = Query.model_construct(id="q-" + "0" * 26, node="edge-1")


class Edge:
    """Gives picture after picture, each when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []
        self.ready = asyncio.Semaphore(0)
        self.away = False

    async def call(self, peer, method, request, *, timeout):
        self.asked.append((request.seen, request.drawn))
        await self.ready.acquire()
        if self.away:
            raise PeerUnreachable(f"'{peer}' is away")
        return Answer(JobPictureReply(result=result(request.seen + 1)), (b"picture",))


async def test_two_viewers_of_one_query_share_one_call_for_each_picture():
    edge = Edge()
    views = Views(edge)
    with views.hold(QUERY, drawn=True) as one, views.hold(QUERY, drawn=True) as other:
        assert one is other
        waiting = [asyncio.create_task(each.next(None)) for each in (one, other)]
        edge.ready.release()
        first, second = await asyncio.gather(*waiting)
        assert first is second
        assert edge.asked == [(0, True)]


async def test_a_viewer_that_never_reads_asks_for_nothing():
    edge = Edge()
    views = Views(edge)
    with views.hold(QUERY, drawn=True), views.hold(QUERY, drawn=True) as reader:
        seen = None
        for _ in range(3):
            edge.ready.release()
            _, seen = await reader.next(seen)
    assert [number for number, _ in edge.asked] == [0, 1, 2]


async def test_plain_and_drawn_pictures_are_pulled_apart():
    edge = Edge()
    views = Views(edge)
    with views.hold(QUERY, drawn=True) as drawn, views.hold(QUERY, drawn=False) as plain:
        for view in (drawn, plain):
            edge.ready.release()
            await view.next(None)
    assert edge.asked == [(0, True), (0, False)]


async def test_an_edge_that_is_away_is_asked_again_by_the_next_in_turn():
    edge = Edge()
    edge.away = True
    with Views(edge).hold(QUERY, drawn=True) as view:
        waiting = [asyncio.create_task(view.next(None)) for _ in range(2)]
        edge.ready.release()
        edge.ready.release()
        faults = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(fault, PeerUnreachable) for fault in faults)
    assert len(edge.asked) == 2


async def test_no_more_viewers_than_there_may_be():
    views = Views(Edge())
    from contextlib import ExitStack

    with ExitStack() as held:
        for _ in range(VIEWS):
            held.enter_context(views.hold(QUERY, drawn=True))
        with pytest.raises(Busy, match="viewers"), views.hold(QUERY, drawn=False):
            pass
    with views.hold(QUERY, drawn=False):
        pass
