"""The command that listens to a node: `events`."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from node.cli.context import Settings, output_option, pass_settings
from node.journal import plain


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, or until the query of --query ends.")
@click.option(
    "--topics",
    metavar="WORDS",
    default="",
    help="queries, plots, tasks, sessions, nodes, or several with commas; default: all.",
)
@click.option("--query", metavar="REF", help="Only this query.")
@output_option
@pass_settings
def events(settings: Settings, follow: bool, topics: str, query: str | None) -> None:
    """What happens on the node; without -f what it still has at hand."""
    with settings.connect() as client:
        for event in client.follow(topics, query, follow=follow):
            if settings.output == "table":
                click.echo(_line(event.event, event.data))
            elif settings.output == "name":
                click.echo(plain(event.id))
            else:
                click.echo(json.dumps({"id": event.id, "event": event.event, "data": event.data}, ensure_ascii=False))


def _line(event: str, data: Mapping[str, object]) -> str:
    """One event for the eye: what, of whom, and the few fields that change."""
    if event == "snapshot":
        counts = (f"{name} {len(items)}" for name, items in data.items() if isinstance(items, list))
        return f"{event:<9} {'  '.join(counts)}".rstrip()
    words = [str(data.get("id") or data.get("name") or "")]
    for field in ("state", "phase", "progress", "reason", "attempt", "cpu_fraction", "jobs"):
        if data.get(field):
            words.append(f"{field}={data[field]}")
    tally = data.get("tally")
    if event == "progress" and isinstance(tally, dict):
        words += [f"{name}={count}" for name, count in tally.items() if count]
    return plain(f"{event:<9} " + "  ".join(words)).rstrip()
