"""What can be said about nodes on the command line: status, logs, identity, version."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node import __version__, rundir
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import seconds_text, share_text, show_json, show_table
from node.errors import NotFound
from node.journal import follow, newest, plain, readable

if TYPE_CHECKING:
    from node.client import Client
    from node.model.cluster import NodeReport, NodeView
    from node.model.document import NodeCard, Readiness
    from node.model.video import Query

WATCH_EVERY: Final = 1.0
FOLLOW_EVERY: Final = 0.2
PLOTS_SHOWN: Final = 4
MAX_DOING: Final = 8  # running queries that are described by source and rate; each costs the node one request
TITLES: Final = ("PEER", "ROLE", "STATE", "RTT", "CPU", "MEM", "QUEUE", "LAST SEEN", "DOING")


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Again every second until Ctrl-C.")
@output_option
@pass_settings
def status(settings: Settings, watch: bool) -> int:
    """The node and the peers it knows; exit code 0 when it is ready, 1 when not."""
    with settings.connect() as client:
        ready = _status(settings, client)
        while watch:
            threading.Event().wait(WATCH_EVERY)
            if settings.output == "table":
                click.clear()
            ready = _status(settings, client)
    return 0 if ready else 1


def _status(settings: Settings, client: Client) -> bool:
    from node.model.document import to_document

    readiness, card = client.ready(), client.node()
    peers = [view for view in client.nodes() if view.report.name != card.report.name]
    if settings.output in {"json", "jsonl"}:
        content = {
            "readiness": to_document(readiness),
            "node": to_document(card),
            "peers": [to_document(view) for view in peers],
        }
        if settings.output == "json":
            show_json(content)
        else:
            click.echo(_line(content))
    elif settings.output == "name":
        for view in peers:
            click.echo(view.report.name)
    else:
        _draw(settings, readiness, card, peers, _doing(client, card, peers))
    return readiness.ready


def _line(content: object) -> str:
    import json

    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _draw(settings: Settings, readiness: Readiness, card: NodeCard, peers: list[NodeView], doing: Mapping[str, str]) -> None:
    report = card.report
    click.echo(
        f"{report.name}  {'ready' if readiness.ready else 'not ready'}  up {seconds_text(card.uptime_s)}  "
        f"cpu {share_text(report.cpu_fraction)}  mem {report.rss_mib:.0f} MiB  workers {report.workers}  "
        f"queue {report.queued}  {card.fingerprint}"
    )
    for component, problem in readiness.components.items():
        if problem:
            click.echo(f"  ✗ {plain(component)}: {plain(problem)}")
    if peers:
        show_table(settings, TITLES, [_row(view, doing) for view in peers])
    else:
        settings.say("no peers yet; add a node: ecnode token create --role edge here, ecnode join ADDR --token TOKEN there")


def _row(view: NodeView, doing: Mapping[str, str]) -> list[str]:
    report = view.report
    fresh = view.state == "ready"
    jobs = ", ".join([*(doing.get(job.query, job.query) for job in report.jobs), *_plotting(report)])
    return [
        report.name,
        ",".join(report.roles),
        f"{view.state}, drained" if view.drained else view.state,
        f"{view.rtt_ms:.1f} ms" if fresh and view.rtt_ms is not None else "–",
        share_text(report.cpu_fraction) if fresh else "–",
        share_text(report.memory_fraction) if fresh else "–",
        str(report.queued) if fresh else "–",
        "now" if fresh else seconds_text(view.seen_s),
        jobs if fresh else f"– last report {seconds_text(view.seen_s)} ago",
    ]


def _plotting(report: NodeReport) -> list[str]:
    """A talent's plots in words."""
    talent = report.talent
    if talent is None or not (talent.running or talent.pending):
        return []
    plots = [f"{one.phase}:{one.table} {share_text(one.progress)}" for one in talent.plots if one.phase][:PLOTS_SHOWN]
    words = f"{talent.running} plots" + (f" ({', '.join(plots)})" if plots else "")
    return [f"{words}, {talent.pending} wait" if talent.pending else words]


def _doing(client: Client, card: NodeCard, peers: list[NodeView]) -> Mapping[str, str]:
    """Words for the running queries; only a cloud knows them."""
    from node.model.video import QueryState

    if "cloud" not in card.report.roles or not any(view.report.jobs for view in peers):
        return {}
    running = client.queries(QueryState.RUNNING, limit=MAX_DOING).items
    return {query.id: _work(client, query) for query in running}


def _work(client: Client, query: Query) -> str:
    rate = f"{client.runtime(query.id).fps:.1f}"
    wanted = f"/{query.plan.video_conf.fps}" if query.plan is not None else ""
    return f"{query.name or query.id} {query.source} {rate}{wanted} fps"


@click.command()
@click.option("-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The node's config.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The node's data directory.")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, help="How many.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option("--node", "name", metavar="NAME", help="A node that runs on this machine.")
@output_option
@pass_settings
def logs(
    settings: Settings, *, config: Path | None, data_dir: Path | None, lines: int, following: bool, name: str | None
) -> None:
    """The newest log lines of a node of this machine, running or not.

    Without an option: of the node that runs here, otherwise of the one whose config `ecnode up` would read.
    """
    from dataclasses import replace

    if data_dir is None and config is None and (found := rundir.find(name or settings.node)) is not None:
        data_dir = Path(found.data_dir)
    folder = (data_dir or _data_dir(replace(settings, node=name or settings.node), config)) / "log"
    if not folder.is_dir():
        raise NotFound(f"there is no log in {folder}", hint="the node writes one once it has been started")
    entries = follow(folder, lines, pause=lambda: threading.Event().wait(FOLLOW_EVERY)) if following else newest(folder, lines)
    if settings.output == "json" and not following:
        show_json(list(entries))
        return
    colour = settings.color and os.isatty(1)
    for entry in entries:
        click.echo(_line(entry) if settings.output in {"json", "jsonl"} else readable(entry, colour=colour))


def _data_dir(settings: Settings, config: Path | None) -> Path:
    """Of the node that a config or a name means: the config that `ecnode up` would read here, else the node that runs."""
    from node.config import config_files, load

    files = config_files([config] if config else (), os.environ)
    if not files or (settings.node is not None and config is None):
        return Path(settings.local().data_dir)
    return load(files, os.environ, ()).config.node.data_dir


@click.command("id")
@click.option("-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The node's config.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The node's data directory.")
@output_option
@pass_settings
def identity(settings: Settings, config: Path | None, data_dir: Path | None) -> None:
    """A node's fingerprint and public key, from its data directory; the node need not run.

    Without an option: of the node whose config `ecnode up` would read here, otherwise of the one that runs.
    """
    from node.transport.keys import load_or_create

    path = (data_dir or _data_dir(settings, config)) / IDENTITY
    if not path.is_file():
        raise NotFound(f"there is no identity at {path}", hint="`ecnode init` makes one, and so does the first `ecnode up`")
    found = load_or_create(path)
    if settings.output == "table":
        click.echo(f"{found.fingerprint}\n{found.public}")
    elif settings.output == "name":
        click.echo(found.fingerprint)
    else:
        show_json({"fingerprint": found.fingerprint, "public_key": found.public})


IDENTITY: Final = "identity.key"


@click.command()
@output_option
@pass_settings
def version(settings: Settings) -> None:
    """The release of this command; `ecnode status -o json` has a node's."""
    if settings.output in {"json", "jsonl"}:
        show_json({"version": __version__})
    else:
        click.echo(__version__)
