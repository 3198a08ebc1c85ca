"""The commands for projects with the consoles of other organisations."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.exits import FAILED, INTERRUPTED
from node.cli.output import Column, seconds_text, show_list, show_one
from node.cli.spec import MAX_SPEC, read_spec
from node.clock import SystemClock, rfc3339
from node.errors import Conflict, NotFound
from node.journal import plain
from node.model.document import Document, to_document

if TYPE_CHECKING:
    from node.client import Client
    from node.model.project import Instance, Project, ProjectTask

LOOK_S: Final = 0.5
SHORT: Final = 10  # characters of an id in a table; a beginning names the record
_CLOCK: Final = SystemClock()


@click.group(cls=SuggestingGroup)
def projects() -> None:
    """Pair projects with the consoles of other organisations, and run tasks with them.

    PROJECT is an id, a unique beginning of one, a name, or @last; a RUN goes by its id, a beginning of it, or @last.
    """


@projects.command()
@click.argument("name")
@click.argument("peer_url")
@click.option("--producer", default="", help="The third node that is main client and crypto producer of its sessions.")
@click.option("--config", "file", type=click.File("rb"), help="More of the config, JSON or TOML; the other side is told it.")
@output_option
@pass_settings
def create(settings: Settings, name: str, peer_url: str, producer: str, file: BinaryIO | None) -> None:
    """Pair a project NAME with the console at PEER_URL, which the config of this node must name."""
    from node.model.project import ProjectRequest, new_hex_id

    config = _spec(file) | ({"producer": producer} if producer else {})
    with settings.connect() as client:
        made = client.create_project(ProjectRequest(id=new_hex_id(), name=name, peer_url=peer_url, config=config))
    settings.say(f"project {made.id} is {made.status}")
    if made.status == "draft":
        settings.say(f"the other side did not answer; again: ecnode projects sync {name}")
    _say_key(settings, made)
    if settings.output != "table":
        _show(settings, made)


@projects.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """The projects, the oldest first."""
    with settings.connect() as client:
        found = client.projects()
    empty = "no projects; pair one: ecnode projects create NAME PEER_URL"
    show_list(settings, found, _columns(), to_document, lambda project: project.id, empty=empty)


@projects.command()
@click.argument("project")
@output_option
@pass_settings
def show(settings: Settings, project: str) -> None:
    """One project and the key of the other console, for comparing it by telephone."""
    with settings.connect() as client:
        found = client.project(project)
    _show(settings, found)
    _say_key(settings, found)


@projects.command()
@click.argument("project")
@output_option
@pass_settings
def sync(settings: Settings, project: str) -> None:
    """Pair a project that is still a draft, or tell the other side its config again."""
    with settings.connect() as client:
        found = client.sync_project(project)
    settings.say(f"project {found.id} is {found.status}")
    if settings.output != "table":
        _show(settings, found)


@projects.command()
@click.argument("project")
@click.argument("name")
@click.option("--kind", type=click.Choice(["sample", "train"]), required=True, help="Alignment, or training.")
@click.option(
    "--secret", envvar="ECNODE_PAIR_TOKEN", default="", help="The word that both sides give; better by ECNODE_PAIR_TOKEN."
)
@click.option("--config", "file", type=click.File("rb"), help="This side's part, JSON or TOML; it stays here.")
@click.option("--version", "later", is_flag=True, help="A later version of the task NAME that is there.")
@output_option
@pass_settings
def task(  # noqa: PLR0917 - one argument for each option
    settings: Settings, project: str, name: str, kind: str, secret: str, file: BinaryIO | None, later: bool
) -> None:
    """Make a task NAME in a project."""
    from node.model.project import ProjectTaskRequest, TaskKind

    request = ProjectTaskRequest(
        name=name, kind=TaskKind(kind), root=not later, token="" if later else secret, config=_spec(file)
    )
    with settings.connect() as client:
        made = client.create_project_task(project, request)
    settings.say(f"task {made.name}, version {made.version}")
    if settings.output != "table":
        show_one(settings, made, _task_columns(), to_document, lambda each: each.id)


@projects.command()
@click.argument("project")
@output_option
@pass_settings
def tasks(settings: Settings, project: str) -> None:
    """The tasks of a project, all versions."""
    with settings.connect() as client:
        found = client.project_tasks(project)
    show_list(settings, found, _task_columns(), to_document, lambda each: each.id, empty="no tasks")


@projects.command()
@click.argument("project")
@click.argument("task")
@pass_settings
def pair(settings: Settings, project: str, task: str) -> None:
    """Pair the newest version of TASK with the other side's, which it finds by the common word."""
    with settings.connect() as client:
        versions = [each for each in client.project_tasks(project) if each.name == task]
        if not versions:
            raise NotFound(f"the project has no task '{task}'", hint="ecnode projects tasks PROJECT shows them")
        pairing = client.pair_project_task(project, versions[-1].id)
    settings.say(f"version {versions[-1].version} of {task} is paired: {pairing.status}")


@projects.command()
@click.argument("project")
@click.argument("task")
@click.option("--watch", "follow", is_flag=True, help="Follow it to its end; the exit code is the run's.")
@output_option
@pass_settings
def run(settings: Settings, project: str, task: str, follow: bool) -> int:
    """Ask for a run of the newest paired version of TASK."""
    with settings.connect() as client:
        made = client.run_project_task(project, task)
        settings.say(f"run {made.id} is {made.status}")
        if follow:
            return _follow(settings, client, project, made.id)
    if settings.output != "table":
        show_one(settings, made, _run_columns(), to_document, lambda each: each.id)
    return 0


@projects.command()
@click.argument("project")
@output_option
@pass_settings
def runs(settings: Settings, project: str) -> None:
    """The runs of a project."""
    with settings.connect() as client:
        found = client.instances(project)
    show_list(settings, found, _run_columns(), to_document, lambda each: each.id, empty="no runs")


@projects.command()
@click.argument("project")
@click.argument("run", default="@last")
@click.option("--watch", "follow", is_flag=True, help="Follow it to its end; the exit code is the run's.")
@pass_settings
def accept(settings: Settings, project: str, run: str, follow: bool) -> int:
    """Say yes to a RUN that the other side has asked for, or start one again that was stopped."""
    with settings.connect() as client:
        found = client.accept_instance(project, _run(client, project, run))
        settings.say(f"run {found.id} is {found.status}")
        return _follow(settings, client, project, found.id) if follow else 0


@projects.command()
@click.argument("project")
@click.argument("run", default="@last")
@pass_settings
def stop(settings: Settings, project: str, run: str) -> None:
    """Stop a RUN on both sides."""
    with settings.connect() as client:
        found = client.stop_instance(project, _run(client, project, run))
    settings.say(f"run {found.id} is {found.status}")


@projects.command()
@click.argument("project")
@click.argument("run", default="@last")
@pass_settings
def watch(settings: Settings, project: str, run: str) -> int:
    """Follow a RUN to its end; exit code 1 if it fails. Ctrl-C leaves it running."""
    with settings.connect() as client:
        return _follow(settings, client, project, _run(client, project, run))


@projects.command()
@output_option
@pass_settings
def administrator(settings: Settings) -> None:
    """A link that makes one administrator of the console, once, within an hour."""
    with settings.connect() as client:
        link = client.administrator_link()
        url = f"{client.url}{link.path}"
    if settings.output != "table":
        show_one(settings, link, (Column("PATH", lambda each: each.path),), to_document, lambda each: each.path)
        return
    body = """'{"name": "ada", "password": "…"}'"""
    click.echo(f"curl -X POST '{url}' -H 'Content-Type: application/json' -d {body}")
    settings.say(f"good once, until {rfc3339(link.expires_at)}")


def _spec(file: BinaryIO | None) -> Document:
    return {} if file is None else read_spec(file.read(MAX_SPEC + 1), str(getattr(file, "name", "")))


def _run(client: Client, project: str, ref: str) -> str:
    """The id of a run by the beginning of it; `@last` is the newest."""
    found = client.instances(project)
    named = found[-1:] if ref == "@last" else [each for each in found if each.id.startswith(ref)]
    if not named:
        raise NotFound(f"the project has no run {ref}", hint="ecnode projects runs PROJECT shows them")
    if len(named) > 1:
        raise Conflict(f"'{ref}' stands for {len(named)} runs", hint="give more of the id")
    return named[0].id


def _follow(settings: Settings, client: Client, project: str, id: str) -> int:
    from node.model.project import InstanceState

    told = ""
    try:
        while (now := client.instance(project, id)).status in {InstanceState.READY, InstanceState.RUNNING}:
            line = f"{now.status}" + (f", the other side {now.peer_status}" if now.peer_status else "")
            if session := now.message.get("session"):
                line += f", session {session}"
            if line != told:
                settings.say(line)
                told = line
            threading.Event().wait(LOOK_S)
    except KeyboardInterrupt:
        settings.say(f"the run goes on; end it: ecnode projects stop {project} {id[:SHORT]}")
        return INTERRUPTED
    reason = str(now.error.get("reason") or now.error.get("peer") or "")
    click.echo(plain(f"{now.status}" + (f": {reason}" if reason else "")))
    for path in _outputs(now):
        click.echo(plain(f"  {path}"))
    return 0 if now.status is InstanceState.SUCCESS else FAILED


def _outputs(instance: Instance) -> Sequence[str]:
    found = instance.message.get("outputs")
    return [str(path) for path in found] if isinstance(found, list) else []


def _say_key(settings: Settings, project: Project) -> None:
    from node.model.project import fingerprint

    if project.peer_key:
        settings.say(f"the other console's key: {fingerprint(project.peer_key)}; compare it with them by telephone")


def _show(settings: Settings, project: Project) -> None:
    show_one(settings, project, _columns(), to_document, lambda each: each.id)


def _age(created_at: float) -> str:
    return seconds_text(max(_CLOCK.wall() - created_at, 0.0))


def _columns() -> Sequence[Column[Project]]:
    return (
        Column("ID", lambda project: project.id[:SHORT]),
        Column("NAME", lambda project: project.name or "–"),
        Column("PEER", lambda project: project.peer_url),
        Column("STATUS", lambda project: str(project.status)),
        Column("AGE", lambda project: _age(project.created_at)),
    )


def _task_columns() -> Sequence[Column[ProjectTask]]:
    return (
        Column("ID", lambda task: task.id[:SHORT]),
        Column("NAME", lambda task: task.name),
        Column("VERSION", lambda task: task.version),
        Column("KIND", lambda task: str(task.kind)),
        Column("ROOT", lambda task: "yes" if task.root else ""),
    )


def _run_columns() -> Sequence[Column[Instance]]:
    return (
        Column("ID", lambda run: run.id[:SHORT]),
        Column("STATUS", lambda run: str(run.status)),
        Column("PEER", lambda run: str(run.peer_status or "–")),
        Column("ASKED BY", lambda run: "this side" if run.started_here else "the other side"),
        Column("RUNS", lambda run: str(run.runs)),
        Column("AGE", lambda run: _age(run.created_at)),
    )
