"""Which node does a command talk to, and how does it answer its user?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

from node import rundir
from node.cli import FORMS
from node.errors import Invalid, PeerUnreachable
from node.journal import plain

if TYPE_CHECKING:
    from enum import StrEnum

    from node.client import Client

P = ParamSpec("P")
T = TypeVar("T")

MAX_TOKEN: Final = 4096


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options."""

    url: str | None
    token_file: Path | None
    node: str | None
    output: str
    color: bool
    quiet: bool
    verbose: bool
    timeout: float

    def connect(self) -> Client:
        """A client of the node that the options or the run directory name; the caller closes it.

        Raises:
            PeerUnreachable: no address was given and no node runs here.
        """
        from node.client import Client

        if self.url is not None:
            known = (node for node in rundir.running() if node.url == self.url.rstrip("/"))
            url, found = self.url, next(known, None)
        else:
            found = self.local()
            url = found.url
        token_file = self.token_file or (Path(found.token_file) if found is not None and found.token_file else None)
        return Client(url, _token(token_file), self.timeout)

    def local(self) -> rundir.Running:
        """The node of this machine that is meant.

        Raises:
            PeerUnreachable: none runs.
        """
        found = rundir.find(self.node)
        if found is None:
            raise PeerUnreachable(
                f"no node named {self.node} runs on this machine" if self.node else "no node of yours runs on this machine",
                hint="start one with `ecnode up -c FILE` or `ecnode dev`; a node elsewhere: --url http://HOST:7480",
            )
        return found

    def say(self, text: str) -> None:
        """Talk for a person, on standard error, unless they asked for quiet."""
        if not self.quiet:
            click.echo(plain(text), err=True)


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"the token file {path} cannot be read: {error}", hint="name it with --token-file") from error


pass_settings = click.make_pass_decorator(Settings)


def list_options(states: Iterable[StrEnum]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`--state`, `--limit` and `--after` of a command that lists records, newest first, which may be in these states."""

    def add(command: Callable[P, T]) -> Callable[P, T]:
        for option in (
            click.option("--after", metavar="ID", help="Go on behind this one."),
            click.option("-n", "--limit", type=click.IntRange(1, 500), default=50, help="How many at most."),
            click.option("--state", type=click.Choice([state.value for state in states]), help="Only those."),
        ):
            command = option(command)
        return command

    return add


def output_option(command: Callable[P, T]) -> Callable[P, T]:
    """Lets `-o` stand behind the command too."""

    def choose(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.obj = replace(ctx.obj, output=value)

    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMS),
        expose_value=False,
        callback=choose,
        help="Form of the data.",
    )(command)
