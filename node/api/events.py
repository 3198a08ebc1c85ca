"""How does a listener hear what happens, as it happens?

Server-sent events. The first is a `snapshot`; then every event has an id, and a listener that comes back with
`Last-Event-ID` goes on behind it, or is told by `resync` that some are lost and gets a snapshot again. `?query=` or
`?session=` listens to one of them and closes with `end` and its final state. Silence is broken by comments, so that both
sides notice a dead line.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web
from pydantic import JsonValue

from node.api.gate import REQUEST_ID
from node.api.ports import Plots, Ports, Queries, Tasks
from node.api.reading import read_params
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, Conflict, EcnodeError, NotBuilt, NotFound, StorageFailed
from node.model.document import to_document
from node.model.event import EventsQuery, Topic
from node.model.federated import Session
from node.model.plot import PLOT_LIFE, Plot
from node.model.task import TASK_LIFE, Task
from node.model.video import QUERY_LIFE, Query
from node.roles.shared.events import EventBus, encode

log = logging.getLogger(__name__)

MAX_LISTENERS: Final = 64  # of MAX_CONNECTIONS, beside MAX_POLLS
KEEP_ALIVE: Final = 15.0
PACE: Final = 0.02  # between two writes to one listener: fifty writes a second carry any number of events
WRITE_TIMEOUT: Final = 10.0  # a listener that takes nothing for so long is gone
SNAPSHOT_QUERIES: Final = 200  # of each state that is not final
SNAPSHOT_PLOTS: Final = 200  # likewise
SNAPSHOT_TASKS: Final = 200  # the same
_LIVE_TASKS: Final = tuple(state for state in TASK_LIFE.states if state not in TASK_LIFE.terminal)
SNAPSHOT_SESSIONS: Final = 200  # the newest
_LIVE: Final = tuple(state for state in QUERY_LIFE.states if state not in QUERY_LIFE.terminal)
_PLOTTING: Final = tuple(state for state in PLOT_LIFE.states if state not in PLOT_LIFE.terminal)


async def stream(request: web.Request) -> web.StreamResponse:
    """Events as they come: snapshot, the topics' own, resync, end. Last-Event-ID goes on where a stream broke off."""
    door = request.app[DOOR]
    bus = door.ports.events
    params = read_params(request, EventsQuery)
    if bus is None:
        raise NotBuilt("this door has no events")
    one = await _chosen(door.ports, params)
    if door.listening.locked():
        raise Busy(f"{MAX_LISTENERS} listeners are there already")
    async with door.listening:
        response = web.StreamResponse(headers={**_HEADERS, "X-Request-Id": request[REQUEST_ID]})
        await response.prepare(request)
        if request.method != "HEAD":
            await _Listener(request, response, bus, params, one).serve()
    return response


async def _chosen(ports: Ports, params: EventsQuery) -> Query | Session | None:
    """The one record that a listener wants to hear of, if it is one."""
    if params.query is not None:
        if ports.queries is None:
            raise NotFound("this node keeps no queries: a node with the role cloud does")
        return await ports.queries.get(params.query)
    if params.session is not None:
        if ports.sessions is None:
            raise NotFound("this node has no private sessions: a node with the role federated has")
        return await ports.sessions.get(params.session)
    return None


_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}


class _Listener:
    """One stream: a cursor into the bus, and what its reader wants to hear."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        bus: EventBus,
        params: EventsQuery,
        one: Query | Session | None,
    ) -> None:
        self._request = request
        self._response = response
        self._bus = bus
        self._ports = request.app[DOOR].ports
        self._clock = request.app[DOOR].clock
        self._params = params
        self._topics = params.chosen()
        self._one = one.id if one is not None else None
        self._cursor = bus.number

    async def serve(self) -> None:
        """Runs until the query is over, the caller hangs up or is cut, or the node stops."""
        try:
            await self._run()
        except ConnectionError:
            return  # the caller hung up, as callers do
        except TimeoutError:
            self._cut("it takes nothing")
        except EcnodeError as error:  # the head is sent: a problem document could not follow
            self._cut(error.message)

    async def _run(self) -> None:
        await self._begin()
        over = await self._is_over()
        while True:
            if self._cursor < self._bus.oldest:
                self._cut(f"too slow by {self._bus.oldest - self._cursor} events")
                return
            over = await self._tell() or over
            if over and self._one is not None:
                await self._write(encode("end", to_document(await self._record(self._one)), self._bus.name(self._cursor)))
            if over or not self._params.follow or self._bus.closed:
                return
            await self._clock.sleep(PACE)
            over = await self._wait()

    async def _begin(self) -> None:
        last_id = self._request.headers.get("Last-Event-ID")
        resumed = self._bus.cursor(last_id) if last_id is not None else None
        if resumed is not None:
            self._cursor = resumed
        elif not self._params.follow:
            self._cursor = self._bus.oldest
        else:
            lost = encode("resync", {"reason": "events behind that id are no longer at hand"}) if last_id is not None else b""
            await self._write(lost + encode("snapshot", await self._snapshot(), self._bus.name(self._cursor)))

    async def _tell(self) -> bool:
        """Sends what is behind the cursor, in one write; whether the one query ended in it."""
        news = self._bus.after(self._cursor)
        if not news:
            return False
        self._cursor = news[-1].number
        wanted = [one for one in news if one.topic in self._topics and self._one in (None, one.ref)]
        if wanted:
            await self._write(b"".join([one.content for one in wanted]))
        return self._one is not None and any(one.last for one in wanted)

    async def _wait(self) -> bool:
        """Waits for news and keeps the line alive meanwhile; whether the one query was found to be over."""
        while True:
            try:
                async with self._clock.timeout(KEEP_ALIVE):
                    await self._bus.wait(self._cursor)
                return False
            except TimeoutError:
                await self._write(b": keep-alive\n\n")
                if await self._is_over():
                    return True

    async def _write(self, content: bytes) -> None:
        async with self._clock.timeout(WRITE_TIMEOUT):
            await self._response.write(content)

    async def _is_over(self) -> bool:
        return self._one is not None and (await self._record(self._one)).ended_at is not None

    async def _record(self, id: str) -> Query | Session:
        if Topic.SESSIONS in self._topics and self._ports.sessions is not None:
            return await self._ports.sessions.get(id)
        assert self._ports.queries is not None, "it was found there before the stream began"
        return await self._ports.queries.get(id)

    async def _snapshot(self) -> dict[str, JsonValue]:
        queries, sessions = self._ports.queries, self._ports.sessions
        if self._one is not None:
            return {"session" if Topic.SESSIONS in self._topics else "query": to_document(await self._record(self._one))}
        found: dict[str, JsonValue] = {}
        if Topic.QUERIES in self._topics and queries is not None:
            found["queries"] = [to_document(query) for query in await _live(queries)]
        if Topic.PLOTS in self._topics and self._ports.plots is not None:
            found["plots"] = [to_document(plot.replace(memo=None)) for plot in await _under_way(self._ports.plots)]
        tasks = self._ports.tasks
        if Topic.TASKS in self._topics and tasks is not None:
            found["tasks"] = [to_document(task) for task in await _live_tasks(tasks)]
        if Topic.SESSIONS in self._topics and sessions is not None:
            live = [one for one in await sessions.page(SNAPSHOT_SESSIONS, None) if one.ended_at is None]
            found["sessions"] = [to_document(session) for session in live]
        if Topic.NODES in self._topics:
            found["nodes"] = [to_document(view) for view in self._ports.nodes.views()]
        return found

    def _cut(self, reason: str) -> None:
        """Ends the line at once; what waits to be sent is dropped, and the caller comes back with the last id it read."""
        log.warning("listener cut", extra={"reason": reason})
        if self._request.transport is not None:
            self._request.transport.abort()


async def _live_tasks(tasks: Tasks) -> list[Task]:
    return [task for state in _LIVE_TASKS for task in await tasks.list(state, SNAPSHOT_TASKS, None)]


async def _live(queries: Queries) -> list[Query]:
    return [query for state in _LIVE for query in await queries.list(state, SNAPSHOT_QUERIES, None)]


async def _under_way(plots: Plots) -> list[Plot]:
    """Without their times, as the events tell them."""
    found = [plot for state in _PLOTTING for plot in await plots.list(state, SNAPSHOT_PLOTS, None)]
    return [Plot(**{name: getattr(plot, name) for name in Plot.model_fields}) for plot in found]


ROUTES: Final = (
    Route(
        "GET",
        f"{API}/events",
        Scope.READ,
        stream,
        "What happens, as it happens (server-sent events).",
        params=EventsQuery,
        media="text/event-stream",
        raises=(NotFound, Conflict, Busy, StorageFailed, NotBuilt),
    ),
)
