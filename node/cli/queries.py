"""The commands for video queries."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, list_options, output_option, pass_settings
from node.cli.exits import FAILED, INTERRUPTED
from node.cli.output import Column, seconds_text, show_list, show_one, show_page
from node.cli.spec import MAX_SPEC, read_spec
from node.client import Client
from node.clock import SystemClock, rfc3339
from node.errors import Invalid, Problem
from node.journal import plain
from node.model.decision import Considered, Decision
from node.model.document import PlanItem, ResultItem, to_document
from node.model.value import new_id
from node.model.video import Constraint, Placement, Query, QueryState, Runtime

if TYPE_CHECKING:
    from pydantic import JsonValue

    from node.cli.watch import Watched
    from node.model.export import Format

MAX_DIGEST: Final = 80
PAGE: Final = 500  # results of one request
FOLLOW_WAIT: Final = 20.0

_CLOCK: Final = SystemClock()


@click.group(cls=SuggestingGroup)
def queries() -> None:
    """Submit and follow video queries.

    REF is an id, a unique beginning of one, a name, or @last.
    """


@queries.command()
@click.argument("file", type=click.File("rb"))
@click.option("--watch", "follow", is_flag=True, help="Follow it to its end; the exit code is the query's.")
@output_option
@pass_settings
def submit(settings: Settings, file: BinaryIO, follow: bool) -> int:
    """Submit the query that FILE (JSON or TOML, - for standard input) describes."""
    document = read_spec(file.read(MAX_SPEC + 1), str(getattr(file, "name", "")))
    document.setdefault("id", new_id("q", _CLOCK.wall()))  # made here, so that asking twice is one query
    with settings.connect() as client:
        query = client.submit(document)
        settings.say(f"query {query.id} on {query.node}" + ("" if follow else f"   (follow: ecnode queries watch {query.id})"))
        if follow:
            return _follow(settings, client, query.id, None)
        if settings.output != "table":
            _show(settings, query)
    return 0


@queries.command("list")
@list_options(QueryState)
@output_option
@pass_settings
def listing(settings: Settings, state: str | None, limit: int, after: str | None) -> None:
    """Queries, newest first."""
    with settings.connect() as client:
        page = client.queries(QueryState(state) if state else None, limit, after)
    none = f"no query is {state}" if state else "no queries; submit one: ecnode queries submit FILE"
    show_page(settings, page, _LIST_COLUMNS, to_document, _id, empty=none)


@queries.command()
@click.argument("ref")
@output_option
@pass_settings
def show(settings: Settings, ref: str) -> None:
    """One query, and what has happened to it."""
    with settings.connect() as client:
        query = client.query(ref)
        _show(settings, query)
        if settings.output == "table":
            for event in client.events(query.id):
                click.echo(plain(f"  {rfc3339(event.time)}  {event.event} → {event.state}  {event.reason}".rstrip()))


@queries.command("watch")
@click.argument("ref", default="@last")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Stop watching after so long.")
@output_option
@pass_settings
def watching(settings: Settings, ref: str, seconds: float | None) -> int:
    """Follow a query to its end; exit code 1 if it fails. Ctrl-C leaves it running."""
    with settings.connect() as client:
        return _follow(settings, client, ref, seconds)


@queries.command()
@click.argument("ref", default="@last")
@click.option("--use", "chosen", type=click.File("rb"), metavar="FILE", help="Give it the plan of FILE (JSON or TOML).")
@output_option
@pass_settings
def plan(settings: Settings, ref: str, chosen: BinaryIO | None) -> None:
    """The plans of a query, oldest first; the last one holds.

    One that was chosen with --use stays until the constraint changes or a node of it cannot be used.
    """
    with settings.connect() as client:
        if chosen is not None:
            client.choose_plan(ref, read_spec(chosen.read(MAX_SPEC + 1), str(getattr(chosen, "name", ""))))
        _, history = client.plans(ref)
    show_list(settings, history, _PLAN_COLUMNS, to_document, lambda item: str(item.plan.epoch))


@queries.command()
@click.argument("ref", default="@last")
@click.option("-n", "--limit", type=click.IntRange(1, 200), default=10, help="How many decisions, the newest.")
@click.option("--best", is_flag=True, help="The five best plans of the newest decision instead.")
@output_option
@pass_settings
def why(settings: Settings, ref: str, limit: int, best: bool) -> None:
    """Why a query has the plan that it has, oldest first, with the delay and the latency that were predicted and are seen."""
    with settings.connect() as client:
        found = client.decisions(ref, limit)
    if best:
        show_list(settings, found[-1].best if found else (), _BEST_COLUMNS, to_document, lambda each: f"{each.utility:.3f}")
    else:
        show_list(settings, found, _WHY_COLUMNS, to_document, lambda each: str(each.epoch))
    if not found:
        settings.say("nothing was decided yet, or its scheduler gives no reasons")


@queries.command()
@click.argument("ref")
@click.option("--delay", metavar="SECONDS|none", help="Largest delay of the original's kind.")
@click.option("--latency", metavar="SECONDS|none", help="Largest time from capture to result.")
@click.option("--accuracy", metavar="FRACTION|none", help="Smallest accuracy.")
@click.option("--weight", metavar="NUMBER|none", help="Priority where queries share nodes; 1 without it.")
@output_option
@pass_settings
def constrain(  # noqa: PLR0917 - click hands over one argument an option
    settings: Settings, ref: str, delay: str | None, latency: str | None, accuracy: str | None, weight: str | None
) -> None:
    """Change what must hold; what is not named stays, `none` takes a limit away."""
    given = {"delay": delay, "latency": latency, "accuracy": accuracy, "weight": weight}
    change = _constraint({field: text for field, text in given.items() if text is not None})
    with settings.connect() as client:
        _show(settings, client.constrain(ref, change))


@queries.command()
@click.argument("ref", default="@last")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only those behind this cursor.")
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=100, help="How many at most.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the query ends.")
@output_option
@pass_settings
def results(settings: Settings, ref: str, after: int, limit: int, follow: bool) -> None:
    """Results in order; -f prints each as a line while it comes."""
    with settings.connect() as client:
        if follow:
            _tail(settings, client, client.query(ref), after)
            return
        page = client.results(ref, after, limit)
    show_list(settings, page.items, _RESULT_COLUMNS, to_document, lambda item: str(item.cursor))


@queries.command()
@click.argument("ref", default="@last")
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", help="A table, or one JSON object a line."
)
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only those behind this cursor.")
@click.option("--out", type=click.Path(dir_okay=False, writable=True), help="File to write; without it standard output.")
@pass_settings
def export(settings: Settings, ref: str, form: Format, after: int, out: str | None) -> None:
    """Write every kept result to a file or to standard output."""
    from node.model.export import head, line

    count = 0
    with settings.connect() as client, click.open_file(out or "-", "w", encoding="utf-8") as file:
        ref = client.query(ref).id
        file.write(head(form))
        while items := client.results(ref, after, PAGE).items:
            file.writelines(line(form, item) for item in items)
            after, count = items[-1].cursor, count + len(items)
    settings.say(f"{_number_of(count, 'result')} written" + (f" to {out}" if out else ""))


@queries.command()
@click.argument("ref")
@output_option
@pass_settings
def stop(settings: Settings, ref: str) -> None:
    """Stop a query; one that has ended stays as it is."""
    with settings.connect() as client:
        query = client.stop(ref)
    settings.say(f"query {query.id} is {query.state}")
    if settings.output != "table":
        _show(settings, query)


def _follow(settings: Settings, client: Client, ref: str, seconds: float | None) -> int:
    from node.cli.watch import watch

    talk: TextIO = sys.stdout if settings.output == "table" else sys.stderr
    try:
        seen = watch(client, ref, clock=_CLOCK, out=talk, seconds=seconds, color=settings.color)
    except KeyboardInterrupt:
        settings.say("the query runs on")
        settings.say(f"again    ecnode queries watch {ref}")
        settings.say(f"end it   ecnode queries stop {ref}")
        return INTERRUPTED
    if settings.output == "table":
        click.echo(_closing(seen))
    else:
        _show(settings, seen.query)
    return FAILED if seen.query.state == QueryState.FAILED else 0


def _closing(seen: Watched) -> str:
    reason = f": {plain(seen.query.reason)}" if seen.query.reason else ""
    if not seen.results:
        return f"{seen.query.state} without a result{reason}"
    held = "" if seen.delay_held is None else f", {seen.delay_held:.0%} within {seconds_text(seen.query.constraint.delay or 0)}"
    return (
        f"{seen.query.state} after {_number_of(seen.results, 'result')}{reason}\n"
        f"latency p50 {seconds_text(seen.latency_p50)} p95 {seconds_text(seen.latency_p95)}, "
        f"delay p50 {seconds_text(seen.delay_p50)}{held}, {_number_of(len(seen.epochs), 'plan')}"
    )


def _number_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _tail(settings: Settings, client: Client, query: Query, after: int) -> None:
    from node.model.video import QUERY_LIFE

    while True:
        final = query.state in QUERY_LIFE.terminal
        page = client.results(query.id, after, PAGE, 0.0 if final else FOLLOW_WAIT)
        for item in page.items:
            after = item.cursor
            document = json.dumps(to_document(item), ensure_ascii=False, separators=(",", ":"))
            click.echo(document if settings.output != "name" else str(item.cursor))
        if final and not page.items:
            return
        query = client.query(query.id)


def _show(settings: Settings, query: Query) -> None:
    show_one(settings, query, _COLUMNS, to_document, _id)


def _id(query: Query) -> str:
    return query.id


_LIMITS: Final = {
    "delay": "delay ≤ {:g} s",
    "latency": "latency ≤ {:g} s",
    "accuracy": "accuracy ≥ {:g}",
    "weight": "weight {:g}",
}


def _asked(query: Query) -> str:
    given = [(field, value) for field, value in query.constraint if value is not None]
    return ", ".join(_LIMITS[field].format(value) for field, value in given) or "–"


def _digest(output: Mapping[str, JsonValue]) -> str:
    """An output in one line: a list by its length, a table by its content."""
    words: list[str] = []
    for name, value in output.items():
        if isinstance(value, list):
            words.append(f"{len(value)} {name}")
        elif isinstance(value, dict):
            words += [f"{part} {each}" for part, each in value.items()]
        else:
            words.append(f"{name} {value}")
    return ", ".join(words)[:MAX_DIGEST]


def _flow(query: Query) -> str:
    if not query.graph:
        return " → ".join(query.pipeline)
    ways = [(" + ".join(query.graph[stage]), stage) for stage in query.pipeline]
    return ", ".join(f"{before} → {stage}" if before else stage for before, stage in ways)


def _placed(stage: str, place: Placement) -> str:
    return f"{stage}@{place.node} ({place.role}{', by the host' if place.by_host else ''})"


def _expected(plan: Considered | None) -> str:
    """Delay and latency, as `_seen`."""
    return "–" if plan is None else f"{seconds_text(plan.delay)}, {seconds_text(plan.latency)}"


def _seen(runtime: Runtime) -> str:
    """Delay and latency of the newest results; nothing where there are none."""
    return f"{seconds_text(runtime.delay)}, {seconds_text(runtime.latency_p50)}" if runtime.fps or runtime.delay else "–"


_COLUMNS: Final[Sequence[Column[Query]]] = (
    Column("ID", _id),
    Column("NAME", lambda query: query.name or "–"),
    Column("SOURCE", lambda query: f"{query.node}/{query.source}"),
    Column("PIPELINE", _flow),
    Column("WANTED", _asked),
    Column("STATE", lambda query: f"{query.state}: {query.reason}" if query.reason else str(query.state)),
    Column("FRAMES", lambda query: f"{query.tally.processed}/{query.tally.captured}"),
    Column("CREATED", lambda query: rfc3339(query.created_at)),
)
_LIST_COLUMNS: Final[Sequence[Column[Query]]] = (
    *_COLUMNS[:-1],
    Column("AGE", lambda query: seconds_text(max(_CLOCK.wall() - query.created_at, 0.0))),  # 18 narrower than a date
)
_PLAN_COLUMNS: Final[Sequence[Column[PlanItem]]] = (
    Column("SINCE", lambda item: rfc3339(item.since_at)),
    Column("EPOCH", lambda item: str(item.plan.epoch)),
    Column("FPS", lambda item: str(item.plan.video_conf.fps)),
    Column("RESOLUTION", lambda item: item.plan.video_conf.resolution),
    Column(
        "STAGES",
        lambda item: " → ".join(_placed(stage, place) for stage, place in item.plan.flow_mapping.items()),
    ),
)
_WHY_COLUMNS: Final[Sequence[Column[Decision]]] = (
    Column("TIME", lambda each: rfc3339(each.time)[11:19]),
    Column("PLAN", lambda each: str(each.epoch)),
    Column("PREDICTED", lambda each: _expected(each.predicted)),
    Column("OBSERVED", lambda each: _seen(each.observed)),
    Column("WHY", lambda each: plain(each.reason)),
)
_BEST_COLUMNS: Final[Sequence[Column[Considered]]] = (
    Column("UTILITY", lambda each: f"{each.utility:.3f}"),
    Column("FPS", lambda each: str(each.video_conf.fps)),
    Column("RESOLUTION", lambda each: each.video_conf.resolution),
    Column("STAGES", lambda each: " → ".join(f"{stage}@{node}" for stage, node in each.places.items())),
    Column("DELAY", lambda each: seconds_text(each.delay)),
    Column("LATENCY", lambda each: seconds_text(each.latency)),
    Column("HELD", lambda each: f"{each.held:.0%}"),
    Column("ACCURACY", lambda each: f"{each.accuracy:.2f}"),
)
_RESULT_COLUMNS: Final[Sequence[Column[ResultItem]]] = (
    Column("CURSOR", lambda item: str(item.cursor)),
    Column("CAPTURED", lambda item: rfc3339(item.captured_at)),
    Column("FRAME", lambda item: str(item.cam_frame_id)),
    Column("LATENCY", lambda item: seconds_text(item.latency)),
    Column("DELAY", lambda item: seconds_text(item.delay)),
    Column("PLAN", lambda item: str(item.plan_epoch)),
    Column("STAGES", lambda item: ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in item.stage_ms.items())),
    Column("OUTPUT", lambda item: _digest(item.output)),
)


def _constraint(given: Mapping[str, str]) -> Constraint:
    from pydantic import ValidationError

    if not given:
        raise Invalid("nothing to change", hint="name --delay, --latency, --accuracy or --weight")
    try:
        return Constraint.model_validate(
            {field: None if text == "none" else _number(field, text) for field, text in given.items()}
        )
    except ValidationError as error:
        faults = [Problem(f"--{fault['loc'][0]}", fault["msg"]) for fault in error.errors()]
        raise Invalid("the limits are wrong", problems=faults) from None


def _number(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Invalid(f"--{field}: '{text}' is neither a number nor none") from None
