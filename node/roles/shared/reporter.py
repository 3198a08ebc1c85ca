"""How do the peers of a node learn how it is?

The reporter makes the node's report and sends it with every heartbeat to every linked peer, and at once over a new link.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import exp
from pathlib import Path
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
RUNNING_S: Final = 5.0  # the run queue is a mean over so many seconds: one look at it tells little
LOAD: Final = Path("/proc/loadavg")
AT_ONCE: Final = 50  # reports in one turn of the loop: 2 ms


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
        self._own_before = (clock.monotonic(), self._own_cpu_s())
        self._running = 0.0
        self._running_at = float("-inf")

    def figures(self) -> dict[str, float]:
        """CPU and memory in use as fractions, the CPU of others than this process and its children, how many threads of others
        run or would, memory of the machine and resident memory of this process in MiB.
        """
        now = self._clock.monotonic()
        if now - self._read_at >= FRESH:
            self._read_at, self._figures = now, self._read()
        return self._figures

    def _read(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        used = min(psutil.cpu_percent(interval=None) / 100, 1.0)
        (before, own_before), (now, own) = self._own_before, (self._clock.monotonic(), self._own_cpu_s())
        self._own_before = (now, own)
        share = (own - own_before) / ((now - before) * self.cores) if now > before else 0.0
        return {
            "cpu_fraction": used,
            "others_fraction": min(max(used - share, 0.0), 1.0),
            "others_running": self._others_running(),
            "memory_fraction": memory.percent / 100,
            "memory_mib": memory.total / 2**20,
            "rss_mib": self._process.memory_info().rss / 2**20,
        }

    def _others_running(self) -> float:
        """The run queue without this process and its children; 0 where the system does not tell.

        A CPU that is full looks the same whether two threads share it or forty: how long the queue is tells them apart.

        Source: proc(5), /proc/loadavg, fourth field: entities that are runnable now, the reader with them.
        """
        try:
            running = int(LOAD.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return 0.0
        own = 1 + sum(_runs(pid) for pid in self._children())
        now = self._clock.monotonic()
        share = 1.0 - exp(-(now - self._running_at) / RUNNING_S)
        self._running_at = now
        self._running += share * (max(running - own, 0) - self._running)
        return self._running

    def _own_cpu_s(self) -> float:
        """Seconds of CPU of this process and its children, those that have ended included."""
        total = sum(self._process.cpu_times()[:4])
        for pid in self._children():
            with suppress(psutil.NoSuchProcess):
                total += sum(psutil.Process(pid).cpu_times()[:4])
        return total

    def _children(self) -> list[int]:
        # psutil would read every process of the machine, which takes milliseconds
        task = Path(f"/proc/self/task/{self._process.pid}/children")
        try:
            return [int(pid) for pid in task.read_text().split()]
        except OSError:
            return [child.pid for child in self._process.children()]


def _runs(pid: int) -> bool:
    """Whether a child's main thread runs, or would if there were a core for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "R"


class Reporter:
    """Sends the heartbeats of one node. Clouds are asked, because their answer renews its `leases`; all others are told by a
    note, because a thousand answers that say nothing would cost a cloud more than the leases do.

    A peer whose link has just come up hears at once, the others with the next beat: when a thousand come together, each of them
    is told once and not a thousand times. Which links this node has is told to clouds only, who place work by it.
    """

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
        self._fresh: set[str] = set()
        self._asking: set[str] = set()
        self._wake = asyncio.Event()
        transport.watch(self._link)

    async def run(self) -> None:
        """Sends until cancelled."""
        beat = self._clock.monotonic()
        async with asyncio.TaskGroup() as sending:
            while True:
                self._wake.clear()
                fresh, self._fresh = self._fresh, set()
                now = self._clock.monotonic()
                everybody = now >= beat
                if everybody:
                    beat = now + self._period
                peers = [link.peer for link in self._transport.links()]
                await self._tell([peer for peer in peers if everybody or peer.name in fresh], sending)
                try:
                    async with self._clock.timeout(beat - self._clock.monotonic()):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _tell(self, peers: Sequence[Peer], sending: asyncio.TaskGroup) -> None:
        if not peers:
            return
        report = self._report()
        full, brief = Report(report=report), Report(report=report.replace(links=()))
        for start in range(0, len(peers), AT_ONCE):
            for peer in peers[start : start + AT_ONCE]:
                if Role.CLOUD not in peer.roles:
                    self._note(peer, brief)
                elif peer.name not in self._asking:  # one that has not answered the last one yet has by the next beat
                    self._asking.add(peer.name)
                    sending.create_task(self._ask(peer, full))
            await self._clock.sleep(0)  # others have their turn too

    def _note(self, peer: Peer, message: Report) -> None:
        try:
            self._transport.tell(peer.name, NODE_REPORT, message)
        except EcnodeError as error:
            log.info("report not sent", extra={"peer": peer.name, "reason": error.message})

    async def _ask(self, peer: Peer, message: Report) -> None:
        asked_at = self._clock.boottime()
        try:
            answer = await self._transport.call(peer.name, NODE_REPORT, message, timeout=self._period)
        except EcnodeError as error:
            log.info("report not taken", extra={"peer": peer.name, "reason": error.message})
            return
        finally:
            self._asking.discard(peer.name)
        if self._leases is not None:
            self._leases.renewed(peer.name, asked_at, answer.body.lease)

    def _link(self, peer: Peer, up: bool) -> None:
        if up:
            self._fresh.add(peer.name)
            self._wake.set()
