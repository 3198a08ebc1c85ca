"""The commands for tasks: scripts that run on a node."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli import SuggestingGroup
from node.cli.blobs import uploaded
from node.cli.context import Settings, list_options, output_option, pass_settings
from node.cli.exits import FAILED, INTERRUPTED
from node.cli.output import Column, seconds_text, show_list, show_one, show_page
from node.cli.task_spec import SCRIPT, described, program
from node.client import Client
from node.clock import SystemClock, rfc3339
from node.errors import Invalid, Malformed, NotFound
from node.journal import plain
from node.model.document import Document, from_document, to_document
from node.model.task import TASK_LIFE, Artifact, Task, TaskChange, TaskState
from node.model.value import new_id

if TYPE_CHECKING:
    from pydantic import JsonValue

DESCRIBED: Final = ".toml"
CONFIG_MOST: Final = 2**20
SIGNALLED: Final = 128  # and the signal's number, as shells tell it

_CLOCK: Final = SystemClock()


@click.group(cls=SuggestingGroup)
def tasks() -> None:
    """Run scripts on a node, follow and stop them.

    REF is an id, a unique beginning of one, a name, or @last.
    """


@tasks.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.argument("arguments", nargs=-1)
@click.option("--git", "url", metavar="URL", help="A repository, in place of FILE: https, ssh, or a folder of the node.")
@click.option("--commit", metavar="SHA", help="Its commit, all 40 digits.")
@click.option("--name", default="", help="A name for it; default: the file's.")
@click.option("--arg", "pairs", metavar="KEY=VALUE", multiple=True, help="Set a value of the config; may be repeated.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Config, JSON or TOML.")
@click.option(
    "--data",
    metavar="PATH",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that the task finds in data/; may be repeated.",
)
@click.option("--entry", default=SCRIPT, help="The file of an archive that is run.")
@click.option("--require", "packages", metavar="PACKAGE", multiple=True, help="A package that it imports; may be repeated.")
@click.option("--attempts", type=click.IntRange(1, 100), default=1, help="How often it may be tried.")
@click.option("--safe", is_flag=True, help="May be tried again also when nobody saw how it ended.")
@click.option("--wall", type=click.FloatRange(min=0.001), help="Seconds that it may take.")
@click.option("--on", "node", metavar="NODE", help="The edge that runs it; default: the node that is asked.")
@click.option("--joint", metavar="EDGES", help="Edges that run it together, with commas between, or `all`.")
@click.option("--sign", "key", type=click.Path(path_type=Path), help="A file with a key that signs FILE: ecnode tasks key.")
@click.option("--detach", is_flag=True, help="Do not follow it.")
@output_option
@pass_settings
def submit(  # noqa: PLR0917 - click passes them by name
    settings: Settings,
    file: Path | None,
    arguments: tuple[str, ...],
    url: str | None,
    commit: str | None,
    name: str,
    pairs: tuple[str, ...],
    config: Path | None,
    data: tuple[Path, ...],
    entry: str,
    attempts: int,
    wall: float | None,
    node: str | None,
    joint: str | None,
    key: Path | None,
    packages: tuple[str, ...],
    *,
    safe: bool,
    detach: bool,
) -> int:
    """Run FILE, a script or an archive, on the node and follow it; the exit code is the task's.

    A FILE that ends in .toml describes the task: the fields of the API, with `file` for a program or data beside it. Options
    go before what it says.
    """
    document: Document = {"id": new_id("t", _CLOCK.wall())}  # made here, so that asking twice is one task
    given: Document = {
        "name": name,
        "args": list(arguments),
        "retry": {"attempts": attempts, "safe": safe} if attempts > 1 or safe else None,
        "limits": None if wall is None else {"wall_s": wall},
        "requirements": list(packages),
        "node": node,
    }
    with settings.connect() as client:
        if url is not None:
            document |= {"name": url.rstrip("/").rpartition("/")[2], "git": {"url": url, "commit": commit}, "entry": entry}
        elif file is None:
            raise Invalid("nothing to run", hint="name a FILE, or --git URL --commit SHA")
        elif file.suffix == DESCRIBED:
            document |= {"name": file.stem, **described(settings, client, file, key)}
        else:
            document |= {"name": file.name, **program(settings, client, file, entry, key)}
        document |= {field: value for field, value in given.items() if value}
        document["config"] = {**_table(document, "config"), **(_config(config) if config else {}), **_pairs(pairs)}
        if joint is not None:
            nodes: list[JsonValue] = [] if joint == "all" else list(joint.split(","))
            document["joint"] = {**_table(document, "joint"), "nodes": nodes}
        if data:
            document["data"] = [{"path": each.name, "blob": uploaded(settings, client, each).id} for each in data]
        task = client.submit_task(document)
        where = f"{task.parts} edges" if task.parts else task.node
        settings.say(f"task {task.id} on {where}" + (f"   (follow: ecnode tasks logs -f {task.id})" if detach else ""))
        if not detach:
            return _follow(settings, client, task.id, None)
        if settings.output != "table":
            _show(settings, task)
    return 0


@tasks.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@pass_settings
def key(settings: Settings, file: Path) -> None:
    """Print the public half of the signing key in FILE, which is made where it is not there."""
    from node.pipeline.federated.identity import load_or_create

    public = load_or_create(file).public
    click.echo(public)
    settings.say(f'a node that has it in tasks.signers, and tasks.allow = "signed", runs what {file} has signed')


@tasks.command("list")
@list_options(TaskState)
@output_option
@pass_settings
def listing(settings: Settings, state: str | None, limit: int, after: str | None) -> None:
    """Tasks, newest first."""
    with settings.connect() as client:
        page = client.tasks(TaskState(state) if state else None, limit, after)
    none = f"no task is {state}" if state else "no tasks; submit one: ecnode tasks submit FILE"
    show_page(settings, page, _LIST_COLUMNS, to_document, _id, empty=none)


@tasks.command()
@click.argument("ref", default="@last")
@output_option
@pass_settings
def show(settings: Settings, ref: str) -> None:
    """One task, and what has happened to it."""
    with settings.connect() as client:
        task = client.task(ref)
        _show(settings, task)
        if settings.output == "table":
            for step in client.task_history(task.id):
                click.echo(plain(f"  {rfc3339(step.time)}  {step.event} → {step.state}  {step.reason}".rstrip()))
            if task.parts:
                show_list(settings, client.task_parts(task.id), _LIST_COLUMNS, to_document, _id)


@tasks.command()
@click.argument("ref", default="@last")
@click.option("--round", type=click.IntRange(min=1), help="Those of another round than the present one.")
@output_option
@pass_settings
def parts(settings: Settings, ref: str, round: int | None) -> None:
    """The parts of a joint task, one for each edge."""
    with settings.connect() as client:
        found = client.task_parts(ref, round)
    show_list(settings, found, _LIST_COLUMNS, to_document, _id, empty="not a joint task: it has no parts")


@tasks.command()
@click.argument("ref", default="@last")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task ends; the exit code is the task's.")
@click.option("-n", "--tail", type=click.IntRange(min=0), help="Only so many of the last lines.")
@click.option("--attempt", type=click.IntRange(min=1), help="The log of an earlier try.")
@pass_settings
def logs(settings: Settings, ref: str, tail: int | None, attempt: int | None, *, follow: bool) -> int:
    """What a task has said."""
    with settings.connect() as client:
        if follow:
            return _follow(settings, client, client.task(ref).id, tail)
        task = client.task(ref)
        if tail is not None:
            sys.stdout.buffer.write(client.task_log(task.id, tail=tail, attempt=attempt))
            return 0
        offset = 0
        while part := client.task_log(task.id, offset, attempt=attempt):
            sys.stdout.buffer.write(part)
            offset += len(part)
    return 0


@tasks.command()
@click.argument("ref")
@output_option
@pass_settings
def stop(settings: Settings, ref: str) -> None:
    """Stop a task; one that is over stays as it is."""
    _after(settings, ref, Client.stop_task)


@tasks.command()
@click.argument("ref")
@output_option
@pass_settings
def retry(settings: Settings, ref: str) -> None:
    """Run once more, as a new task, what a task did."""
    _after(settings, ref, Client.retry_task)


@tasks.command()
@click.argument("ref")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--arg", "pairs", metavar="KEY=VALUE", multiple=True, help="Set a value of the config; may be repeated.")
@click.option("--entry", default=SCRIPT, help="The file of an archive that is run.")
@click.option("--sign", "key", type=click.Path(path_type=Path), help="A file with a key that signs FILE.")
@output_option
@pass_settings
def update(  # noqa: PLR0917 - click passes them by name
    settings: Settings, ref: str, file: Path, pairs: tuple[str, ...], entry: str, key: Path | None
) -> None:
    """Have a task run FILE instead, under the same id; where FILE cannot be made ready it runs on as it is."""
    with settings.connect() as client:
        task = client.revise_task(ref, {**program(settings, client, file, entry, key), "config": _pairs(pairs)})
    settings.say(f"task {task.id}: revision {task.revision + 1} follows")
    if settings.output != "table":
        _show(settings, task)


def _after(settings: Settings, ref: str, call: Callable[[Client, str], Task]) -> None:
    with settings.connect() as client:
        task = call(client, ref)
    over = task.state in TASK_LIFE.terminal or not task.stopping
    settings.say(f"task {task.id} is {task.state if over else 'about to stop'}")
    if settings.output != "table":
        _show(settings, task)


@tasks.command()
@click.argument("ref")
@click.option("--name", help="Another name.")
@click.option("--description", help="What it is.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="Its labels from now on; may be repeated.")
@output_option
@pass_settings
def describe(settings: Settings, ref: str, name: str | None, description: str | None, labels: tuple[str, ...]) -> None:
    """Change the words about a task; it runs on."""
    given = {"name": name, "description": description, "labels": _words(labels) if labels else None}
    change = from_document(TaskChange, {field: value for field, value in given.items() if value is not None})
    if not change.model_fields_set:
        raise Invalid("nothing to change", hint="name --name, --description or --label")
    with settings.connect() as client:
        _show(settings, client.describe_task(ref, change))


@tasks.command()
@click.argument("ref", default="@last")
@click.option("--get", "path", metavar="PATH", help="Write this one to a file of its name.")
@output_option
@pass_settings
def artifacts(settings: Settings, ref: str, path: str | None) -> None:
    """The files that a task left in its folder `artifacts`."""
    from node.cli.output import bytes_text

    with settings.connect() as client:
        task = client.task(ref)
        if path is None:
            columns: Sequence[Column[Artifact]] = (
                Column("PATH", lambda one: one.path),
                Column("SIZE", lambda one: bytes_text(one.size)),
                Column("BLOB", lambda one: one.blob),
            )
            show_list(settings, task.artifacts, columns, to_document, lambda one: one.blob, empty="no artifacts")
            return
        found = next((one for one in task.artifacts if one.path == path), None)
        if found is None:
            raise NotFound(f"task {task.id} has no artifact '{path}'", hint="list them: ecnode tasks artifacts")
        target = Path(Path(path).name)
        with target.open("wb") as file:
            file.writelines(client.get_blob(found.blob))
    settings.say(f"{bytes_text(found.size)} in {target}")


def _follow(settings: Settings, client: Client, ref: str, tail: int | None) -> int:
    try:
        for event in client.follow_task(ref, tail):
            if event.event == "log":
                click.echo(event.data["text"], nl=False)
            elif event.event == "attempt":
                settings.say(f"attempt {event.data['attempt']}")
    except KeyboardInterrupt:
        settings.say("the task runs on")
        settings.say(f"again    ecnode tasks logs -f {ref}")
        settings.say(f"end it   ecnode tasks stop {ref}")
        return INTERRUPTED
    task = client.task(ref)
    settings.say(_closing(task))
    return _exit_code(task)


def _exit_code(task: Task) -> int:
    if task.signal is not None:
        return SIGNALLED + task.signal
    if task.code:
        return task.code
    return 0 if task.state is TaskState.FINISHED else FAILED


def _closing(task: Task) -> str:
    took = "" if task.started_at is None or task.ended_at is None else f" in {seconds_text(task.ended_at - task.started_at)}"
    told = f", exit {task.code}" if task.code is not None else ""
    reason = f": {task.reason}" if task.reason else ""
    left = f", {len(task.artifacts)} artifact{'s' if len(task.artifacts) > 1 else ''}" if task.artifacts else ""
    return f"{task.state}{took}{told}{left}{reason}"


def _config(path: Path) -> Document:
    import tomllib

    with path.open("rb") as file:
        content = file.read(CONFIG_MOST + 1)
    if len(content) > CONFIG_MOST:
        raise Invalid(f"{path} is larger than {CONFIG_MOST} bytes")
    try:
        found: object = tomllib.loads(content.decode()) if path.suffix == ".toml" else json.loads(content)
        document = json.loads(json.dumps(found, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"{path} cannot be read: {error}", hint="TOML where the name ends in .toml, JSON otherwise") from error
    if not isinstance(document, dict):
        raise Malformed(f"{path} holds no object")
    return document


def _pairs(pairs: Sequence[str]) -> dict[str, JsonValue]:
    """`epochs=5` as a number, `name=x` as a text: a value that is JSON is taken as such."""
    found: dict[str, JsonValue] = {}
    for name, text in _words(pairs).items():
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _table(document: Document, name: str) -> Document:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _words(pairs: Sequence[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, sign, _ in split if not (name and sign)]:
        raise Invalid(f"'{wrong[0]}' is not KEY=VALUE")
    return {name: text for name, _, text in split}


def _show(settings: Settings, task: Task) -> None:
    show_one(settings, task, _COLUMNS, to_document, _id)


def _id(task: Task) -> str:
    return task.id


_COLUMNS: Final[Sequence[Column[Task]]] = (
    Column("ID", _id),
    Column("NAME", lambda task: task.name or "–"),
    Column("NODE", lambda task: task.node),
    Column("STATE", lambda task: f"{task.state}: {task.reason}" if task.reason else str(task.state)),
    Column("CODE", lambda task: "–" if task.code is None else str(task.code)),
    Column("TRY", lambda task: str(task.attempt)),
    Column("LEVEL", lambda task: str(task.level or "–")),
    Column("CREATED", lambda task: rfc3339(task.created_at)),
)
_LIST_COLUMNS: Final[Sequence[Column[Task]]] = (
    *_COLUMNS[:-1],
    Column("AGE", lambda task: seconds_text(max(_CLOCK.wall() - task.created_at, 0.0))),
)
