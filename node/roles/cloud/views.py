"""Who looks at a query's pictures, and what does that cost the others?

Pictures are pulled: the next one is asked for when a viewer has taken the one before, so one that never reads asks for nothing.
Viewers of one query that want the same share each answer of its edge, and there is one call for all of them at a time. The
edge opens no port for it: the call goes over the data lane of the link that it made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from node.errors import Busy
from node.model.video import Query, Result
from node.model.wire.job import JOB_PICTURE, JobPictureRequest
from node.transport.base import Transport

VIEWS: Final = 32  # held at once; of one query or many, each call of them holds one picture of at most 8 MiB
WAIT_S: Final = 2.0  # the edge waits so long for a newer picture
ANSWER_S: Final = 3.0  # and may take so long besides, a picture over a slow link included


class View:
    """The pictures of one query for everybody who wants them drawn, or plain."""

    def __init__(self, query: Query, transport: Transport, *, drawn: bool) -> None:
        self._query, self._transport, self._drawn = query, transport, drawn
        self._turn = asyncio.Lock()
        self._newest: tuple[bytes, Result] | None = None
        self.viewers = 0

    async def next(self, seen: Result | None) -> tuple[bytes, Result] | None:
        """A picture newer than the one of `seen`, as soon as there is one; None where none came for `WAIT_S`.

        Raises:
            Unavailable, NotFound: the edge is away, or does not run the query.
        """
        async with self._turn:
            if self._newest is None or not _newer(self._newest[1], seen):
                self._newest = await self._pull(seen)
            return self._newest

    async def _pull(self, seen: Result | None) -> tuple[bytes, Result] | None:
        request = JobPictureRequest(
            query=self._query.id,
            drawn=self._drawn,
            attempt=seen.attempt if seen else 0,
            seen=seen.n_loop if seen else 0,
            wait=WAIT_S,
        )
        answer = await self._transport.call(self._query.node, JOB_PICTURE, request, timeout=WAIT_S + ANSWER_S)
        if len(answer.blobs) != 1 or answer.body.result is None:
            return None
        return bytes(answer.blobs[0]), answer.body.result


class Views:
    """The views of one cloud; each is forgotten when nobody holds it any more."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._views: dict[tuple[str, bool], View] = {}

    @contextmanager
    def hold(self, query: Query, *, drawn: bool) -> Iterator[View]:
        """The view of a query.

        Raises:
            Busy: as many as may be are held.
        """
        if sum(view.viewers for view in self._views.values()) >= VIEWS:
            raise Busy(f"{VIEWS} viewers are there already", hint="close one, or read the results instead")
        key = (query.id, drawn)
        view = self._views.setdefault(key, View(query, self._transport, drawn=drawn))
        view.viewers += 1
        try:
            yield view
        finally:
            view.viewers -= 1
            if not view.viewers:
                del self._views[key]


def _newer(result: Result, seen: Result | None) -> bool:
    return seen is None or (result.attempt, result.n_loop) > (seen.attempt, seen.n_loop)
