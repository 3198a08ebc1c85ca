"""The commands about members: those of `peers` at the cloud, and `join` at the newcomer."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import Column, show_list, show_one
from node.errors import Invalid

if TYPE_CHECKING:
    from node.config import NodeConfig
    from node.model.member import KeyState, Member, Waiting
    from node.model.wire.member import JoinReply

ROLES: Final = ("cloud", "edge", "talent", "federated")
JOIN_S: Final = 10.0


@click.group(cls=SuggestingGroup)
def peers() -> None:
    """See who is a member, let nodes in, put them out.

    A member is named by its name, its fingerprint or a unique beginning of that.
    """


@peers.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """The members of a cloud, those of its config and those that were put out too."""
    from node.model.document import to_document

    with settings.connect() as client:
        found = client.members()
    show_list(
        settings,
        found,
        _columns(),
        to_document,
        lambda one: one.name,
        empty="no members yet; ecnode token create --role edge makes a way in for one",
    )


@peers.command()
@output_option
@pass_settings
def pending(settings: Settings) -> None:
    """Who waits: members that showed a token, and keys that were refused at the door."""
    from node.model.document import to_document

    with settings.connect() as client:
        found = client.waiting()
    show_list(settings, found, _waiting_columns(), to_document, lambda one: one.fingerprint, empty="nobody waits")


@peers.command()
@click.argument("ref", metavar="FINGERPRINT")
@click.option("--name", help="The node.name that it has; needed where only its key is known.")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, help="What it may be; more than once for several.")
@click.option("--session", "sessions", metavar="ID", multiple=True, help="A private session that it may be in; default: any.")
@click.option("--ttl", metavar="SPAN", help="How long it stays a member, such as 30d; default: until it is removed.")
@output_option
@pass_settings
def approve(
    settings: Settings, ref: str, *, name: str | None, roles: tuple[str, ...], sessions: tuple[str, ...], ttl: str | None
) -> None:
    """Let in who waits; it joins by itself within ten seconds."""
    from node.config.units import duration
    from node.model.document import to_document
    from node.model.member import Approval

    try:
        wish = {"name": name, "roles": list(roles), "ttl": None if ttl is None else duration(ttl)}
        approval = Approval.model_validate({**wish, "sessions": list(sessions) or None})
    except ValueError as error:
        raise Invalid(f"--name, --session or --ttl: {error}") from error
    with settings.connect() as client:
        member = client.approve(ref, approval)
    show_one(settings, member, _columns(), to_document, lambda one: one.name)


@peers.command()
@click.argument("ref", metavar="PEER")
@click.option("--session", "sessions", metavar="ID", multiple=True, help="A private session; more than once for several.")
@output_option
@pass_settings
def invite(settings: Settings, ref: str, sessions: tuple[str, ...]) -> None:
    """Say which private sessions a member may take part in: the named ones, or any where none is named."""
    from node.model.document import to_document
    from node.model.member import Invitation

    try:
        invitation = Invitation(sessions=sessions)
    except ValueError as error:
        raise Invalid(f"--session: {error}") from error
    with settings.connect() as client:
        member = client.invite(ref, invitation.sessions)
    show_one(settings, member, _columns(), to_document, lambda one: one.name)


@peers.command()
@click.argument("ref", metavar="PEER")
@output_option
@pass_settings
def remove(settings: Settings, ref: str) -> None:
    """Put a member out: its connection is cut at once, and its key never gets in again."""
    from node.model.document import to_document

    with settings.connect() as client:
        member = client.remove(ref)
    show_one(settings, member, _columns(), to_document, lambda one: one.name)


@peers.command()
@click.argument("ref", metavar="PEER")
@output_option
@pass_settings
def drain(settings: Settings, ref: str) -> None:
    """Give a member no new work, and move the stages that run there."""
    _drain(settings, ref, drained=True)


@peers.command()
@click.argument("ref", metavar="PEER")
@output_option
@pass_settings
def undrain(settings: Settings, ref: str) -> None:
    """Let a drained member have work again."""
    _drain(settings, ref, drained=False)


@peers.command("rotate-key")
@click.option("--switch", is_flag=True, help="Go over to the announced key; takes effect when the cloud is started again.")
@output_option
@pass_settings
def rotate_key(settings: Settings, *, switch: bool) -> None:
    """Change the cloud's own key: announce the next one to the members, then --switch once all know it."""
    from node.model.document import to_document

    with settings.connect() as client:
        state = client.change_key(switch=switch)
    show_one(settings, state, _key_columns(), to_document, lambda one: one.fingerprint)


def _drain(settings: Settings, ref: str, *, drained: bool) -> None:
    from node.model.document import to_document

    with settings.connect() as client:
        member = client.drain(ref, drained=drained)
    show_one(settings, member, _columns(), to_document, lambda one: one.name)


@click.command()
@click.argument("address", metavar="ADDR")
@click.option("--token", required=True, metavar="TOKEN", help="As `ecnode token create` printed it on the cloud.")
@click.option("-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The node's config.")
@pass_settings
def join(settings: Settings, address: str, token: str, config: Path | None) -> int:
    """Make the node of this config a member, with a join token; afterwards `ecnode up` finds the cloud by itself.

    ADDR is where the cloud listens for peers, such as tcp://10.0.0.5:7440. Ends with 0 when the node is admitted, with 8
    when the door refuses the token or somebody has to approve the node first.
    """
    from node.config import config_files, load
    from node.config.address import peer_address

    try:
        peer_address(address)
    except ValueError as error:
        raise Invalid(str(error)) from error
    files = config_files([config] if config else (), os.environ)
    loaded = load(files, os.environ, ()).config
    reply = _register(loaded, address, token, min(settings.timeout, JOIN_S))
    if reply.state == "admitted":
        click.echo(f"{loaded.node.name} is a member of {reply.name}")
        settings.say("next: ecnode up")
        return 0
    click.echo(f"{loaded.node.name} waits for its approval at {reply.name}")
    settings.say(f"there: ecnode peers approve {loaded.node.name}     here: ecnode up, it gets in as soon as it is approved")
    return 8


def _register(config: NodeConfig, address: str, token: str, timeout: float) -> JoinReply:
    from node import __version__, datadir
    from node.clock import SystemClock
    from node.model.cluster import Role
    from node.model.member import Member, MemberState
    from node.model.wire.member import JoinRequest
    from node.storage.joined import remember_cloud
    from node.transport.enrol import enrol
    from node.transport.jointoken import read_token
    from node.transport.keys import fingerprint, load_or_create

    ticket, clock = read_token(token), SystemClock()
    with datadir.own(config.node.data_dir):
        identity = load_or_create(config.identity_file)
        roles = tuple(Role(role) for role in config.node.roles)
        request = JoinRequest(name=config.node.name, key=identity.public, roles=roles, version=__version__)
        reply = enrol(ticket, address, request, clock, timeout)
        now = clock.wall()
        cloud = Member(
            fingerprint=fingerprint(ticket.server),
            name=reply.name,
            key=ticket.server,
            roles=reply.roles,
            state=MemberState.ADMITTED,
            address=address,
            created_at=now,
            changed_at=now,
        )
        asyncio.run(remember_cloud(config.storage.database, config.node.data_dir, clock, cloud))
    return reply


def _columns() -> tuple[Column[Member], ...]:
    from node.clock import rfc3339

    return (
        Column("PEER", lambda one: one.name),
        Column("ROLE", lambda one: ",".join(one.roles)),
        Column("STATE", lambda one: f"{one.state}, drained" if one.drained_at is not None else one.state),
        Column("SESSIONS", lambda one: ",".join(one.sessions) or "any"),
        Column("UNTIL", lambda one: rfc3339(one.expires_at) if one.expires_at is not None else "–"),
        Column("FINGERPRINT", lambda one: one.fingerprint),
    )


def _key_columns() -> tuple[Column[KeyState], ...]:
    return (
        Column("NEXT KEY", lambda one: one.next_key),
        Column("FINGERPRINT", lambda one: one.fingerprint),
        Column("UNAWARE", lambda one: ", ".join(one.unaware) or "nobody"),
        Column("NEXT", lambda one: "start the cloud again" if one.switched else "rotate-key --switch once nobody is unaware"),
    )


def _waiting_columns() -> tuple[Column[Waiting], ...]:
    return (
        Column("FINGERPRINT", lambda one: one.fingerprint),
        Column("PEER", lambda one: one.name or "–"),
        Column("ROLE", lambda one: ",".join(one.roles) or "–"),
        Column("KNOCKED FROM", lambda one: one.address or "–"),
        Column("TIMES", lambda one: str(one.times)),
    )
