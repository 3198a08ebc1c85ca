"""How is data put on standard output?

A table for the eye (drawn where a terminal reads it, plain aligned text where not), JSON as the node gave it, JSON lines, or
bare names for the shell.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import click

from node.cli.context import Settings
from node.journal import plain

if TYPE_CHECKING:
    from node.client import Page
    from node.model.value import Value

T = TypeVar("T")
V = TypeVar("V", bound="Value")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A title and the text of one item under it."""

    title: str
    text: Callable[[T], str]


def show_list(
    settings: Settings,
    items: Sequence[T],
    columns: Sequence[Column[T]],
    document: Callable[[T], Mapping[str, object]],
    name: Callable[[T], str],
    *,
    empty: str = "",
) -> None:
    """Prints items in the form that the user chose; where a table would have none says `empty` instead."""
    if settings.output == "json":
        show_json([document(item) for item in items])
    elif settings.output == "jsonl":
        for item in items:
            click.echo(json.dumps(document(item), ensure_ascii=False, separators=(",", ":")))
    elif settings.output == "name":
        for item in items:
            click.echo(plain(name(item)))
    elif items:
        rows = [[column.text(item) for column in columns] for item in items]
        show_table(settings, [column.title for column in columns], rows)
    elif empty:
        settings.say(empty)


def show_page(
    settings: Settings,
    page: Page[V],
    columns: Sequence[Column[V]],
    document: Callable[[V], Mapping[str, object]],
    name: Callable[[V], str],
    *,
    empty: str,
) -> None:
    """Prints part of a list, and how to go on behind it; where there is nothing says `empty`."""
    show_list(settings, page.items, columns, document, name)
    if not page.items:
        settings.say(empty)
    if page.following is not None:
        settings.say(f"more: --after {page.following}")


def show_one(
    settings: Settings,
    item: T,
    columns: Sequence[Column[T]],
    document: Callable[[T], Mapping[str, object]],
    name: Callable[[T], str],
) -> None:
    """Prints one item; as a table, one line for each column."""
    if settings.output == "json":
        show_json(document(item))
    elif settings.output == "table":
        width = max(len(column.title) for column in columns)
        for column in columns:
            click.echo(f"{column.title:<{width}}  {plain(column.text(item))}".rstrip())
    else:
        show_list(settings, [item], columns, document, name)


def show_json(content: object) -> None:
    """Prints one JSON document, indented."""
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))


def show_table(settings: Settings, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under titles."""
    cleaned = [[plain(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(settings, titles, cleaned)
        return
    widths = [max(len(row[index]) for row in [titles, *cleaned]) for index in range(len(titles))]
    for row in [titles, *cleaned]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(settings: Settings, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # imported here: 60 ms that only a terminal needs
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, cells in zip(titles, zip(*rows, strict=True), strict=True):
        table.add_column(title, no_wrap=not any(" " in cell for cell in cells))  # an id or a time is read, and copied, whole
    for row in rows:
        table.add_row(*map(Text, row))  # Text, because brackets in a string are markup
    Console(no_color=not settings.color).print(table)


def seconds_text(seconds: float) -> str:
    """`62 ms`, `4.2 s`, `3m10s`, `2h14m` or `5d3h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{whole}s"


def bytes_text(count: int) -> str:
    """`812 B`, `31.0 KiB`, `1.2 MiB`, `3.4 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def share_text(fraction: float) -> str:
    """`71%`."""
    return f"{fraction * 100:.0f}%"
