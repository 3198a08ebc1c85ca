"""How do the peers of a node learn how it is?

The reporter makes the node's report and sends it with every heartbeat to every linked peer, and at once over a new link.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import psutil

from node.clock import Clock
from node.errors import EcnodeError
from node.model.cluster import NodeReport, Role
from node.model.wire.member import NODE_REPORT, Report
from node.roles.shared.leases import Leases
from node.transport.base import Peer, Transport

log = logging.getLogger(__name__)

FRESH: Final = 0.5


class Machine:
    """What the operating system says of this machine and process, read anew every `FRESH`: more often costs and tells nothing,
    because the CPU's share is that of the time since the last reading.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read_at = float("-inf")
        self._figures: dict[str, float] = {}
        self._process = psutil.Process()
        self.cores = psutil.cpu_count() or 1
        psutil.cpu_percent(interval=None)  # the first reading has nothing to compare with

    def figures(self) -> dict[str, float]:
        """CPU and memory in use as fractions, memory of the machine and resident memory of this process in MiB."""
        now = self._clock.monotonic()
        if now - self._read_at >= FRESH:
            self._read_at, self._figures = now, self._read()
        return self._figures

    def _read(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        return {
            "cpu_fraction": min(psutil.cpu_percent(interval=None) / 100, 1.0),
            "memory_fraction": memory.percent / 100,
            "memory_mib": memory.total / 2**20,
            "rss_mib": self._process.memory_info().rss / 2**20,
        }


class Reporter:
    """Sends the heartbeats of one node; what clouds answer renews its `leases`."""

    def __init__(
        self,
        report: Callable[[], NodeReport],
        transport: Transport,
        clock: Clock,
        period: float,
        leases: Leases | None = None,
    ) -> None:
        self._report = report
        self._transport = transport
        self._clock = clock
        self._period = period
        self._leases = leases
        self._at_once = asyncio.Event()
        transport.watch(self._link)

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            self._at_once.clear()
            async with asyncio.TaskGroup() as sending:
                message = Report(report=self._report())
                for link in self._transport.links():
                    sending.create_task(self._send(link.peer, message))
            try:
                async with self._clock.timeout(self._period):
                    await self._at_once.wait()
            except TimeoutError:
                continue

    async def _send(self, peer: Peer, message: Report) -> None:
        asked_at = self._clock.boottime()
        try:
            answer = await self._transport.call(peer.name, NODE_REPORT, message, timeout=self._period)
        except EcnodeError as error:
            log.info("report not taken", extra={"peer": peer.name, "reason": error.message})
            return
        if self._leases is not None and Role.CLOUD in peer.roles:
            self._leases.renewed(peer.name, asked_at, answer.body.lease)

    def _link(self, _peer: Peer, up: bool) -> None:
        if up:
            self._at_once.set()
