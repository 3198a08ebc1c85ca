"""How is one node run from the command line, and what does it say when it is open?"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node import __version__
from node.cli.config import config_of, config_options

if TYPE_CHECKING:
    from node.app import Opened
    from node.config import NodeConfig
    from node.supervision import Supervision


_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


@click.command()
@config_options
@click.option("--attached", is_flag=True, hidden=True, help="End when standard input is closed.")
def up(files: tuple[Path, ...], sets: tuple[str, ...], dev: bool, attached: bool) -> None:
    """Run a node until TERM or Ctrl-C."""
    config = config_of(files, sets, dev=dev)
    from node import journal
    from node.datadir import LOG_FOLDER

    kept = journal.configure(
        level=config.log.level,
        form=config.log.format,
        here=config.node.name,
        folder=config.node.data_dir / LOG_FOLDER,
    )
    try:
        _run_on_a_quick_loop(_run(config, dev=dev, attached=attached))
    finally:
        kept.close()


def _run_on_a_quick_loop(node: Coroutine[None, None, None]) -> None:
    if sys.platform == "win32":
        asyncio.run(node)
    else:
        import uvloop

        uvloop.run(node)


async def _run(config: NodeConfig, *, dev: bool, attached: bool) -> None:
    from node import heap
    from node.app import Node
    from node.clock import SystemClock
    from node.roles.shared.processes import ProcessSpawner
    from node.supervision import Supervision

    clock = SystemClock()
    began = clock.monotonic()
    supervision = Supervision(clock)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, stop.set)
    if attached:
        threading.Thread(target=_wait_for_end, args=(loop, stop), name="standard input", daemon=True).start()

    def opened(node: Opened) -> None:
        click.echo(_banner(node))
        click.echo(f"ready in {clock.monotonic() - began:.1f} s")
        sys.stdout.flush()
        heap.settle()
        supervision.ready(f"{node.name} is open: {' '.join(node.urls)}")

    ending = loop.create_task(_told(stop, supervision))
    try:
        await Node(config, clock, ProcessSpawner(clock), dev=dev).run(stop, opened)
    finally:
        stop.set()
        await ending
        for number in _ENDING:  # everything has ended: an impatient second one only spoilt the exit code
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def _told(stop: asyncio.Event, supervision: Supervision) -> None:
    await stop.wait()
    await supervision.ending()


def _wait_for_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # not through sys.stdin: its lock, held by this thread, would abort the interpreter when the node ends first
    while os.read(0, 4096):
        continue
    loop.call_soon_threadsafe(stop.set)


def _banner(node: Opened) -> str:
    rows = [f"ecnode {__version__}  {node.name}  {node.fingerprint}   roles: {', '.join(node.roles)}"]
    rows += [f"  peers      {endpoint}   curve, admit by {node.admit}" for endpoint in node.endpoints]
    rows += [f"  api        {url}/api/v1" for url in node.urls]
    rows += [f"  key        {node.public_key}   (for transport.allow of its peers)"]
    if "cloud" in node.roles and node.admit != "allow-list":
        rows.append("  add a node ecnode token create --role edge")
    return "\n".join(rows)
