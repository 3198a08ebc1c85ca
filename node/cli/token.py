"""The commands that give and take access to the HTTP API: `token create`, `token list`, `token revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import Column, show_json, show_list
from node.errors import Invalid

if TYPE_CHECKING:
    from node.model.access import Token

SCOPES: Final = ("read", "submit", "operate", "admin")


@click.group(cls=SuggestingGroup)
def token() -> None:
    """Give and take access to a node's HTTP API.

    Scopes, each with those before it: read, submit, operate, admin.
    """


@token.command()
@click.option("--scope", type=click.Choice(SCOPES), required=True, help="What its holder may do.")
@click.option("--ttl", metavar="SPAN", help="How long it holds, such as 1h or 30d; default: until it is revoked.")
@click.option("--label", default="", help="What it is for.")
@output_option
@pass_settings
def create(settings: Settings, scope: str, ttl: str | None, label: str) -> None:
    """Make a token; it is printed this once and kept nowhere."""
    from node.config.units import duration
    from node.model.access import TokenRequest, TokenScope
    from node.model.document import to_document

    try:
        request = TokenRequest(label=label, scope=TokenScope(scope), ttl=None if ttl is None else duration(ttl))
    except ValueError as error:
        raise Invalid(f"--ttl or --label: {error}") from error
    with settings.connect() as client:
        made = client.make_token(request)
    if settings.output in {"json", "jsonl"}:
        show_json(to_document(made))
        return
    click.echo(made.secret)
    settings.say(f"token {made.token.id}, scope {scope}; put it into a file of mode 600 and name that with --token-file")


@token.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """The tokens that were made here and have not expired."""
    from node.model.document import to_document

    with settings.connect() as client:
        found = client.tokens()
    if not found and settings.output == "table":
        settings.say("no tokens but the node's own; ecnode token create makes one")
    show_list(settings, found, _columns(), to_document, lambda one: one.id)


@token.command()
@click.argument("ref", metavar="ID")
@pass_settings
def revoke(settings: Settings, ref: str) -> None:
    """Take a token away; a unique beginning of its id will do."""
    with settings.connect() as client:
        gone = client.revoke_token(ref)
    click.echo(gone.id)


def _columns() -> tuple[Column[Token], ...]:
    from node.clock import rfc3339

    def moment(at: float | None, otherwise: str) -> str:
        return rfc3339(at) if at is not None else otherwise

    return (
        Column("ID", lambda one: one.id),
        Column("SCOPE", lambda one: one.scope),
        Column("LABEL", lambda one: one.label or "–"),
        Column("EXPIRES", lambda one: moment(one.expires_at, "never")),
        Column("LAST USED", lambda one: moment(one.used_at, "never")),
    )
