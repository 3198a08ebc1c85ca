"""Three nodes of different speed: an edge with a camera, another edge beside it, and a cloud at the end of a narrow link.

Each is a process of its own with real models; `slowed.py` says how one machine stands for three. At most two pictures of a
query are worked on at once, each for at least 2.5 times its CPU time, so that whatever a scheduler chooses takes at most 0.8
cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from node.cli.system import CLOUD, LocalSystem, Pace, Source
from node.client import Client
from node.clock import SystemClock
from node.errors import EcnodeError
from real.narrow import NarrowLink
from real.slowed import slowness
from real.turns import DUE

T = TypeVar("T")

CLOCK: Final = SystemClock()
HOST, PEER = "edge-1", "edge-2"
NODES: Final = (HOST, PEER, CLOUD)
FACTORS: Final[Mapping[str, float]] = {HOST: 6.0, PEER: 4.0, CLOUD: 2.5}
LINK_MBPS, LINK_WAY_S = 20.0, 0.015
FAR: Final = "127.0.0.2"  # where the host finds the cloud
QUICK: Final = Pace(heartbeat=0.5, suspect_after=1.5, dead_after=30.0)
BENCHMARKS: Final = Path(__file__).parents[1]
SERVICES: Final[Mapping[str, str]] = {"face_detection": "Detection", "face_alignment": "Alignment"}
FIXED: Final[Mapping[str, float]] = {"face_detection": 0.97, "face_alignment": 0.02}
WORKERS: Final = 2
READY_S: Final = 90.0


class SlowedSystem(LocalSystem):
    """See the module; `link` is the way between the host and the cloud."""

    def __init__(self, clip: Path, assets: Path) -> None:
        super().__init__(2, [Source("lobby", clip, "people indoor")], assets, pace=QUICK)
        door = self._members[0].peer_port
        self.link = NarrowLink(FAR, "127.0.0.1", (door, door + 1), LINK_MBPS, LINK_WAY_S)
        self._stack.enter_context(self.link)
        for name in NODES:
            own = self._own_assets(name)
            slowness(own).parent.mkdir(parents=True)
            for file in assets.iterdir():
                if file.is_file() and not file.name.lstrip(".").startswith("measured-"):
                    (own / file.name).symlink_to(file.resolve())
            self.slow(name, FACTORS[name])
        os.environ["PYTHONPATH"] = str(BENCHMARKS)  # where the schedulers of the benchmark are found
        os.environ[DUE] = str(self.folder / "scheduler")
        self.turn("robust")

    def slow(self, name: str, factor: float) -> None:
        """From now on stages take so many times their CPU time on that node."""
        place = slowness(self._own_assets(name))
        place.with_name("new").write_text(str(factor))
        place.with_name("new").replace(place)

    def turn(self, scheduler: str) -> None:
        """From now on a new query gets a scheduler of that name, as `cloud.scheduler` takes it."""
        (self.folder / "scheduler").write_text(scheduler)

    def client(self) -> Client:
        """Of the cloud."""
        return Client(self.url(), self.token_file().read_text().strip(), 10.0)

    def _own_assets(self, name: str) -> Path:
        return self.folder / name / "assets"

    def _config(self, member: Any) -> str:
        text = super()._config(member).replace(str(self._assets), str(self._own_assets(member.name)))
        text = text.replace("workers = 1", f"workers = {WORKERS}")
        if member.name == HOST:
            door = self._members[0].peer_port
            text = text.replace(f"tcp://127.0.0.1:{door}", f"tcp://{FAR}:{door}")
        if member.name == CLOUD:
            text += '[cloud]\nscheduler = "real.turns:Turns"\n'
        for service, name in SERVICES.items():
            text += f"[services.{service}]\nimplementation = 'real.slowed:{name}'\nfolder = '{BENCHMARKS}'\n"
            text += f"fixed_share = {FIXED[service]}\n"
        return text


def until(condition: Callable[[], T], seconds: float, every: float = 0.1) -> T:
    """What `condition` gives once it is true.

    Raises:
        TimeoutError: it was not in time.
    """
    end = CLOCK.monotonic() + seconds
    while CLOCK.monotonic() < end:
        try:
            if found := condition():
                return found
        except EcnodeError:  # the node is not there yet
            pass
        threading.Event().wait(every)
    raise TimeoutError(f"not within {seconds:g} s: {condition}")


def settled(client: Client) -> bool:
    """Whether the cloud knows of all nodes what they take, and of the host how wide its links are."""
    reports = {report.name: report for report in (client.node().report, *(view.report for view in client.nodes()))}
    ready = {view.report.name for view in client.nodes() if view.state == "ready"} | {CLOUD}
    if not ready.issuperset(NODES) or not all(reports[name].services for name in NODES):
        return False
    return {link.peer for link in reports[HOST].links if link.bytes_s} >= {PEER, CLOUD}
