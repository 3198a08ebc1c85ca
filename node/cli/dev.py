"""How does a newcomer get a whole system, and see it work?"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

from node import assets
from node.cli.assets import folder_option
from node.cli.context import Settings, pass_settings

if TYPE_CHECKING:
    from node.cli.system import LocalSystem

HTTP_PORT: Final = 7480  # the address that a user guesses first
LOOK_S: Final = 1.0
BANKS: Final = 4  # parties that the example needs: main client, producer, and two banks
REGISTER_S: Final = 60.0


@click.command()
@click.option("--edges", type=click.IntRange(0, 8), default=2, show_default=True, help="How many edges beside the cloud.")
@click.option("--talents", type=click.IntRange(0, 4), default=0, show_default=True, help="How many talents, which plot.")
@click.option(
    "--parties",
    type=click.IntRange(0, 8),
    default=0,
    show_default=True,
    help="Nodes for private sessions; four for the example.",
)
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
    settings: Settings, edges: int, talents: int, parties: int, demo: str | None, seconds: float, out: Path, folder: Path
) -> int:
    """Run a cloud, some edges and talents on loopback, in a temporary folder; Ctrl-C ends and removes them."""
    from node.cli.system import CLOUD, LocalSystem, Source
    from node.clock import SystemClock

    folder = folder.expanduser().resolve()
    if assets.missing(folder):
        assets.fetch(folder, settings.say)
    clock = SystemClock()
    began = clock.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        signal.signal(number, _as_interrupt)
    lobby = Source("lobby", assets.path(folder, "collage.mp4"), "people indoor")
    street = Source("street", assets.path(folder, "bikes.mp4"), "traffic outdoor")
    with LocalSystem(edges, [lobby, street], folder, parties=parties, cloud_http=HTTP_PORT, talents=talents) as system:
        system.start()
        settings.say(f"{len(system.names)} nodes ready in {clock.monotonic() - began:.1f} s: {', '.join(system.names)}")
        if demo == "video":
            from node.cli.demo import run_demo

            return run_demo(system, settings, clock, seconds=seconds, out=out, truth=assets.path(folder, "collage.json"))
        if parties >= BANKS:
            _open_banks(system, settings)
        click.echo(f"api        {system.url()}/api/v1     token file {system.token_file()}")
        click.echo("try        ecnode status")
        click.echo(f"           ecnode queries submit {_example(system)} --watch")
        if parties >= BANKS:
            click.echo(f"           ecnode sessions create {_credit(system)} --accept-all --watch")
        if talents:
            click.echo("           ecnode plots create --ksize 18 --count 4 --watch")
        click.echo(f"Ctrl-C ends all of it ({CLOUD} and the nodes around it)")
        sys.stdout.flush()
        try:
            _stay(system, settings)
        except KeyboardInterrupt:
            settings.say("stopping")
    return 0


def _example(system: LocalSystem) -> Path:
    """A query to try: the checkout's where this is one, otherwise a copy that ends with the system."""
    shipped = Path("examples/headcount.json")
    if shipped.is_file():
        return shipped
    from node.cli.demo import REQUEST

    copy = system.folder / shipped.name
    copy.write_text(REQUEST.model_dump_json(exclude_defaults=True, indent=2) + "\n")
    return copy


def _open_banks(system: LocalSystem, settings: Settings) -> None:
    """Gives the third and fourth party a file each, and registers it there."""
    from node.cli import credit
    from node.cli.system import party_name
    from node.client import Client
    from node.model.federated import DatasetRequest

    a, b = party_name(3), party_name(4)
    credit.write_banks(system.data_root(a), system.data_root(b))
    for node, name, file, label in ((a, "credit-a", credit.A_FILE, ""), (b, "credit-b", credit.B_FILE, "bad")):
        token = system.token_file(node).read_text(encoding="utf-8").strip()
        with Client(system.url(node), token, REGISTER_S) as client:
            found = client.register_dataset(DatasetRequest(name=name, path=file, id="id", label=label))
        settings.say(f"{node} has data set {found.name}: {found.rows} rows")


def _credit(system: LocalSystem) -> Path:
    """The session to try: the checkout's where this is one, otherwise a copy that ends with the system."""
    shipped = Path("examples/credit.json")
    if shipped.is_file():
        return shipped
    import json

    from node.api.examples import EXAMPLES
    from node.model.federated import SessionRequest

    copy = system.folder / shipped.name
    copy.write_text(json.dumps(EXAMPLES[SessionRequest], indent=2) + "\n", encoding="utf-8")
    return copy


def _stay(system: LocalSystem, settings: Settings) -> None:
    """Until Ctrl-C; a node that ends meanwhile is told, once."""
    told: set[str] = set()
    while True:
        for name, code in system.ended().items():
            if name not in told:
                told.add(name)
                settings.say(f"{name} has ended with exit code {code}; its log: {system.log_folder(name)}")
        threading.Event().wait(LOOK_S)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
