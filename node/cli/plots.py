"""The commands for plots."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, list_options, output_option, pass_settings
from node.cli.exits import FAILED, INTERRUPTED
from node.cli.output import Column, bytes_text, seconds_text, share_text, show_list, show_one, show_page
from node.cli.plot_times import COLUMNS as PHASE_COLUMNS
from node.cli.plot_times import compare
from node.client import Client
from node.clock import SystemClock, rfc3339
from node.errors import Invalid, Problem
from node.journal import plain
from node.model.document import TalentCard, to_document
from node.model.plot import PLOT_LIFE, CacheReport, DestinationReport, PlotChange, PlotRequest, PlotState, PlotStatus
from node.model.value import new_id

COUNT_MOST: Final = 500
PACE: Final = 0.5  # between two looks at plots that are followed
LOG_WAIT: Final = 20.0
PAGE: Final = 500
_PHASES: Final = {
    0: "",
    1: "forward propagation",
    2: "backpropagation",
    3: "compression",
    4: "checkpoints",
    5: "copy and proof",
}

_CLOCK: Final = SystemClock()


@click.group(cls=SuggestingGroup)
def plots() -> None:
    """Order plots, follow and compare them.

    REF is an id, a unique beginning of one, a task_id, a name, or @last.
    """


@plots.command()
@click.option("--ksize", type=click.IntRange(18, 50), help="Size; default: the talent's.")
@click.option("-n", "--count", type=click.IntRange(1, COUNT_MOST), default=1, show_default=True, help="How many.")
@click.option("--name", default="", help="A name to find it by.")
@click.option("--talent", "node", metavar="NODE", help="Who makes it; default: whoever has room.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="The talent must have it; may be repeated.")
@click.option("--threads", type=click.IntRange(1, 512), help="Threads of the plotter.")
@click.option("--buffer", type=click.IntRange(10), metavar="MIB", help="Memory of the plotter's sorts.")
@click.option("--buckets", type=click.IntRange(0, 1024), help="Sort buckets.")
@click.option("--stripe", "stripe_size", type=click.IntRange(64, 65_536), help="Stripe size of chiapos.")
@click.option("--cache1", metavar="PATH", help="Temp directory, at the talent.")
@click.option("--cache2", metavar="PATH", help="Second temp directory.")
@click.option("--dest", "dest_path", metavar="PATH", help="Where the plot goes, at the talent.")
@click.option("--fpk", metavar="HEX", help="The farmer's public key.")
@click.option("--ppk", metavar="HEX", help="The pool's public key.")
@click.option("--watch", "follow", is_flag=True, help="Follow them to their end; the exit code says whether all are finished.")
@output_option
@pass_settings
def create(settings: Settings, /, *, count: int, labels: Sequence[str], follow: bool, **given: str | int | None) -> int:
    """Order one or more plots."""
    wanted = {name: value for name, value in given.items() if value not in {None, ""}}
    request = _request({**wanted, **({"labels": _labels(labels)} if labels else {})})
    with settings.connect() as client:
        ordered = [client.create_plot(request.replace(id=new_id("p", _CLOCK.wall()))) for _ in range(count)]
        if follow:
            settings.say(f"{count} plots ordered; Ctrl-C leaves them at it" if count > 1 else f"plot {ordered[0].id}")
            return _follow(settings, client, [plot.id for plot in ordered])
        show_list(settings, ordered, _LIST_COLUMNS, to_document, _id)
    settings.say("follow: ecnode plots list, or ecnode plots show @last")
    return 0


@plots.command("list")
@list_options(PlotState)
@output_option
@pass_settings
def listing(settings: Settings, state: str | None, limit: int, after: str | None) -> None:
    """Plots, newest first."""
    with settings.connect() as client:
        page = client.plots(PlotState(state) if state else None, limit, after)
    none = f"no plot is {state}" if state else "no plots; order one: ecnode plots create --ksize 18"
    show_page(settings, page, _LIST_COLUMNS, to_document, _id, empty=none)


@plots.command()
@click.argument("ref", default="@last")
@output_option
@pass_settings
def show(settings: Settings, ref: str) -> None:
    """One plot with every column, and what has happened to it."""
    with settings.connect() as client:
        plot = client.plot(ref)
        show_one(settings, plot, _COLUMNS, to_document, _id)
        if settings.output == "table":
            for name, value in plot.times.items():
                if value is not None and name.endswith("_time"):
                    cpu = plot.times.get(f"{name.removesuffix('_time')}_cpu")
                    click.echo(f"  {name:<14}{value:>12.3f} s{'' if cpu is None else f'{cpu:>9.1f} % CPU'}")
            for step in client.plot_steps(plot.id):
                click.echo(plain(f"  {rfc3339(step.time)}  {step.event} → {step.state}  {step.reason}".rstrip()))


@plots.command()
@click.argument("refs", nargs=-1, required=True, metavar="REF…")
@pass_settings
def watch(settings: Settings, refs: Sequence[str]) -> int:
    """Follow plots to their end; exit code 1 if one does not finish. Ctrl-C leaves them at it."""
    with settings.connect() as client:
        return _follow(settings, client, [client.plot(ref).id for ref in refs])


@plots.command()
@click.argument("ref", default="@last")
@click.option("-f", "--follow", is_flag=True, help="Go on until the plot is over.")
@click.option("--tail", is_flag=True, help="Only the end, 64 KiB at the most.")
@pass_settings
def logs(settings: Settings, ref: str, *, follow: bool, tail: bool) -> None:
    """What the plotter of a plot writes."""
    with settings.connect() as client:
        id = client.plot(ref).id
        if tail:
            _write(client.plot_log(id, tail=True))
            return
        offset = 0
        while True:
            over = client.plot(id).state in PLOT_LIFE.terminal  # before the log is read: nothing comes after it
            content = client.plot_log(id, offset, wait=LOG_WAIT if follow and not over else 0.0)
            offset += len(content)
            _write(content)
            if not content and (over or not follow):
                return


@plots.command()
@click.argument("refs", nargs=-1, required=True, metavar="REF…")
@pass_settings
def stop(settings: Settings, refs: Sequence[str]) -> None:
    """Stop plots, in whatever state they are."""
    with settings.connect() as client:
        for ref in refs:
            settings.say(f"{ref}: {client.stop_plot(ref).msg}")


@plots.command()
@click.argument("ref")
@pass_settings
def suspend(settings: Settings, ref: str) -> None:
    """Freeze the plotter of a plot."""
    with settings.connect() as client:
        settings.say(f"plot {client.suspend_plot(ref).id} is suspended; it goes on with: ecnode plots resume {ref}")


@plots.command()
@click.argument("ref")
@pass_settings
def resume(settings: Settings, ref: str) -> None:
    """Let a suspended plotter go on."""
    with settings.connect() as client:
        settings.say(f"plot {client.resume_plot(ref).id} goes on")


@plots.command()
@click.argument("ref")
@click.argument("name")
@pass_settings
def rename(settings: Settings, ref: str, name: str) -> None:
    """Call a plot NAME from now on."""
    with settings.connect() as client:
        plot = client.update_plot(ref, PlotChange(name=name))
        settings.say(f"plot {plot.id} is called {plain(plot.name)}")


@plots.command("give-up")
@click.argument("refs", nargs=-1, required=True, metavar="REF…")
@pass_settings
def give_up(settings: Settings, refs: Sequence[str]) -> None:
    """End plots whose talent does not come back; if it does after all, it is told to stop them."""
    with settings.connect() as client:
        for ref in refs:
            plot = client.give_up_plot(ref)
            settings.say(f"{plot.id}: {plot.state}, {plain(plot.reason)}")


@plots.command()
@output_option
@pass_settings
def dirs(settings: Settings) -> None:
    """The temp directories and destinations of the talents."""
    with settings.connect() as client:
        talents = client.talents()
    rows = [_Place(card, place) for card in talents for place in _places(card)]
    show_list(settings, rows, _DIR_COLUMNS, _Place.document, lambda row: row.at.path, empty="no talent has joined")
    for card in talents:
        if card.report.problem:
            settings.say(f"{card.name}: {card.report.problem}")


def _places(card: TalentCard) -> list[CacheReport | DestinationReport]:
    return [*card.report.caches, *card.report.destinations]


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory of a talent."""

    talent: TalentCard
    at: CacheReport | DestinationReport

    @property
    def use(self) -> str:
        return "temp" if isinstance(self.at, CacheReport) else f"destination ({self.at.type})"

    @property
    def plots(self) -> str:
        return f"{self.at.running} of {self.at.max_parallel or '∞'}" if isinstance(self.at, CacheReport) else "–"

    @property
    def problem(self) -> str:
        return self.at.problem if isinstance(self.at, DestinationReport) else ""

    def document(self) -> Mapping[str, object]:
        return {"talent": self.talent.name, "use": self.use, **to_document(self.at)}


@plots.command()
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Of so many plots.")
@output_option
@pass_settings
def analyze(settings: Settings, limit: int) -> None:
    """How long the phases take, by talent, temp directory and size: median and slowest of the finished plots."""
    found: list[PlotStatus] = []
    with settings.connect() as client:
        after = None
        while len(found) < limit:
            page = client.plots(PlotState.FINISHED, min(PAGE, limit - len(found)), after)
            found += page.items
            after = str(page.following) if page.following is not None else None
            if after is None:
                break
    rows = compare(found)
    show_list(settings, rows, PHASE_COLUMNS, lambda row: row.document(), lambda row: row.key, empty="no plot is finished yet")


@plots.command()
@click.option("--state", type=click.Choice([state.value for state in PlotState]), help="Only those.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@pass_settings
def export(settings: Settings, state: str | None, file: Path) -> None:
    """Write all plots as CSV to FILE (- for standard output), with the columns of the original's table."""
    with settings.connect() as client:
        content = client.plots_csv(PlotState(state) if state else None)
    if str(file) == "-":
        _write(content)
    else:
        file.write_bytes(content)
        settings.say(f"{file}: {bytes_text(len(content))}")


def _follow(settings: Settings, client: Client, ids: Sequence[str]) -> int:
    """A line for each thing that changes, until all are over; blocks."""
    told: dict[str, tuple[object, ...]] = {}
    states: dict[str, PlotState] = {}
    try:
        while True:
            for id in ids:
                if id in states and states[id] in PLOT_LIFE.terminal:
                    continue
                plot = client.plot(id)
                states[id] = plot.state
                news = (plot.state, plot.phase, plot.suspended, plot.reason)
                if told.get(id) != news:
                    told[id] = news
                    click.echo(plain(_line(plot)))
            if all(states[id] in PLOT_LIFE.terminal for id in ids):
                break
            threading.Event().wait(PACE)
    except KeyboardInterrupt:
        settings.say("they go on; stop them with: ecnode plots stop REF")
        return INTERRUPTED
    finished = sum(state is PlotState.FINISHED for state in states.values())
    settings.say(f"{finished} of {len(ids)} finished")
    return 0 if finished == len(ids) else FAILED


def _line(plot: PlotStatus) -> str:
    doing = _doing(plot)
    words = [plot.id, plot.node or "–", _state(plot), share_text(plot.progress), doing]
    if plot.state is PlotState.FINISHED and plot.dest_file_name:
        words.append(f"{plot.dest_path}/{plot.dest_file_name} {bytes_text(plot.file_bytes or 0)}, {plot.proofs} proofs")
    if plot.reason:
        words.append(plot.reason)
    return "  ".join(word for word in words if word)


def _doing(plot: PlotStatus) -> str:
    if plot.state in PLOT_LIFE.terminal or not plot.phase:
        return ""
    table = f", table {plot.table}" if plot.table else ""
    left = f", {seconds_text(plot.eta_s)} left" if plot.eta_s is not None else ""
    return f"phase {plot.phase} ({_PHASES[plot.phase]}{table}){left}"


def _state(plot: PlotStatus) -> str:
    return f"{plot.state} (suspended)" if plot.suspended else str(plot.state)


def _write(content: bytes) -> None:
    """Lines of somebody else, without what could steer a terminal."""
    sys.stdout.write("\n".join(map(plain, content.decode("utf-8", "replace").split("\n"))))
    sys.stdout.flush()


def _labels(words: Sequence[str]) -> Mapping[str, str]:
    pairs = [word.partition("=") for word in words]
    wrong = [key for key, sign, _ in pairs if not sign or not key]
    if wrong:
        raise Invalid("a label is KEY=VALUE", problems=[Problem("--label", f"'{wrong[0]}' has no value")])
    return {key: value for key, _, value in pairs}


def _request(given: Mapping[str, object]) -> PlotRequest:
    from pydantic import ValidationError

    try:
        return PlotRequest.model_validate(dict(given))
    except ValidationError as error:
        faults = [Problem(".".join(map(str, fault["loc"])) or "request", fault["msg"]) for fault in error.errors()]
        raise Invalid("the plot cannot be ordered so", problems=faults) from None


def _id(plot: PlotStatus) -> str:
    return plot.id


_COLUMNS: Final[Sequence[Column[PlotStatus]]] = (
    Column("ID", _id),
    Column("TASK", lambda plot: plot.task_id),
    Column("NAME", lambda plot: plot.name or "–"),
    Column("TALENT", lambda plot: plot.node or "–"),
    Column("STATE", lambda plot: f"{_state(plot)}: {plot.reason}" if plot.reason else _state(plot)),
    Column("PROGRESS", lambda plot: " ".join(filter(None, (share_text(plot.progress), _doing(plot))))),
    Column("PLOTTER", lambda plot: f"{plot.plotter or '–'}, pid {plot.plot_pid or '–'}, log read by {plot.log_pid or '–'}"),
    Column(
        "SIZE",
        lambda plot: (
            f"k{plot.ksize or '–'}, {plot.threads or '–'} threads, {plot.buffer or '–'} MiB, {plot.buckets or '–'} "
            f"buckets of stripe {plot.stripe_size or '–'}"
        ),
    ),
    Column("PLOT", lambda plot: plot.plot_id or "–"),
    Column("KEYS", lambda plot: f"farmer {(plot.fpk or '–')[:16]}…, pool {(plot.ppk or '–')[:16]}…"),
    Column("CACHE", lambda plot: " and ".join(dict.fromkeys(filter(None, (plot.cache1, plot.cache2)))) or "–"),
    Column("DEST", lambda plot: f"{plot.dest_path or '–'}/{plot.dest_file_name or ''} ({plot.dest_type})"),
    Column("FILE", lambda plot: f"{bytes_text(plot.file_bytes)}, {plot.proofs or 0} proofs" if plot.file_bytes else "–"),
    Column("CREATED", lambda plot: rfc3339(plot.created_at)),
)
_LIST_COLUMNS: Final[Sequence[Column[PlotStatus]]] = (
    Column("ID", _id),
    Column("TALENT", lambda plot: plot.node or "–"),
    Column("K", lambda plot: str(plot.ksize or "–")),
    Column("STATE", _state),
    Column("PROGRESS", lambda plot: share_text(plot.progress)),
    Column("DOING", lambda plot: _doing(plot) or plot.reason or "–"),
    Column("AGE", lambda plot: seconds_text(max(_CLOCK.wall() - plot.created_at, 0.0))),
)
_DIR_COLUMNS: Final[Sequence[Column[_Place]]] = (
    Column("TALENT", lambda row: row.talent.name),
    Column("PATH", lambda row: row.at.path),
    Column("USE", lambda row: row.use),
    Column("FREE", lambda row: bytes_text(row.at.free_bytes)),
    Column("PROMISED", lambda row: bytes_text(row.at.reserved_bytes)),
    Column("PLOTS", lambda row: row.plots),
    Column("PROBLEM", lambda row: row.problem or "–"),
)
