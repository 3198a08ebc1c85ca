"""Which commands are there, and where does each live?

The table below is all that `ecnode --help` reads: a command's module is imported when the command runs, so that help and typos
answer at once. Global options stand before the command; data goes to standard output, talk to standard error.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple

import click

from node.errors import EcnodeError


class Entry(NamedTuple):
    """Where a command lives, as `module:attribute`, and its line in the help."""

    place: str
    help: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "init": Entry("node.cli.config:init", "Write a commented config and an identity key."),
    "check": Entry("node.cli.config:check", "Look for what would keep a node from starting."),
    "config": Entry("node.cli.config:config", "Validate and show the config."),
    "assets": Entry("node.cli.assets:assets", "Fetch the models and clips."),
    "up": Entry("node.cli.up:up", "Run a node."),
    "dev": Entry("node.cli.dev:dev", "Run a whole system on this machine."),
    "service": Entry("node.cli.service:service", "Make a node a service of systemd."),
    "status": Entry("node.cli.nodes:status", "The node and the peers it knows."),
    "sources": Entry("node.cli.sources:sources", "See, add and look at video sources."),
    "services": Entry("node.cli.services:services", "See, call and measure compute services."),
    "queries": Entry("node.cli.queries:queries", "Submit and follow video queries."),
    "tasks": Entry("node.cli.tasks:tasks", "Run scripts on a node, follow and stop them."),
    "data": Entry("node.cli.data:data", "Register data sets for private sessions."),
    "sessions": Entry("node.cli.sessions:sessions", "Make and follow private sessions."),
    "projects": Entry("node.cli.projects:projects", "Work with the consoles of other organisations."),
    "plots": Entry("node.cli.plots:plots", "Order plots, follow and compare them."),
    "blobs": Entry("node.cli.blobs:blobs", "Store files on a node, fetch and list them."),
    "events": Entry("node.cli.events:events", "What happens on a node, as it happens."),
    "logs": Entry("node.cli.nodes:logs", "The newest log lines of a node."),
    "id": Entry("node.cli.nodes:identity", "A node's public key and fingerprint."),
    "db": Entry("node.cli.db:db", "Look at, copy and restore a node's database."),
    "outbox": Entry("node.cli.outbox:outbox", "Durable messages of a stopped node."),
    "token": Entry("node.cli.token:token", "Make and take away tokens: a node's way in, or access to the HTTP API."),
    "join": Entry("node.cli.peers:join", "Make a node a member, with a join token."),
    "peers": Entry("node.cli.peers:peers", "See members, let nodes in, put them out."),
    "api": Entry("node.cli.api:api", "Send one request to the HTTP API."),
    "support-bundle": Entry("node.cli.bundle:support_bundle", "Collect what helps to find a fault, without secrets."),
    "version": Entry("node.cli.nodes:version", "The release of this command."),
}


FORMS: Final = ("table", "json", "jsonl", "name")
MAX_HELP: Final = 200  # characters of a command's line in a list of commands


class SuggestingGroup(click.Group):
    """A group that answers a typo with the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but for the words of the refusal."""
        wanted = args[0]
        if not wanted.startswith("-") and self.get_command(ctx, wanted) is None:
            near = get_close_matches(wanted, self.list_commands(ctx), n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"No such command '{wanted}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does it, but a first sentence is never cut off: it goes on in the next line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(MAX_HELP)) for name, command in commands if command])


class LazyGroup(SuggestingGroup):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order, which is the order of a first day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.place} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-u", "--url", envvar="ECNODE_URL", metavar="URL", help="Address of the node; default: the one on this machine.")
@click.option(
    "--token-file", envvar="ECNODE_TOKEN_FILE", type=click.Path(dir_okay=False, path_type=Path), help="File with its token."
)
@click.option("--node", metavar="NAME", help="Which of the nodes on this machine.")
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", help="Form of the data.")
@click.option("--no-color", is_flag=True, help="No colours; also by the environment variable NO_COLOR.")
@click.option("-q", "--quiet", is_flag=True, help="No talk on standard error, only errors.")
@click.option("-v", "--verbose", is_flag=True, help="Errors with their code and cause.")
@click.option("--timeout", type=click.FloatRange(min=0.1, max=3600), default=10.0, help="Seconds to wait for an answer.")
@click.pass_context
def root(
    ctx: click.Context,
    *,
    url: str | None,
    token_file: Path | None,
    node: str | None,
    output: str,
    no_color: bool,
    quiet: bool,
    verbose: bool,
    timeout: float,
) -> None:
    """One node for video queries across edge and cloud.

    A query is named by its id, a unique beginning of it, its name, or @last.
    """
    from node.cli.context import Settings

    ctx.obj = Settings(
        url=url,
        token_file=token_file,
        node=node,
        output=output,
        color=not no_color and "NO_COLOR" not in os.environ,
        quiet=quiet,
        verbose=verbose,
        timeout=timeout,
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code, which `node.cli.exits` explains."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = root.main(words, prog_name="ecnode", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except EcnodeError as error:
        from node.cli.exits import exit_code, explain

        explain(error, verbose="-v" in words or "--verbose" in words)
        return exit_code(error)
    return code if isinstance(code, int) else 0
