"""What can be done with a node's database beside running the node? `db status`, `upgrade`, `backup`, `restore`.

A copy can be made of a node that runs. The other two own the data directory while they work, so no node is under way in it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli import SuggestingGroup
from node.cli.config import config_of, config_options
from node.errors import NotFound, StorageFailed

if TYPE_CHECKING:
    from node.config import NodeConfig

MIB = 2**20


@click.group(cls=SuggestingGroup)
def db() -> None:
    """The database of a node of this machine."""


@db.command()
@config_options
def status(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool) -> None:
    """Where it is, how large, at which schema version, and whether it is sound: all of it is read."""
    from node.storage import backup

    found = backup.look(_place(config_of(files, sets, dev=dev)))
    click.echo(f"file     {found.path}")
    click.echo(f"size     {found.size / MIB:.1f} MiB, log {found.log_size / MIB:.1f} MiB")
    if found.fault:
        raise StorageFailed(found.fault)
    due = "" if found.version == backup.RELEASE else f", this release has {backup.RELEASE}: ecnode db upgrade"
    click.echo(f"schema   version {found.version}{due}")
    click.echo("sound    yes")


@db.command()
@config_options
def upgrade(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool) -> None:
    """Bring it up to this release, as a node does when it starts; a copy of the old one stays beside it."""
    from node import datadir
    from node.storage import backup

    config = config_of(files, sets, dev=dev)
    with datadir.own(config.node.data_dir):
        before = backup.look(_place(config)).version
        asyncio.run(_renewed(config, renew=False))
    click.echo(f"schema version {backup.RELEASE}" + ("" if before == backup.RELEASE else f", it was {before}"))


@db.command("backup")
@config_options
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
def back_up(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool, target: Path) -> None:
    """Copy it to the new file TARGET, while the node runs or not.

    Keys, the token and blobs are files of the data directory and are copied as such.
    """
    from node.storage import backup

    made = backup.copy(_place(config_of(files, sets, dev=dev)), target)
    click.echo(f"{made.path}: {made.size / MIB:.1f} MiB, schema version {made.version}")


@db.command()
@config_options
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False))
def restore(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool, source: Path) -> None:
    """Put the copy SOURCE in the place of a stopped node's database; what it replaces is kept beside it.

    The node's streams begin anew, because its peers have seen more than the copy knows of; what the copy still had to deliver
    is dropped, most likely it was delivered.
    """
    from node import datadir
    from node.clock import SystemClock, rfc3339
    from node.storage import backup

    config = config_of(files, sets, dev=dev)
    with datadir.own(config.node.data_dir):
        stamp = rfc3339(SystemClock().wall()).replace(":", "")
        kept = backup.restore(source, _place(config), stamp)
        dropped = asyncio.run(_renewed(config, renew=True))
    if kept is not None:
        click.echo(f"the replaced database is {kept}")
    click.echo(f"restored from {source}; the streams of this node begin anew, {dropped} messages were dropped")


def _place(config: NodeConfig) -> Path:
    from node.storage.files import location

    place = location(config.storage.database, config.node.data_dir)
    if place is None:
        raise NotFound("the memory store has no file", hint="set storage.database to sqlite:///node.db")
    return place


async def _renewed(config: NodeConfig, *, renew: bool) -> int:
    """Opens it once, which brings it up to this release; how many messages a renewal dropped."""
    from node.clock import SystemClock
    from node.storage import open_store

    store = await open_store(config.storage.database, config.node.data_dir, SystemClock())
    try:
        return await store.outbox.renew(os.urandom(16).hex(), keep=False) if renew else 0
    finally:
        await store.close()
