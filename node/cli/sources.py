"""The commands about video sources: `sources`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import Column, seconds_text, show_list, show_one
from node.errors import Invalid, StorageFailed

if TYPE_CHECKING:
    from node.model.source import SourceItem, SourceProbe


@click.group(cls=SuggestingGroup)
def sources() -> None:
    """See, add and look at the video sources of an edge; `--node NAME` says of which."""


@sources.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """The sources of the node, and at a cloud those of all edges."""
    from node.model.document import to_document

    with settings.connect() as client:
        found = client.sources()
    empty = "no sources yet; at an edge: ecnode sources add NAME URL"
    show_list(settings, found, _columns(), to_document, lambda one: one.name, empty=empty)


@sources.command()
@click.argument("name")
@click.argument("url")
@click.option("--kind", default="", help="What it shows, in words.")
@click.option("--id", "number", type=click.IntRange(min=0), help="Number that the original clients call video_id.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True, max=240), help="Pictures per second to take.")
@click.option("--loop", is_flag=True, help="Begin a file again at its end.")
@click.option("--gate", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Skip pictures that change less.")
@output_option
@pass_settings
def add(
    settings: Settings, *, name: str, url: str, kind: str, number: int | None, fps: float | None, loop: bool, gate: float
) -> None:
    """Add a camera, a clip, a folder of pictures or an address; it stays until it is removed."""
    from pydantic import ValidationError

    from node.model.document import to_document
    from node.model.source import SourceRequest

    try:
        request = SourceRequest(name=name, url=url, kind=kind, id=number, fps=fps, loop=loop, gate=gate)
    except ValidationError as error:
        raise Invalid(str(error.errors()[0]["msg"])) from error
    with settings.connect() as client:
        show_one(settings, client.add_source(request), _columns(), to_document, lambda one: one.name)


@sources.command()
@click.argument("name")
@output_option
@pass_settings
def remove(settings: Settings, name: str) -> None:
    """Remove a source that was added; queries on it fail."""
    from node.model.document import to_document

    with settings.connect() as client:
        show_one(settings, client.remove_source(name), _columns(), to_document, lambda one: one.name)


@sources.command()
@click.argument("name")
@output_option
@pass_settings
def probe(settings: Settings, name: str) -> None:
    """Look at a source for two seconds: how quickly it opens and how many pictures it gives."""
    from node.model.document import to_document

    with settings.connect() as client:
        show_one(settings, client.probe(name), _looks(), to_document, lambda one: one.name)


@sources.command()
@click.argument("name")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: NAME.jpg.")
@pass_settings
def snapshot(settings: Settings, name: str, out: Path | None) -> None:
    """Write the next picture of a source."""
    place = out or Path(f"{name}.jpg")
    with settings.connect() as client:
        content = client.snapshot(name)
    try:
        place.write_bytes(content)
    except OSError as error:
        raise StorageFailed(f"{place} cannot be written: {error.strerror}") from error
    click.echo(str(place))


def _columns() -> Sequence[Column[SourceItem]]:
    return (
        Column("NODE", lambda one: one.node),
        Column("ID", lambda one: str(one.id)),
        Column("NAME", lambda one: one.name),
        Column("STATE", lambda one: one.state),
        Column("FPS", lambda one: f"{one.fps:g}" if one.fps else "–"),
        Column("HEIGHT", lambda one: str(one.height) if one.height else "–"),
        Column("KIND", lambda one: one.kind or "–"),
        Column("REASON", lambda one: one.reason or "–"),
    )


def _looks() -> Sequence[Column[SourceProbe]]:
    return (
        Column("NAME", lambda one: one.name),
        Column("FIRST PICTURE", lambda one: seconds_text(one.first_s)),
        Column("PICTURES", lambda one: f"{one.pictures} in {seconds_text(one.seconds)}"),
        Column("FPS", lambda one: f"{one.fps:.1f} of {one.announced_fps:g} announced"),
        Column("HEIGHT", lambda one: str(one.height)),
        Column("REASON", lambda one: one.reason or "–"),
    )
