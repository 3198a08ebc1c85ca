"""The commands that make and take away tokens: `token create`, `token list`, `token revoke`.

With `--role` a token lets one node into the system (`j-…`), with `--scope` it opens the HTTP API (`k-…`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import Column, show_json, show_list
from node.errors import Invalid, NotFound

if TYPE_CHECKING:
    from node.client import Client
    from node.model.access import NewToken, Token
    from node.model.member import JoinToken, NewJoinToken

SCOPES: Final = ("read", "submit", "operate", "admin")
ROLES: Final = ("cloud", "edge", "talent", "federated")
JOIN_TTL: Final = "1h"
JOIN_ID: Final = "j-"


@click.group(cls=SuggestingGroup)
def token() -> None:
    """Make and take away tokens.

    With --role it lets one node into the system, once: `ecnode join ADDR --token TOKEN` there. With --scope it opens the HTTP
    API; scopes, each with those before it: read, submit, operate, admin.
    """


@token.command()
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, help="For a node: what it may be; may be repeated.")
@click.option("--scope", type=click.Choice(SCOPES), help="For the HTTP API: what its holder may do.")
@click.option("--ttl", metavar="SPAN", help="How long it holds, such as 1h or 30d; default: 1h for a node, else until revoked.")
@click.option("--uses", type=click.IntRange(1, 1), default=1, help="How often it lets a node in: once.")
@click.option("--label", default="", help="What it is for.")
@output_option
@pass_settings
def create(settings: Settings, *, roles: tuple[str, ...], scope: str | None, ttl: str | None, uses: int, label: str) -> None:
    """Make a token; it is printed this once and kept nowhere."""
    if bool(roles) == bool(scope):
        raise click.UsageError("Give --role for a node that shall join, or --scope for the HTTP API.")
    if scope is None:
        _create_way_in(settings, roles, ttl or JOIN_TTL, label)
    else:
        _create_access(settings, scope, ttl, label)


def _create_way_in(settings: Settings, roles: tuple[str, ...], ttl: str, label: str) -> None:
    from node.config.units import duration
    from node.model.document import to_document
    from node.model.member import JoinTokenRequest

    try:
        request = JoinTokenRequest.model_validate({"roles": list(roles), "ttl": duration(ttl), "label": label})
    except ValueError as error:
        raise Invalid(f"--ttl or --label: {error}") from error
    with settings.connect() as client:
        made = client.make_join_token(request)
    _show_made(
        settings,
        made,
        f"lets one node in, until {to_document(made.token)['expires_at']}; there: ecnode join ADDR --token TOKEN",
    )


def _create_access(settings: Settings, scope: str, ttl: str | None, label: str) -> None:
    from node.config.units import duration
    from node.model.access import TokenRequest, TokenScope

    try:
        request = TokenRequest(label=label, scope=TokenScope(scope), ttl=None if ttl is None else duration(ttl))
    except ValueError as error:
        raise Invalid(f"--ttl or --label: {error}") from error
    with settings.connect() as client:
        made = client.make_token(request)
    _show_made(
        settings, made, f"token {made.token.id}, scope {scope}; put it into a file of mode 600 and name that with --token-file"
    )


def _show_made(settings: Settings, made: NewToken | NewJoinToken, told: str) -> None:
    """The secret by itself, for a pipe, and beside it what it is good for."""
    from node.model.document import to_document

    if settings.output in {"json", "jsonl"}:
        show_json(to_document(made))
        return
    click.echo(made.secret)
    settings.say(told)


@token.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """The tokens that were made here and can still be used."""
    from node.model.document import to_document

    with settings.connect() as client:
        found: list[Token | JoinToken] = [*client.tokens(), *_ways_in(client)]
    show_list(
        settings,
        found,
        _columns(),
        to_document,
        lambda one: one.id,
        empty="no tokens but the node's own; ecnode token create makes one",
    )


def _ways_in(client: Client) -> tuple[JoinToken, ...]:
    try:
        return client.join_tokens()
    except NotFound:  # not a cloud: it lets nobody in
        return ()


@token.command()
@click.argument("ref", metavar="ID")
@pass_settings
def revoke(settings: Settings, ref: str) -> None:
    """Take a token away; a unique beginning of its id will do."""
    with settings.connect() as client:
        gone = client.revoke_join_token(ref) if ref.startswith(JOIN_ID) else client.revoke_token(ref)
    click.echo(gone.id)


def _columns() -> tuple[Column[Token | JoinToken], ...]:
    from node.clock import rfc3339
    from node.model.access import Token

    def moment(at: float | None, otherwise: str) -> str:
        return rfc3339(at) if at is not None else otherwise

    def allows(one: Token | JoinToken) -> str:
        return one.scope if isinstance(one, Token) else f"join as {','.join(one.roles)}"

    return (
        Column("ID", lambda one: one.id),
        Column("SCOPE", allows),
        Column("LABEL", lambda one: one.label or "–"),
        Column("EXPIRES", lambda one: moment(one.expires_at, "never")),
        Column("LAST USED", lambda one: moment(one.used_at, "never")),
    )
