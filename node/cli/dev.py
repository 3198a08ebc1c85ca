"""How does a newcomer get a whole system, and see it work?"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Final

import click

from node import assets
from node.cli.assets import folder_option
from node.cli.context import Settings, pass_settings

HTTP_PORT: Final = 7480  # the address that a user guesses first


@click.command()
@click.option("--edges", type=click.IntRange(1, 8), default=2, show_default=True, help="How many edges beside the cloud.")
@click.option("--demo", type=click.Choice(["video"]), help="Show one flow on real input, then end.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=30.0, show_default=True, help="How long the demo runs.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for what the demo found.",
)
@folder_option
@pass_settings
def dev(  # noqa: PLR0917 - one argument for each option
    settings: Settings, edges: int, demo: str | None, seconds: float, out: Path, folder: Path
) -> int:
    """Run a cloud and some edges on loopback, in a temporary folder; Ctrl-C ends and removes them."""
    from node.cli.system import CLOUD, LocalSystem, Source
    from node.clock import SystemClock

    folder = folder.expanduser().resolve()
    if assets.missing(folder):
        assets.fetch(folder, settings.say)
    clock = SystemClock()
    began = clock.monotonic()
    signal.signal(signal.SIGTERM, _as_interrupt)
    lobby = Source("lobby", assets.path(folder, "collage.mp4"), "people indoor")
    with LocalSystem(edges, [lobby], folder, cloud_http=HTTP_PORT) as system:
        system.start()
        settings.say(f"{len(system.names)} nodes ready in {clock.monotonic() - began:.1f} s: {', '.join(system.names)}")
        if demo == "video":
            from node.cli.demo import run_demo

            return run_demo(system, settings, clock, seconds=seconds, out=out, truth=assets.path(folder, "collage.json"))
        click.echo(f"api        {system.url()}/api/v1     token file {system.token_file()}")
        click.echo("try        ecnode status")
        click.echo("           ecnode queries submit examples/headcount.json --watch")
        click.echo(f"Ctrl-C ends all of it ({CLOUD} and its edges)")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            settings.say("stopping")
    return 0


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
