"""One talent in this process: real store, real plotters, real signals; the overlord is a list of what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from plotting import FARMER, POOL

from node.clock import Clock, SystemClock
from node.config.schema import CacheConfig, DestinationConfig, PlotDefaults, TalentConfig
from node.errors import Busy
from node.model.cluster import Role
from node.model.plot import PLOT_LIFE, Plot, PlotAnswer, PlotRequest, PlotState, PlotStatus
from node.model.value import new_id
from node.model.wire.plot import PlotCreate, PlotStopOrder, PlotUpdate
from node.roles.shared.processes import ProcessSpawner
from node.roles.shared.runner.runner import Runner
from node.roles.shared.tasks import begin, end
from node.roles.talent.finisher import Finisher
from node.roles.talent.ledger import Ledger
from node.roles.talent.log_receiver import LogReceiver
from node.roles.talent.supervisor import Supervisor
from node.roles.talent.worker import Worker
from node.storage import Store, open_store
from node.transport.base import Peer

CLOCK = SystemClock()
WORKER = "ab" * 16
WAIT = 60.0
OVERLORD = Peer("cloud-1", frozenset({Role.CLOUD}), "f")


class Told:
    """Stands where the delivery does; keeps what the overlord would get, in order. `full` is a full outbox; a message with the
    step `held_back` waits for `released`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.updates: list[PlotUpdate] = []
        self.full = False
        self.held_back = ""
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def post(self, alongside: Callable[..., Any], _peer: str, _method: object, body: PlotUpdate) -> tuple[Any, None]:
        if self.full:
            raise Busy("too much waits for cloud-1")
        if self.held_back in {step.event for step in body.steps}:
            self.reached.set()
            await self.released.wait()
        return await self._store.plots.write(lambda connection: (alongside(connection), self.updates.append(body)))


class Talent:
    """A talent with one temp directory and one destination below `root`, unless told otherwise; made by `open`."""

    def __init__(
        self,
        root: Path,
        store: Store,
        config: TalentConfig,
        *,
        clock: Clock = CLOCK,
        runner: Any = None,
        finisher: Any = None,
    ) -> None:
        self.root = root
        self.config = config
        self.store = store
        self.told = Told(store)
        self.ledger = Ledger(store.plots, self.told, clock)  # type: ignore[arg-type]
        self.receiver = LogReceiver(self.ledger, clock)
        self.runner = runner or Runner(clock)
        self.supervisor = Supervisor(
            config,
            self.ledger,
            self.receiver,
            self.runner,
            finisher or Finisher(ProcessSpawner(clock), config.challenges),
            clock=clock,
            worker_id=WORKER,
            homes=root / "homes",
        )
        self.worker = Worker("talent-1", config, self.ledger, self.supervisor, self.receiver, clock=clock, worker_id=WORKER)
        self._loops: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, root: Path, **settings: Any) -> Talent:
        talent = cls(root, await open_store("sqlite:///node.db", root, CLOCK), settings_of(root, **settings))
        await talent.start()
        return talent

    async def start(self) -> None:
        """As a node starts."""
        await self.ledger.load()
        self._loops = [begin(self.receiver.run(), "logs"), begin(self.supervisor.run(), "supervisor")]
        await self.worker.resume_stops()

    async def die(self) -> None:
        """Leaves the store open for the next life; plotters go on."""
        await self.worker.close()
        await end(*reversed(self._loops))
        await self.supervisor.stop_all()

    async def close(self) -> None:
        """As a node stops: plotters go on."""
        await self.die()
        await self.store.close()

    async def create(self, id: str = "", task_id: str = "", **request: Any) -> tuple[str, PlotAnswer]:
        id = id or new_id("p", CLOCK.wall())
        order = PlotCreate(plot=id, task_id=task_id or id_hex(id), request=PlotRequest(**request))
        effect = self.worker._create(OVERLORD, order)
        done = await self.store.plots.write(effect.apply)
        effect.then(done)
        return id, effect.reply(done)

    async def stop(self, id: str) -> PlotAnswer:
        effect = self.worker._stop(OVERLORD, PlotStopOrder(plot=id))
        done = await self.store.plots.write(effect.apply)
        effect.then(done)
        return effect.reply(done)

    async def until(self, id: str, wanted: Callable[[Plot], object], seconds: float = WAIT) -> PlotStatus:
        """The plot, once it is as wanted."""
        changed = asyncio.Event()
        self.store.plots.watch(lambda _: changed.set())
        async with CLOCK.timeout(seconds):
            while True:
                changed.clear()
                status = await self.store.plots.status(id)
                if wanted(status):
                    return status
                if status.state in PLOT_LIFE.terminal:
                    raise AssertionError(f"{status.state}: {status.reason}")
                await changed.wait()

    async def over(self, id: str, seconds: float = WAIT) -> PlotStatus:
        """The plot, once it is over and what it leaves is cleaned up."""
        status = await self.until(id, lambda plot: plot.state in PLOT_LIFE.terminal, seconds)
        if (task := self.supervisor._tasks.get(id)) is not None:
            await task
        return status

    async def state(self, id: str, *states: PlotState) -> PlotStatus:
        return await self.until(id, lambda plot: plot.state in states)

    def left(self) -> list[str]:
        """What lies in the temp directories."""
        return sorted(str(path) for cache in self.config.cache for path in Path(cache.path).iterdir())


def settings_of(root: Path, **settings: Any) -> TalentConfig:
    cache, dest = root / "cache", root / "dest"
    for folder in (cache, dest):
        folder.mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "cache": (CacheConfig(path=cache),),
        "destination": (DestinationConfig(path=dest),),
        "stagger": 0.0,
        "challenges": 5,
        "stop_grace": 2.0,
        "defaults": PlotDefaults(ksize=18, threads=1, buffer_mib=100, fpk=FARMER, ppk=POOL),
        **settings,
    }
    return TalentConfig(**given)


def id_hex(id: str) -> str:
    return id.encode().hex()[-32:]


def plots_in(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.plot"))
