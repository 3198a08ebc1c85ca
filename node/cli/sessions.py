"""The commands for private sessions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

import click

from node import rundir
from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.exits import FAILED, INTERRUPTED
from node.cli.output import Column, bytes_text, seconds_text, show_list, show_one
from node.cli.spec import MAX_SPEC, read_spec
from node.clock import SystemClock, rfc3339
from node.errors import Conflict, NotFound
from node.journal import plain
from node.model.document import from_document, to_document
from node.model.value import new_id

if TYPE_CHECKING:
    from node.client import Client
    from node.model.event import StreamEvent
    from node.model.federated import Record, Session

SPEAK_S: Final = 2.0  # a line about steps at the least so often
_CLOCK: Final = SystemClock()


@click.group(cls=SuggestingGroup)
def sessions() -> None:
    """Make and follow private sessions: alignment and training where nobody shows their data.

    REF is an id, a unique beginning of one, a name, or @last.
    """


@sessions.command()
@click.argument("file", type=click.File("rb"))
@click.option("--accept-all", is_flag=True, help="Accept for every node of yours that runs on this machine.")
@click.option("--watch", "follow", is_flag=True, help="Follow it to its end; the exit code is the session's.")
@output_option
@pass_settings
def create(settings: Settings, file: BinaryIO, accept_all: bool, follow: bool) -> int:
    """Make the session that FILE (JSON or TOML, - for standard input) describes."""
    document = read_spec(file.read(MAX_SPEC + 1), str(getattr(file, "name", "")))
    document.setdefault("id", new_id("s", _CLOCK.wall()))  # made here, so that asking twice is one session
    with settings.connect() as client:
        session = client.create_session(document)
        settings.say(f"session {session.id} of {len(session.parties)} parties is {session.state}")
        if accept_all:
            _accept_here(settings, session)
        if follow:
            return _follow(settings, client, session.id)
        if settings.output != "table":
            _show(settings, client.session(session.id))
    return 0


@sessions.command("list")
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=50, help="How many at most.")
@output_option
@pass_settings
def listing(settings: Settings, limit: int) -> None:
    """Sessions, newest first."""
    with settings.connect() as client:
        found = client.sessions(limit).items
    show_list(settings, found, _columns(), to_document, _id, empty="no sessions; make one: ecnode sessions create FILE")


@sessions.command()
@click.argument("ref", default="@last")
@output_option
@pass_settings
def show(settings: Settings, ref: str) -> None:
    """One session, its parties, and what has happened to it."""
    with settings.connect() as client:
        session = client.session(ref)
        _show(settings, session)
        if settings.output == "table":
            for line in _parties(session):
                click.echo(line)
            for event in client.session_events(session.id):
                click.echo(plain(f"  {rfc3339(event.time)}  {event.event} → {event.state}  {event.reason}".rstrip()))


@sessions.command()
@click.argument("ref", default="@last")
@output_option
@pass_settings
def accept(settings: Settings, ref: str) -> None:
    """Have this node's parties take part; they sign the spec as it stands."""
    with settings.connect() as client:
        _told(settings, client.accept_session(ref))


@sessions.command()
@click.argument("ref")
@click.option("--reason", default="", help="Why; the coordinator and all parties read it.")
@output_option
@pass_settings
def reject(settings: Settings, ref: str, reason: str) -> None:
    """Have this node's parties refuse; the session is over."""
    with settings.connect() as client:
        _told(settings, client.reject_session(ref, reason))


@sessions.command()
@click.argument("ref", default="@last")
@output_option
@pass_settings
def start(settings: Settings, ref: str) -> None:
    """Start a session that all have accepted."""
    with settings.connect() as client:
        _told(settings, client.start_session(ref))


@sessions.command()
@click.argument("ref", default="@last")
@pass_settings
def watch(settings: Settings, ref: str) -> int:
    """Follow a session to its end; exit code 1 if it fails. Ctrl-C leaves it running."""
    with settings.connect() as client:
        return _follow(settings, client, client.session(ref).id)


@sessions.command()
@click.argument("ref", default="@last")
@output_option
@pass_settings
def metrics(settings: Settings, ref: str) -> None:
    """The tests of the model, in order."""
    with settings.connect() as client:
        found = client.session_metrics(ref)
    names = list(dict.fromkeys(name for record in found for name in record.metrics))
    columns: list[Column[Record]] = [
        Column("STEP", lambda record: str(record.step)),
        Column("SECONDS", lambda record: f"{record.seconds:.1f}"),
        Column("LOSS", lambda record: "–" if record.loss is None else f"{record.loss:.4f}"),
    ]
    columns += [Column(name.upper(), _metric(name)) for name in names]
    show_list(settings, found, columns, to_document, lambda record: str(record.step), empty="no tests yet")


@sessions.command()
@click.argument("ref", default="@last")
@click.option(
    "--dataset", "datasets", multiple=True, metavar="PARTY=NAME", help="Another data set of a party; may be repeated."
)
@click.option("--output", default="", help="Folder below the label client's data root; default: the session's own.")
@click.option("--accept-all", is_flag=True, help="Accept for every node of yours that runs on this machine.")
@output_option
@pass_settings
def predict(settings: Settings, ref: str, datasets: tuple[str, ...], output: str, accept_all: bool) -> int:
    """Have the model of a session answer for the rows that its parties have in common; the label client gets the answers."""
    from node.model.federated import AlignmentRequest, PartyRole, PredictionRequest, SessionRequest
    from node.model.federated import Party as Asked

    chosen = dict(each.partition("=")[::2] for each in datasets)
    with settings.connect() as client:
        trained = client.session(ref)
        if strange := sorted(chosen.keys() - {party.name for party in trained.spec.parties}):
            raise click.UsageError(f"session {trained.id} has no party {', '.join(strange)}")
        parties = [
            Asked(
                name=party.name,
                role=party.role,
                node=party.node,
                dataset=chosen.get(party.name, party.dataset),
                file="" if party.name in chosen else party.file,
                output=output if party.role is PartyRole.LABEL else "",
            )
            for party in trained.spec.parties
            if party.role is not PartyRole.PRODUCER
        ]
        alignment = (trained.spec.alignment or AlignmentRequest()).replace(fraction=0.0, split_seed="")
        session = client.create_session(
            SessionRequest(
                id=new_id("s", _CLOCK.wall()),
                name=f"prediction of {trained.name or trained.id}"[:200],
                parties=tuple(parties),
                alignment=alignment,
                prediction=PredictionRequest(model=trained.id),
                round_timeout=trained.spec.round_timeout,
            )
        )
        settings.say(f"session {session.id} of {len(session.parties)} parties is {session.state}")
        if accept_all:
            _accept_here(settings, session)
        code = _follow(settings, client, session.id)
        for made in client.session_outputs(session.id):
            for file in made.files:
                if file.endswith("predictions.csv"):
                    click.echo(f"{made.node}: {plain(file)}")
        return code


@sessions.command()
@click.argument("ref", default="@last")
@click.option("-f", "--file", "target", type=click.File("w"), default="-", help="Where to; default: standard output.")
@pass_settings
def export(settings: Settings, ref: str, target: TextIO) -> None:
    """Write the blocks of a session's model that lie at this node, as JSON; those of others stay with their owners."""
    with settings.connect() as client:
        found = client.session_model(ref)
    json.dump([to_document(block) for block in found], target, indent=1)
    target.write("\n")


@sessions.command()
@click.argument("ref", default="@last")
@output_option
@pass_settings
def stop(settings: Settings, ref: str) -> None:
    """End a session for all; one that has ended stays as it is."""
    with settings.connect() as client:
        _told(settings, client.stop_session(ref))


def _metric(name: str) -> Callable[[Record], str]:
    def told(record: Record) -> str:
        value = record.metrics.get(name)
        return "–" if value is None else f"{value:.4f}"

    return told


def _accept_here(settings: Settings, session: Session) -> None:
    from node.client import Client

    nodes = {view.node for view in session.parties if not view.accepted}
    for running in rundir.running():
        if running.name not in nodes:
            continue
        token = Path(running.token_file).read_text(encoding="utf-8").strip()
        with Client(running.url, token, settings.timeout) as client:
            try:
                client.accept_session(session.id)
            except (Conflict, NotFound) as error:
                settings.say(f"{running.name}: {error.message}")
            else:
                settings.say(f"{running.name} takes part")


def _follow(settings: Settings, client: Client, ref: str) -> int:
    """The ladder of stages and steps, and each test as it is made, as lines."""
    session = client.session(ref)
    told, spoken, after = "", 0.0, -1
    try:
        for event in client.follow(session=session.id):
            session = _after(session, event)
            if event.event in {
                "snapshot",
                "record",
                "end",
            }:  # asked for, so that none is missed or told twice
                for record in client.session_metrics(session.id, after):
                    after = record.step
                    click.echo(_record_line(record))
            line = _ladder(session)
            now = _CLOCK.monotonic()
            if line != told and (now - spoken >= SPEAK_S or line.partition(" step")[0] != told.partition(" step")[0]):
                settings.say(line)
                told, spoken = line, now
    except KeyboardInterrupt:
        settings.say(f"the session goes on; end it: ecnode sessions stop {ref}")
        return INTERRUPTED
    for part in _parties(session):
        click.echo(part)
    click.echo(plain(f"{session.state}" + (f": {session.reason}" if session.reason else "")))
    sys.stdout.flush()
    return _exit_code(session)


def _after(session: Session, event: StreamEvent) -> Session:
    """The session as an event of its stream leaves it."""
    from node.model.federated import PartyProgress
    from node.model.federated import Session as Told

    match event.event:
        case "snapshot":
            return from_document(Told, event.data["session"])
        case "session" | "end":
            changed, before = from_document(Told, event.data), {view.name: view.progress for view in session.parties}
            views = tuple(
                view if view.progress.stage else view.replace(progress=before.get(view.name, view.progress))
                for view in changed.parties
            )
            return changed.replace(parties=views)
        case "progress":
            party, now = event.data["party"], from_document(PartyProgress, event.data["progress"])
            views = tuple(view.replace(progress=now) if view.name == party else view for view in session.parties)
            return session.replace(parties=views)
        case _:
            return session


def _exit_code(session: Session) -> int:
    from node.model.federated import SessionState

    return FAILED if session.state is SessionState.FAILED else 0


def _record_line(record: Record) -> str:
    found = "  ".join(f"{name} {value:.4f}" for name, value in record.metrics.items() if value is not None)
    loss = "" if record.loss is None else f"loss {record.loss:.4f}  "
    return f"step {record.step:>6}  {record.seconds:6.1f} s  {loss}{found}"


def _ladder(session: Session) -> str:
    waiting = [view.node for view in session.parties if not view.accepted]
    if waiting:
        return f"{session.state}: waits for {', '.join(dict.fromkeys(waiting))}"
    stages = {view.name: view.progress.stage or "begins" for view in session.parties}
    step = max((view.progress.step for view in session.parties), default=0)
    total = session.spec.training.steps if session.spec.training is not None else 0
    steps = f" step {step} of {total}" if step else ""
    return f"epoch {session.epoch}: " + ", ".join(f"{name} {stage}" for name, stage in stages.items()) + steps


def _parties(session: Session) -> list[str]:
    lines = []
    for view in session.parties:
        now = view.progress
        said = f"said {bytes_text(now.traffic.bytes_out)}, heard {bytes_text(now.traffic.bytes_in)}"
        pace = f", {now.step_ms:.1f} ms a step" if now.step_ms else ""
        lines.append(plain(f"  {view.role:<16}{view.name:<12}{view.node:<12}{said}, {now.cpu_seconds:.1f} CPU-s{pace}"))
    return lines


def _told(settings: Settings, session: Session) -> None:
    settings.say(f"session {session.id} is {session.state}")
    if settings.output != "table":
        _show(settings, session)


def _show(settings: Settings, session: Session) -> None:
    show_one(settings, session, _columns(), to_document, _id)


def _id(session: Session) -> str:
    return session.id


def _columns() -> Sequence[Column[Session]]:
    return (
        Column("ID", _id),
        Column("NAME", lambda session: session.name or "–"),
        Column("COORDINATOR", lambda session: session.coordinator),
        Column("PARTIES", lambda session: ", ".join(f"{view.name}@{view.node}" for view in session.parties)),
        Column("STATE", lambda session: f"{session.state}: {session.reason}" if session.reason else str(session.state)),
        Column("EPOCH", lambda session: str(session.epoch)),
        Column("AGE", lambda session: seconds_text(max(_CLOCK.wall() - session.created_at, 0.0))),
    )
