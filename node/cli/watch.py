"""What does a running query look like, and how is it followed to its end?

One function for the command line and the demo: it draws a live table on a terminal and writes a plain line a second elsewhere,
and gives back what it saw.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from node.cli.output import bytes_text, seconds_text
from node.client import Client
from node.clock import Clock, rfc3339
from node.journal import plain
from node.model.document import ResultItem
from node.model.video import QUERY_LIFE, Query, Runtime

if TYPE_CHECKING:
    from rich.table import Table

PAGE: Final = 500
POLL: Final = 1.0  # seconds that a request for results may wait; the node answers sooner when there are some
PACE: Final = 0.5  # between two drawings, so that 30 results a second do not become 30 requests
LINE_EVERY: Final = 1.0
MAX_KEPT: Final = 100_000  # figures kept for the summary: 55 minutes at 30 fps


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen. Percentiles and means are over the results seen, not over the node's window.

    `delay_held` is the share of results within the asked delay, None where none was asked for. `ended` is false when the time
    was over first.
    """

    query: Query
    runtime: Runtime
    results: int
    latency_p50: float
    latency_p95: float
    delay_p50: float
    delay_p95: float
    delay_held: float | None
    objects_max: int
    epochs: tuple[int, ...]
    ended: bool


def watch(client: Client, ref: str, *, clock: Clock, out: TextIO, seconds: float | None = None, color: bool = True) -> Watched:
    """Follows a query until it ends, or for `seconds`; blocks. Results from before the call count too.

    Raises:
        KeyboardInterrupt: Ctrl-C; the query runs on.
    """
    started = clock.monotonic()
    query = client.query(ref)
    seen = _Seen()
    with _screen(out, color) as screen:
        while True:
            left = POLL if seconds is None else seconds - (clock.monotonic() - started)
            final = query.state in QUERY_LIFE.terminal  # known before the page is read, so nothing comes after it
            fresh = client.results(query.id, seen.cursor, PAGE, 0.0 if final else max(min(POLL, left), 0.0)).items
            seen.take(fresh)
            query = query if final else client.query(query.id)
            runtime = client.runtime(query.id)
            done = final and len(fresh) < PAGE
            over = seconds is not None and left <= 0
            screen.show(query, runtime, seen.results, clock, last=done or over)
            if done or over:
                return seen.summary(query, runtime, ended=done)
            if not final:
                threading.Event().wait(PACE)


@dataclass(slots=True)
class _Seen:
    cursor: int = 0
    results: int = 0
    objects_max: int = 0
    epochs: dict[int, None] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))

    def take(self, items: Sequence[ResultItem]) -> None:
        for item in items:
            self.cursor = item.cursor
            self.results += 1
            self.epochs[item.plan_epoch] = None
            self.latencies.append(item.latency)
            self.delays.append(item.delay)
            boxes = item.output.get("bbox")
            self.objects_max = max(self.objects_max, len(boxes) if isinstance(boxes, list) else 0)

    def summary(self, query: Query, runtime: Runtime, *, ended: bool) -> Watched:
        limit = query.constraint.delay
        held = sum(delay <= limit for delay in self.delays) / len(self.delays) if limit and self.delays else None
        return Watched(
            query=query,
            runtime=runtime,
            results=self.results,
            latency_p50=percentile(self.latencies, 0.5),
            latency_p95=percentile(self.latencies, 0.95),
            delay_p50=percentile(self.delays, 0.5),
            delay_p95=percentile(self.delays, 0.95),
            delay_held=held,
            objects_max=self.objects_max,
            epochs=tuple(self.epochs),
            ended=ended,
        )


def percentile(figures: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; 0 where there are no figures."""
    ordered = sorted(figures)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class _Screen(Protocol):
    def show(self, query: Query, runtime: Runtime, results: int, clock: Clock, *, last: bool) -> None: ...


@contextmanager
def _screen(out: TextIO, color: bool) -> Iterator[_Screen]:
    if not out.isatty():
        yield _Lines(out)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(file=out, no_color=not color), auto_refresh=False) as live:

        class Drawn:
            def show(self, query: Query, runtime: Runtime, results: int, clock: Clock, *, last: bool) -> None:
                live.update(_table(query, runtime, results), refresh=True)

        yield Drawn()


class _Lines:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next = 0.0

    def show(self, query: Query, runtime: Runtime, results: int, clock: Clock, *, last: bool) -> None:
        now = clock.monotonic()
        if now < self._next and not last:
            return
        self._next = now + LINE_EVERY
        words = [f"{title} {text}" for title, text in facts(query, runtime, results) if title != "query"]
        self._out.write(f"{rfc3339(clock.wall())[11:19]}  " + "  ".join(words) + "\n")
        self._out.flush()


def _table(query: Query, runtime: Runtime, results: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for title, text in facts(query, runtime, results):
        style = "red" if "✗" in text or text.startswith("failed") else ""
        table.add_row(Text(title, style="dim"), Text(text, style=style))
    return table


def facts(query: Query, runtime: Runtime, results: int) -> tuple[tuple[str, str], ...]:
    """Title and text of everything that is worth seeing of a query, in the order of the eye."""
    tally, plan = query.tally, query.plan
    rows = [
        ("query", f"{query.id} {query.name}".rstrip()),
        ("state", f"{query.state}" + (f" ({query.reason})" if query.reason else "")),
        ("fps", f"{runtime.fps:.1f}" + (f" of {plan.video_conf.fps} at {plan.video_conf.resolution}" if plan else "")),
        ("latency", f"p50 {seconds_text(runtime.latency_p50)} p95 {_held(runtime.latency_p95, query.constraint.latency)}"),
        ("delay", _held(runtime.delay, query.constraint.delay)),
        ("objects", f"{runtime.obj_n:g}" + (" stable" if runtime.obj_stable else "")),
        ("stages", _stages(query, runtime)),
        ("moved", bytes_text(tally.bytes_moved)),
        (
            "frames",
            f"{tally.captured} = {tally.processed} done + {tally.skipped} skipped + {tally.failed} failed"
            + (f", {tally.in_flight} in flight" if tally.in_flight else ""),
        ),
        ("results", str(results)),
    ]
    return tuple((title, plain(text)) for title, text in rows)


def _held(figure: float, limit: float | None) -> str:
    if limit is None:
        return seconds_text(figure)
    held = figure <= limit
    return f"{seconds_text(figure)} {'≤' if held else '>'} {seconds_text(limit)} {'✓' if held else '✗'}"


def _stages(query: Query, runtime: Runtime) -> str:
    if query.plan is None:
        return "no plan yet"
    places = query.plan.flow_mapping
    return " → ".join(
        f"{stage}@{places[stage].node} ({places[stage].role}) {runtime.stage_ms.get(stage, 0.0):.0f} ms"
        for stage in query.pipeline
        if stage in places
    )
