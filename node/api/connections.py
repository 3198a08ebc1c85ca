"""Which connections to the front door have outstayed their welcome?

The web framework waits for ever for a request that never comes and takes any number of connections. This watches its list:
one that has sent no whole request head within `HEAD_TIMEOUT` is closed, and so are the newest ones above `MAX_CONNECTIONS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from node.clock import Clock

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 256  # each costs about 20 KiB before its first request: 5 MiB together
HEAD_TIMEOUT: Final = 10.0
LOOK_EVERY: Final = 1.0


class Connection(Protocol):
    """One caller's line, as the web framework has it."""

    def force_close(self) -> None: ...


class Server(Protocol):
    """Where the web framework lists its connections."""

    @property
    def connections(self) -> Sequence[Connection]: ...


class Connections:
    """The watch over one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[Connection, float] = {}
        self._heard: set[Connection] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self, server: Server) -> None:
        """Begins the watch, once the server is open."""
        self._task = asyncio.get_running_loop().create_task(self._watch(server), name="http-connections")

    async def stop(self) -> None:
        """Ends the watch; harmless when repeated."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def heard(self, connection: Connection) -> None:
        """Notes that a whole request head has come over a connection: from now on the keep-alive time-out guards it."""
        self._heard.add(connection)

    async def _watch(self, server: Server) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            self._look(server.connections)

    def _look(self, connections: Sequence[Connection]) -> None:
        now = self._clock.monotonic()
        self._since = {connection: self._since.get(connection, now) for connection in connections}
        self._heard &= self._since.keys()
        silent = [one for one, since in self._since.items() if one not in self._heard and now - since >= HEAD_TIMEOUT]
        newest_first = sorted(self._since, key=self._since.__getitem__, reverse=True)
        surplus = newest_first[: max(len(newest_first) - MAX_CONNECTIONS, 0)]
        for connection in {*silent, *surplus}:
            connection.force_close()
        if silent or surplus:
            log.warning("connections closed", extra={"silent": len(silent), "surplus": len(surplus)})
