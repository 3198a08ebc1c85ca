"""The commands for stored bytes: `blobs put`, `get`, `list`, `pull`, `rm`."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import Column, bytes_text, share_text, show_list, show_one
from node.client import Client
from node.client.connection import BLOCK
from node.errors import Conflict, DeadlineExceeded, Malformed, NotFound

if TYPE_CHECKING:
    from node.model.blob import BlobInfo

ID_LETTERS: Final = 64
ONE_WAIT: Final = 20.0  # of one request of a pull; it is repeated until the blob is there


@click.group(cls=SuggestingGroup)
def blobs() -> None:
    """Store files on a node, fetch and list them.

    ID is the SHA-256 of the content, or a unique beginning of it.
    """


@blobs.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_option
@pass_settings
def put(settings: Settings, file: Path) -> None:
    """Store FILE; what the node has already is not sent again."""
    with settings.connect() as client:
        info = uploaded(settings, client, file)
    _show(settings, info)


def uploaded(settings: Settings, client: Client, file: Path) -> BlobInfo:
    """The file as a blob of the node; what it has already is not sent again."""
    id, size = _digest(file), file.stat().st_size
    if client.has_blob(id):
        settings.say(f"the node has it already: {bytes_text(size)}")
        return next(info for info in client.blobs() if info.id == id)
    with _progress(settings, "uploading", size) as step, file.open("rb") as content:
        return client.put_blob(_stepping(iter(lambda: content.read(BLOCK), b""), step), id, size)


@blobs.command()
@click.argument("ref", metavar="ID")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@pass_settings
def get(settings: Settings, ref: str, file: Path) -> None:
    """Fetch a blob into FILE (- for standard output); goes on where it was broken off."""
    with settings.connect() as client:
        info = _find(client, ref)
        if str(file) == "-":
            for block in client.get_blob(info.id):
                sys.stdout.buffer.write(block)
            return
        part = file.with_name(f"{file.name}.part")
        start = min(part.stat().st_size, info.size) if part.exists() else 0
        with _progress(settings, "downloading", info.size, start) as step, part.open("ab") as content:
            content.truncate(start)
            if start < info.size:
                content.writelines(_stepping(client.get_blob(info.id, start), step))
            content.flush()
            os.fsync(content.fileno())
    if _digest(part) != info.id:
        part.unlink()
        raise Malformed("what arrived is not that blob", hint="fetch it again; it was removed")
    part.replace(file)
    settings.say(f"{bytes_text(info.size)} in {file}")


@blobs.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """The blobs of the node, those that come in too."""
    from node.model.document import to_document

    with settings.connect() as client:
        found = list(client.blobs())
    show_list(
        settings, found, _columns(), to_document, lambda info: info.id, empty="no blobs; ecnode blobs put FILE stores one"
    )


@blobs.command()
@click.argument("id")
@click.option("--from", "sources", metavar="NODE", multiple=True, required=True, help="Peer that may have it; may be repeated.")
@click.option("--wait", type=click.FloatRange(min=0.1), default=600.0, help="Seconds to wait for it.")
@output_option
@pass_settings
def pull(settings: Settings, id: str, sources: tuple[str, ...], wait: float) -> None:
    """Have the node fetch a blob from its peers; ID is whole here, the node cannot know it yet."""
    from node.clock import SystemClock
    from node.model.document import BlobPull

    clock = SystemClock()
    end = clock.monotonic() + wait
    with settings.connect() as client:
        while True:
            left = max(end - clock.monotonic(), 0.0)
            try:
                info = client.pull_blob(id, BlobPull(sources=sources, wait=min(left, ONE_WAIT)))
                break
            except DeadlineExceeded:
                if left <= ONE_WAIT:
                    raise
    _show(settings, info)


@blobs.command()
@click.argument("ref", metavar="ID")
@pass_settings
def rm(settings: Settings, ref: str) -> None:
    """Delete a blob, or what came in of it."""
    with settings.connect() as client:
        gone = client.delete_blob(_find(client, ref).id)
    click.echo(gone.id)


def _find(client: Client, ref: str) -> BlobInfo:
    found = [info for info in client.blobs() if info.id.startswith(ref)]
    if not found:
        raise NotFound(f"no blob begins with '{ref[:ID_LETTERS]}'", hint="ecnode blobs list")
    if len(found) > 1:
        raise Conflict(f"{len(found)} blobs begin with '{ref}'", hint="give more of the id")
    return found[0]


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _stepping(blocks: Iterable[bytes], step: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        yield block
        step(len(block))


@contextmanager
def _progress(settings: Settings, what: str, size: int, start: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if settings.quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=size, label=f"{what} {bytes_text(size)}", file=sys.stderr) as bar:
        bar.update(start)
        yield bar.update


def _show(settings: Settings, info: BlobInfo) -> None:
    from node.model.document import to_document

    if settings.output == "table":
        click.echo(info.id)
    else:
        show_one(settings, info, _columns(), to_document, lambda one: one.id)


def _columns() -> tuple[Column[BlobInfo], ...]:
    from node.clock import rfc3339

    return (
        Column("ID", lambda info: info.id),
        Column("SIZE", lambda info: bytes_text(info.size)),
        Column("STATE", lambda info: "complete" if info.complete else share_text(info.received / max(info.size, 1))),
        Column("CHANGED", lambda info: rfc3339(info.changed_at)),
    )
