"""How does a service manager hear that this process is ready, alive, and about to end?

By datagrams to the socket that it names in the environment. The sign of life comes from the event loop itself: a loop that
hangs sends none, and the manager starts the process anew.

Source: sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from node.clock import Clock

log = logging.getLogger(__name__)

SOCKET: Final = "NOTIFY_SOCKET"
PERIOD: Final = "WATCHDOG_USEC"
PROCESS: Final = "WATCHDOG_PID"


class Supervision:
    """What one process tells its manager; without one nothing is told. Made and used on the event loop."""

    def __init__(self, clock: Clock, environment: MutableMapping[str, str] = os.environ) -> None:
        """Takes the manager's names out of `environment`, so that no child speaks for this process."""
        self._clock = clock
        given = environment.pop(SOCKET, "")
        self._address = f"\0{given[1:]}" if given.startswith("@") else given
        whose, period = environment.pop(PROCESS, ""), environment.pop(PERIOD, "")
        meant = whose in {"", str(os.getpid())}
        self._period = int(period) / 1e6 if self._address and meant and period.isascii() and period.isdecimal() else 0.0
        self._beat: asyncio.Task[None] | None = None

    @property
    def period(self) -> float:
        """Seconds within which the manager wants a sign of life; 0 where it wants none."""
        return self._period

    def ready(self, status: str) -> None:
        """The work can begin; from now on the signs of life are sent. `status` is one line for people."""
        self._tell(f"READY=1\nSTATUS={status.splitlines()[0] if status else ''}")
        if self._period and self._beat is None:
            self._beat = asyncio.get_running_loop().create_task(self._live(), name="signs of life")

    async def ending(self) -> None:
        """The end has begun; its own time limit holds from now on. Harmless when repeated."""
        self._tell("STOPPING=1")
        if self._beat is not None:
            self._beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beat
            self._beat = None

    async def _live(self) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await self._clock.sleep(self._period / 2)

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto(text.encode(), self._address)
        except OSError as error:  # a manager that does not listen must not end the work; it will end us if it wants to
            log.warning("service manager not told", extra={"reason": error.strerror or str(error)})
