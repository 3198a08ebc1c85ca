"""What does the demo do, and what does it leave behind?

It submits the head-count query to three running nodes, follows it in front of the user's eyes, fetches annotated pictures and
lets a second query load the camera on the way, and at the end holds every processed frame against the truth that was drawn
with the clip.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.cli.context import Settings
from node.cli.output import bytes_text
from node.cli.system import CLOUD, LocalSystem
from node.cli.watch import PAGE, Watched, watch
from node.client import Client
from node.clock import Clock
from node.errors import EcnodeError, Unavailable
from node.model.document import ResultItem
from node.model.video import Constraint, Plan, Query, QueryRequest, Tally

CALIBRATION_S: Final = 60.0
PICTURES: Final = 4
RUSH_AT: Final = 1 / 3  # of the demo's time: before it one edge suffices, after it the work must spread
POLL_S: Final = 0.2
REQUEST: Final = QueryRequest(
    name="headcount",
    node="edge-1",
    source="lobby",
    pipeline=("face_detection", "face_alignment"),
    constraint=Constraint(delay=0.3, accuracy=0.9),
)
STREET: Final = QueryRequest(
    name="street",
    node="edge-1",
    source="street",
    pipeline=("car_detection",),
    constraint=Constraint(delay=0.5, accuracy=0.8),
)
RUSH: Final = REQUEST.replace(name="rush")  # where car_detection is not offered


@dataclass(frozen=True, slots=True)
class _Found:
    """The demo in figures. `counts_right` is the share of processed frames whose face count is the truth's."""

    results: int
    counts_right: float
    watched: Watched
    stages: dict[str, dict[str, int]]
    pictures: int
    tally: Tally
    street: Sequence[ResultItem]


def run_demo(system: LocalSystem, settings: Settings, clock: Clock, *, seconds: float, out: Path, truth: Path) -> int:
    """Runs the video demo; 0 when results came and the frames add up, 1 when not."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("*-[0-9].jpg"), out / "results.json", out / "summary.txt"):
        old.unlink(missing_ok=True)
    with _connect(system, settings) as client:
        _wait_calibrated(client, system, settings, clock)
        query = client.submit(REQUEST)
        settings.say(f"query {query.id}: {' → '.join(query.pipeline)} on {query.node}/{query.source}, delay ≤ 0.3 s")
        second = STREET if _offered(client, "car_detection") else RUSH
        if second is RUSH:
            settings.say("car_detection is not offered here (`ecnode assets fetch` says why): a second head count stands in")
        moment = f"in {seconds * RUSH_AT:.0f} s"
        settings.say(f"{moment} a second query, '{second.name}', loads the same edge: watch where the stages go")
        with _connect(system, settings) as other, _Behind(other, query.id, second, out, seconds) as behind:
            watched = watch(client, query.id, clock=clock, out=sys.stdout, seconds=seconds, color=settings.color)
        client.stop(query.id)
        items = _all_results(client, query.id)
        stopped = client.query(query.id)
        plans = {item.plan.epoch: item.plan for item in client.plans(query.id)[1]}
        street = _all_results(client, behind.second.id) if behind.second and second is STREET else []
    found = _Found(
        results=len(items),
        counts_right=_counts_right(items, truth),
        watched=watched,
        stages=_where(items, plans),
        pictures=behind.pictures,
        tally=stopped.tally,
        street=street,
    )
    _write(out, found, items)
    print((out / "summary.txt").read_text(), end="")
    return 0 if found.results and found.tally.adds_up and found.pictures else 1


def _where(items: Sequence[ResultItem], plans: Mapping[int, Plan]) -> dict[str, dict[str, int]]:
    """How many frames of each stage each node had."""
    where: dict[str, Counter[str]] = {stage: Counter() for stage in REQUEST.pipeline}
    for item in items:
        if (plan := plans.get(item.plan_epoch)) is not None:
            for stage, place in plan.flow_mapping.items():
                where[stage][place.node] += 1
    return {stage: dict(counts) for stage, counts in where.items()}


class _Behind:
    """What happens behind the table that the user watches: pictures now and then, and a rush on the camera."""

    def __init__(self, client: Client, query_id: str, second: QueryRequest, out: Path, seconds: float) -> None:
        self.pictures = 0
        self.second: Query | None = None
        self._request = second
        self._client = client
        self._query_id = query_id
        self._out = out
        self._steps = [(seconds * number / (PICTURES + 1), self._photograph) for number in range(1, PICTURES + 1)]
        self._steps.append((seconds * RUSH_AT, self._rush))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo")

    def __enter__(self) -> _Behind:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        now = 0.0
        for moment, step in sorted(self._steps, key=lambda planned: planned[0]):
            if self._over.wait(moment - now):
                return
            now = moment
            try:
                step()
            except EcnodeError as error:
                print(f"demo: {error.message}", file=sys.stderr)

    def _photograph(self) -> None:
        picture = self._client.picture(self._query_id)
        self.pictures += 1
        (self._out / f"frame-{self.pictures}.jpg").write_bytes(picture)
        if self.second is not None:
            picture = self._client.picture(self.second.id)
            (self._out / f"{self._request.name}-{self.pictures}.jpg").write_bytes(picture)

    def _rush(self) -> None:
        self.second = self._client.submit(self._request)


def _connect(system: LocalSystem, settings: Settings) -> Client:
    return Client(system.url(), system.token_file().read_text().strip(), settings.timeout)


def _offered(client: Client, service: str) -> bool:
    return client.node().report.service(service) is not None


def _wait_calibrated(client: Client, system: LocalSystem, settings: Settings, clock: Clock) -> None:
    """Until every node has measured its services, so that the planner may choose among all of them."""
    settings.say("measuring the services of every node …")
    end = clock.monotonic() + CALIBRATION_S
    while clock.monotonic() < end:
        reports = [client.node().report, *(view.report for view in client.nodes())]
        measured = [report.name for report in reports if report.services]
        if set(system.names) <= set(measured):
            return
        threading.Event().wait(POLL_S)
    raise Unavailable(f"not every node had measured its services after {CALIBRATION_S:.0f} s: only {', '.join(measured)}")


def _all_results(client: Client, query_id: str) -> list[ResultItem]:
    items: list[ResultItem] = []
    while page := client.results(query_id, items[-1].cursor if items else 0, PAGE).items:
        items += page
    return items


def _counts_right(items: Sequence[ResultItem], truth: Path) -> float:
    frames = json.loads(truth.read_text())["frames"]
    counts = [len(frame["boxes"]) for frame in frames]
    right = 0
    for item in items:
        boxes = item.output.get("bbox")
        right += isinstance(boxes, list) and len(boxes) == counts[item.cam_frame_id % len(counts)]
    return right / len(items) if items else 0.0


def _counted(items: Sequence[ResultItem]) -> str:
    """The most of each kind that one frame showed."""
    most: Counter[str] = Counter()
    for item in items:
        counts = item.output.get("count_result")
        for kind, count in (counts if isinstance(counts, dict) else {}).items():
            most[kind] = max(most[kind], count if isinstance(count, int) else 0)
    return ", ".join(f"up to {count} {kind}" for kind, count in most.items() if count) or "nothing found"


def _write(out: Path, found: _Found, items: Sequence[ResultItem]) -> None:
    watched, query = found.watched, found.watched.query
    lines = [
        f"head count on {query.node}/{query.source}, {found.results} frames in results.json, {found.pictures} pictures",
        f"fps           {watched.runtime.fps:.1f}",
        f"latency       p50 {watched.latency_p50 * 1000:.0f} ms, p95 {watched.latency_p95 * 1000:.0f} ms (capture to result)",
        f"delay         p50 {watched.delay_p50 * 1000:.0f} ms, p95 {watched.delay_p95 * 1000:.0f} ms; "
        f"≤ 300 ms in {(watched.delay_held or 0) * 100:.1f} % of frames",
        f"head count    right in {found.counts_right * 100:.1f} % of frames, up to {watched.objects_max} heads",
    ]
    lines += [
        f"{stage:<13} " + ", ".join(f"{node} {count} frames" for node, count in places.items())
        for stage, places in found.stages.items()
    ]
    tally = found.tally
    lines += [
        f"moved         {bytes_text(tally.bytes_moved)} of pictures between nodes",
        f"frames        captured {tally.captured} = processed {tally.processed} + skipped {tally.skipped} "
        f"+ failed {tally.failed}" + ("" if tally.adds_up else "   DOES NOT ADD UP"),
        f"plans         {len(watched.epochs)} used; `{CLOUD}` chose them",
    ]
    if found.street:
        lines.append(f"street        {len(found.street)} frames of the second query: {_counted(found.street)}")
    (out / "summary.txt").write_text("\n".join(lines) + "\n")
    document = {
        "summary": {
            "results": found.results,
            "counts_right": found.counts_right,
            "latency_p50_s": watched.latency_p50,
            "latency_p95_s": watched.latency_p95,
            "delay_p50_s": watched.delay_p50,
            "delay_p95_s": watched.delay_p95,
            "delay_held": watched.delay_held,
            "stages": found.stages,
            "tally": tally.model_dump(),
        },
        "street": [item.model_dump(mode="json") for item in found.street],
        "results": [item.model_dump(mode="json") for item in items],
    }
    (out / "results.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
