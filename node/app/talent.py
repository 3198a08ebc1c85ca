"""What is the role talent made of?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from node.app.ground import Ground
from node.app.part import Gauge, Loops, Part
from node.model.plot import PlotState
from node.roles.shared.runner.runner import Runner
from node.roles.talent.finisher import Finisher
from node.roles.talent.ledger import Ledger
from node.roles.talent.log_receiver import LogReceiver
from node.roles.talent.supervisor import Supervisor
from node.roles.talent.worker import Worker

WORKER_ID: Final = "worker_id"


@dataclass(frozen=True, slots=True)
class TalentParts:
    """Worker, supervisor and log receiver on one ledger."""

    ledger: Ledger
    receiver: LogReceiver
    supervisor: Supervisor
    worker: Worker

    @classmethod
    async def make(cls, ground: Ground) -> Self:
        """Puts the role together; nothing of it runs yet."""
        config, clock = ground.config, ground.clock
        worker_id = own_id(config.node.data_dir / WORKER_ID)
        ledger = Ledger(ground.store.plots, ground.delivery, clock)
        receiver = LogReceiver(ledger, clock)
        supervisor = Supervisor(
            config.talent,
            ledger,
            receiver,
            Runner(clock),
            Finisher(ground.spawner, config.talent.challenges),
            clock=clock,
            worker_id=worker_id,
            homes=config.node.data_dir / "plots",
        )
        worker = Worker(
            config.node.name,
            config.talent,
            ledger,
            supervisor,
            receiver,
            clock=clock,
            worker_id=worker_id,
        )
        worker.register(ground.transport, ground.delivery)
        return cls(ledger, receiver, supervisor, worker)

    def parts(self, loops: Loops) -> tuple[Part, ...]:
        """As `Assembled.parts`."""
        return (
            Part("plots", self._load, self.supervisor.stop_all),
            loops.part("plot logs", self.receiver.run),
            loops.part("plot supervisor", self.supervisor.run),
            Part("plot stops", self.worker.resume_stops, self.worker.close),
        )

    async def _load(self) -> None:
        await self.ledger.load()

    def gauges(self) -> tuple[Gauge, ...]:
        """As `Assembled.gauges`."""
        return (
            ("plots_running", "Plots whose plotter runs on this talent.", lambda: self._count(PlotState.RUNNING)),
            ("plots_pending", "Plots that wait on this talent.", lambda: self._count(PlotState.PENDING)),
        )

    def _count(self, state: PlotState) -> int:
        return sum(plot.state is state for plot in self.ledger.plots())


def own_id(path: Path) -> str:
    """The uuid of this worker, made once and kept."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        made = os.urandom(16)
        # Source: RFC 9562, section 5.4: version and variant of a random uuid
        fixed = bytes([*made[:6], made[6] & 0x0F | 0x40, made[7], made[8] & 0x3F | 0x80, *made[9:]])
        path.write_text(fixed.hex())
        return fixed.hex()
