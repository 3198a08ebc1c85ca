"""The commands for data sets of private sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import Column, show_list, show_one
from node.clock import rfc3339
from node.model.document import to_document

if TYPE_CHECKING:
    from node.model.federated import Dataset

SHOWN: Final = 8  # columns that a table names
INSPECT_TIMEOUT: Final = 150.0


@click.group(cls=SuggestingGroup)
def data() -> None:
    """Register this node's files for private sessions, and see what they are.

    A file lies below `federated.data_root` of its node and never leaves it.
    """


@data.command()
@click.argument("name")
@click.argument("path")
@click.option("--id", "id_column", default="", help="The column that identifies a row; default: the first.")
@click.option("--label", default="", help="The column that is to be predicted, where this file has it.")
@output_option
@pass_settings
def register(settings: Settings, name: str, path: str, id_column: str, label: str) -> None:
    """Register the CSV file PATH, relative to the node's data root, as NAME."""
    from dataclasses import replace

    from node.model.federated import DatasetRequest

    request = DatasetRequest(name=name, path=path, id=id_column, label=label)
    with replace(settings, timeout=max(settings.timeout, INSPECT_TIMEOUT)).connect() as client:
        found = client.register_dataset(request)
    settings.say(f"data set {found.name}: {found.rows} rows, {len(found.columns)} columns")
    if settings.output != "table":
        _show(settings, found)


@data.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """The data sets of the node."""
    with settings.connect() as client:
        found = client.datasets()
    show_list(
        settings, found, _columns(), to_document, _name, empty="no data sets; register one: ecnode data register NAME FILE"
    )


@data.command()
@click.argument("name")
@output_option
@pass_settings
def inspect(settings: Settings, name: str) -> None:
    """What one data set was when it was registered."""
    with settings.connect() as client:
        _show(settings, client.dataset(name))


def _show(settings: Settings, found: Dataset) -> None:
    show_one(settings, found, _columns(), to_document, _name)


def _name(item: Dataset) -> str:
    return item.name


def _columns() -> Sequence[Column[Dataset]]:
    return (
        Column("NAME", _name),
        Column("FILE", lambda item: item.path),
        Column("ROWS", lambda item: str(item.rows)),
        Column("ID", lambda item: item.id),
        Column("LABEL", lambda item: item.label or "–"),
        Column("COLUMNS", lambda item: ", ".join(item.columns[:SHOWN]) + (" …" if len(item.columns) > SHOWN else "")),
        Column("REGISTERED", lambda item: rfc3339(item.registered_at)),
    )
