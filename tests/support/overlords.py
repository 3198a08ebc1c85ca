"""An overlord in this process: real store, registry and links; what it posts is kept, and answered as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reports import PATIENT, a_report
from talents import CLOCK

from node.clock import ManualClock
from node.errors import Busy, EcnodeError
from node.model.cluster import Role
from node.model.plot import CacheReport, DestinationReport, DestType, Plot, PlotAnswer, PlotStep, Plotter, TalentReport
from node.model.value import Value
from node.model.wire.member import NODE_REPORT, Report
from node.model.wire.plot import PLOT_UPDATE, PlotUpdate
from node.roles.cloud.overlord import Overlord
from node.roles.shared.registry import Registry
from node.roles.shared.tasks import begin, end
from node.storage import Store, open_store
from node.storage.plots import advance
from node.transport.base import Peer
from node.transport.loopback import LoopbackHub
from node.transport.options import LinkOptions

GIB = 2**30
TALENT = "talent-1"
REPORT = TalentReport(
    worker_id="a" * 32,
    plotter=Plotter.BUILTIN,
    ksize=32,
    max_parallel=2,
    caches=(CacheReport(path="/c", device=1, free_bytes=900 * GIB, reserved_bytes=0, running=0, max_parallel=2),),
    destinations=(DestinationReport(path="/d", type=DestType.LOCAL, free_bytes=900 * GIB, reserved_bytes=0),),
)


class Mail:
    """Answers of one message."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[PlotAnswer] = asyncio.get_running_loop().create_future()

    def say(self, answer: PlotAnswer | EcnodeError) -> None:
        if isinstance(answer, EcnodeError):
            self._answer.set_exception(answer)
        else:
            self._answer.set_result(answer)

    async def reply(self) -> PlotAnswer:
        return await asyncio.shield(self._answer)


class Post:
    """Stands where the delivery does; `full` is a full outbox."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sent: list[tuple[str, str, Value]] = []
        self.mail: list[Mail] = []
        self.full = False
        self.prompt: PlotAnswer | None = None  # what every message is answered with at once
        self.handlers: dict[str, Callable[..., Any]] = {}

    def answer(self, method: Any, handler: Callable[..., Any]) -> None:
        self.handlers[method.name] = handler

    async def send(self, peer: str, method: Any, body: Value) -> Mail:
        return (await self.post(lambda _: None, peer, method, body))[1]

    async def post(self, alongside: Callable[..., Any], peer: str, method: Any, body: Value) -> tuple[Any, Mail]:
        if self.full:
            raise Busy(f"too much waits for {peer}")
        value = await self._store.orders.write(alongside)
        self.sent.append((peer, method.name, body))
        self.mail.append(Mail())
        if self.prompt is not None:
            self.mail[-1].say(self.prompt)
        return value, self.mail[-1]


class Cloud:
    """An overlord with one talent that has reported, unless it has not."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        hub = LoopbackHub()
        self.here = hub.transport("cloud-1", {Role.CLOUD}, clock, LinkOptions("cloud-1", **PATIENT))
        self.there = hub.transport(TALENT, {Role.TALENT}, clock, LinkOptions(TALENT, **PATIENT))
        self.registry = Registry(lambda: a_report("cloud-1", Role.CLOUD), clock, suspect_after=6.0, dead_after=20.0)
        self.registry.register(self.here)
        self.members = {TALENT}
        self.drained: frozenset[str] = frozenset()
        self.post = Post(store)
        self.overlord = self._life()
        self._loop: asyncio.Task[None] | None = None

    def _life(self) -> Overlord:
        made = Overlord(
            orders=self.store.orders,
            registry=self.registry,
            transport=self.here,
            delivery=self.post,  # type: ignore[arg-type]
            clock=self.clock,
            members=self.members,
            drained=lambda: self.drained,
        )
        made.register()
        return made

    @classmethod
    async def open(cls, folder: Path) -> Cloud:
        clock = ManualClock()
        cloud = cls(await open_store("sqlite:///:memory:", folder, clock), clock)
        await cloud.here.start()
        await cloud.there.start()
        await cloud.start()
        return cloud

    async def start(self) -> None:
        await self.overlord.load()
        self._loop = begin(self.overlord.run(), "overlord")

    async def restart(self) -> None:
        await end(self._loop)
        await self.overlord.close()
        self.overlord = self._life()
        await self.start()

    async def close(self) -> None:
        await end(self._loop)
        await self.overlord.close()
        await self.there.stop()
        await self.here.stop()
        await self.store.close()

    async def report(self, **changes: object) -> None:
        """A heartbeat of the talent."""
        message = Report(report=a_report(TALENT, Role.TALENT, talent=REPORT.replace(**changes)))
        await self.there.call("cloud-1", NODE_REPORT, message, timeout=1.0)

    async def until(self, wanted: Callable[[], object]) -> None:
        async with CLOCK.timeout(10.0):
            while not wanted():
                await self.clock.advance(0.1)
                await CLOCK.sleep(0.001)

    def names_sent(self) -> list[str]:
        return [name for _, name, _ in self.post.sent]

    async def tell(self, update: PlotUpdate, talent: str = TALENT) -> Plot:
        """The talent's update, once the overlord has taken it."""
        effect = self.post.handlers[PLOT_UPDATE.name](Peer(talent, frozenset({Role.TALENT}), "f"), update)
        done: Plot = await self.store.orders.write(effect.apply)
        effect.then(done)
        return done


def life_of(plot: Plot, *events: str) -> list[PlotUpdate]:
    """What a talent tells of a plot, one update a step."""
    updates: list[PlotUpdate] = []
    step: PlotStep
    for number, event in enumerate(events, start=1):
        plot, step = advance(plot, event, float(number), f"reason {number}", progress=min(1.0, number / 10))
        updates.append(PlotUpdate(plot=plot, steps=(step,)))
    return updates
