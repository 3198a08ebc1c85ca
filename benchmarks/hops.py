"""What is it worth that a stage's output goes straight to the next stage's node?

Three node processes with real pictures and models: an edge with a camera whose links to the others are narrow, another edge
that detects, and a cloud that aligns, next to each other. The same plan is used in turns with crops that go straight and with
crops that come by the camera's edge (`by_host`): latency, the ways' time, and the bytes that the camera's edge sends a picture.

`python benchmarks/hops.py [--mbps 20] [--way-ms 15] [--rounds 5] [--json]`, with the assets where ECNODE_NODE__ASSETS_DIR says.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from parts.bare import assets_folder
from parts.report import Bar, Row, ratio, row, show
from real.narrow import NarrowLink
from real.system import CLOUD, HOST, PEER, QUICK, until

from node.assets import path
from node.cli.system import LocalSystem, Source
from node.client import Client
from node.model.document import PlanChoice, ResultItem
from node.model.video import Placement, Query, QueryRequest, StageRole, VideoConf

STAGES: Final = ("face_detection", "face_alignment")
WAYS: Final = ("straight", "by the host")
TO_CLOUD, TO_PEER = "127.0.0.2", "127.0.0.3"  # where host and peer find each other and the cloud
LOOK_S: Final = 4.0
READY_S: Final = 90.0


class FarHost(LocalSystem):
    """The host's links to the other two are narrow, the one between those is not."""

    def __init__(self, clip: Path, assets: Path, mbps: float, way_s: float) -> None:
        super().__init__(2, [Source("lobby", clip, "people indoor")], assets, pace=QUICK)
        self._doors = {member.name: member.peer_port for member in self._members}
        for here, name in ((TO_CLOUD, CLOUD), (TO_PEER, HOST)):
            door = self._doors[name]
            self._stack.enter_context(NarrowLink(here, "127.0.0.1", (door, door + 1), mbps, way_s))

    def _config(self, member: Any) -> str:
        text = super()._config(member)
        for here, name, who in ((TO_CLOUD, CLOUD, HOST), (TO_PEER, HOST, PEER)):
            if member.name == who:
                text = text.replace(f"tcp://127.0.0.1:{self._doors[name]}", f"tcp://{here}:{self._doors[name]}")
        return text

    def client(self) -> Client:
        """Of the cloud."""
        return Client(self.url(), self.token_file().read_text().strip(), 10.0)


def chosen(*, by_host: bool) -> PlanChoice:
    """480p at five a second: pictures do not wait for each other."""
    places = {
        STAGES[0]: Placement(node=PEER, role=StageRole.EDGE),
        STAGES[1]: Placement(node=CLOUD, role=StageRole.CLOUD, by_host=by_host),
    }
    return PlanChoice(video_conf=VideoConf(fps=5, resolution="480p"), flow_mapping=places)


def look(client: Client, query: Query, way: str) -> tuple[list[ResultItem], float]:
    """The results of a few seconds under the plan, and the bytes that left the host for each of them."""
    plan = client.choose_plan(query.id, chosen(by_host=way != WAYS[0])).plan
    assert plan is not None
    until(lambda: [one for one in newest(client, query) if one.plan_epoch == plan.epoch], READY_S)
    before, cursor = client.query(query.id).tally, newest(client, query)[-1].cursor
    threading.Event().wait(LOOK_S)
    after = client.query(query.id).tally
    found = list(client.results(query.id, cursor, 500).items)
    strangers = [one for one in found if bool(one.direct) != (way == WAYS[0])]
    assert not strangers, f"{len(strangers)} of {len(found)} went another way"
    return found, (after.bytes_moved - before.bytes_moved) / max(after.processed - before.processed, 1)


def newest(client: Client, query: Query) -> list[ResultItem]:
    """The results so far."""
    found: list[ResultItem] = []
    while page := client.results(query.id, found[-1].cursor if found else 0, 500).items:
        found += page
    return found


def measure(folder: Path, mbps: float, way_s: float, rounds: int) -> dict[str, dict[str, list[float]]]:
    """For each way and round the median latency and time of the ways in ms, and the bytes a picture."""
    found = {way: {"latency": list[float](), "ways": list[float](), "bytes": list[float]()} for way in WAYS}
    with FarHost(path(folder, "collage.mp4"), folder, mbps, way_s) as system:
        system.start()
        with system.client() as client:
            until(lambda: all(len(view.report.links) == 2 and view.report.services for view in client.nodes()), READY_S)
            query = client.submit(QueryRequest(node=HOST, source="lobby", pipeline=STAGES))
            until(lambda: client.query(query.id).state == "running", READY_S)
            for _ in range(rounds):
                for way in WAYS:
                    items, sent = look(client, query, way)
                    found[way]["latency"].append(median(item.latency for item in items) * 1000)
                    found[way]["ways"].append(fmean(sum(item.hop_ms.values()) for item in items))
                    found[way]["bytes"].append(sent / 1000)
            client.stop(query.id)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbps", type=float, default=20.0, help="of the host's links")
    parser.add_argument("--way-ms", type=float, default=15.0, help="one way over them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    given = parser.parse_args(arguments)
    found = measure(assets_folder(), given.mbps, given.way_ms / 1000, given.rounds)
    rows: list[Row] = []
    for figure, unit in (("latency", "ms"), ("ways", "ms"), ("bytes", "kB")):
        over = found[WAYS[1]][figure]
        rows += [row(figure, way, found[way][figure], unit, ratio(found[way][figure], over)) for way in WAYS]
    bars = [
        Bar("latency_vs_by_host", ratio(found[WAYS[0]]["latency"], found[WAYS[1]]["latency"]), "<= 1"),
        Bar("bytes_vs_by_host", ratio(found[WAYS[0]]["bytes"], found[WAYS[1]]["bytes"]), "<= 0.9"),
    ]
    show("hops", rows, bars, as_json=given.json)


if __name__ == "__main__":
    main()
