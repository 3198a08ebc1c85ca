"""What can be done about a data directory that was copied or restored from a backup? `outbox show`, `outbox renew`.

Both work on the data directory of a node that is stopped; whoever holds the directory keeps them out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli import SuggestingGroup
from node.cli.config import config_of, config_options

if TYPE_CHECKING:
    from node.config import NodeConfig
    from node.storage import Store


@click.group(cls=SuggestingGroup)
def outbox() -> None:
    """Durable messages that wait on the disk of a stopped node."""


@outbox.command()
@config_options
def show(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool) -> None:
    """How many messages wait for which peer."""
    for line in asyncio.run(_show(config_of(files, sets, dev=dev))):
        click.echo(line)


@outbox.command()
@config_options
@click.option(
    "--keep", is_flag=True, help="Send again what waits, though its peer may have taken it: it may take effect twice."
)
def renew(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool, keep: bool) -> None:
    """Begin every stream anew, after a peer has refused this data directory as a copy.

    What waits is dropped: of a directory that was restored from a backup it has most likely been delivered.
    """
    dropped = asyncio.run(_renew(config_of(files, sets, dev=dev), keep=keep))
    click.echo(f"the streams of this node begin anew; {dropped} messages were dropped")


async def _show(config: NodeConfig) -> list[str]:
    async with _opened(config) as store:
        streams = await store.outbox.streams()
    return [f"{stream.peer:<24}{stream.last - stream.low:>8} waiting" for stream in streams]


async def _renew(config: NodeConfig, *, keep: bool) -> int:
    async with _opened(config) as store:
        return await store.outbox.renew(os.urandom(16).hex(), keep=keep)


@asynccontextmanager
async def _opened(config: NodeConfig) -> AsyncIterator[Store]:
    from node import datadir
    from node.clock import SystemClock
    from node.storage import open_store

    with datadir.own(config.node.data_dir):
        store = await open_store(config.storage.database, config.node.data_dir, SystemClock())
        try:
            yield store
        finally:
            await store.close()
