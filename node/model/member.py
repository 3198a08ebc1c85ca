"""Who may become a member of the system, in which states may a member be, and what is written down about it?"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import Field, StrictBool, StringConstraints

from node.config.address import peer_address
from node.lifecycle import LifeCycle
from node.model.cluster import Address, Role
from node.model.value import Count, Items, Name, Seconds, SessionId, Text, Value, Word

TOKEN_TTL_MOST: Final = 30 * 86400.0  # a way in that lies about for longer is forgotten by its maker, not by its finder
MEMBER_TTL_MOST: Final = 10 * 366 * 86400.0
MEMBERS_MOST: Final = 4096  # as many as transport.allow may name; a roster of them is 600 KB, below one body

SESSIONS_MOST: Final = 64  # private sessions that one member is invited to by name
NEXT_KEYS: Final = 2  # a cloud's key of now and the one that it goes over to

PublicKey: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{40}$")]
Fingerprint: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Z2-7]{7}(-[A-Z2-7]{7}){3}$")]
JoinTokenId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^j-[0-9a-hjkmnp-tv-z]{26}$")]
Invited: TypeAlias = Annotated[Items[SessionId], Field(max_length=SESSIONS_MOST)]
"""Private sessions that a member may take part in; none named: any."""
Roles: TypeAlias = Annotated[Items[Role], Field(min_length=1, max_length=len(Role))]


class MemberState(Word):
    """Where a member's key stands; only an admitted one opens the door."""

    PENDING = "pending"
    ADMITTED = "admitted"
    EXPIRED = "expired"
    REVOKED = "revoked"


MEMBER_LIFE: Final = LifeCycle(
    "member",
    MemberState.PENDING,
    {
        (MemberState.PENDING, "approve"): MemberState.ADMITTED,
        (MemberState.PENDING, "revoke"): MemberState.REVOKED,
        (MemberState.ADMITTED, "expire"): MemberState.EXPIRED,
        (MemberState.ADMITTED, "revoke"): MemberState.REVOKED,
        (MemberState.EXPIRED, "approve"): MemberState.ADMITTED,
        (MemberState.EXPIRED, "revoke"): MemberState.REVOKED,
    },
)
"""A revoked key never gets in again: whoever took it away did so because somebody else may hold it."""


class Member(Value):
    """The record of one key.

    `address` is where this node dials it, empty where it does not; `token` the join token that it came with, if it did;
    `next_keys` are those that it has announced to go over to, newest last.
    """

    fingerprint: Fingerprint
    name: Name
    key: PublicKey
    roles: Roles
    state: MemberState
    token: str = ""
    address: Address = ""
    created_at: Seconds
    changed_at: Seconds
    expires_at: Seconds | None = None
    drained_at: Seconds | None = None
    next_keys: Annotated[Items[PublicKey], Field(max_length=NEXT_KEYS)] = ()
    sessions: Invited = ()


class MemberEvent(Value):
    """One line of the audit: what happened to which key, and why."""

    time: Seconds
    fingerprint: Fingerprint
    name: Name
    event: Annotated[str, StringConstraints(max_length=63)]
    state: MemberState
    reason: Text = ""


class JoinToken(Value):
    """A way in for one node, as everybody may see it; `used_by` is the fingerprint of the key that it let in."""

    id: JoinTokenId
    label: Annotated[str, StringConstraints(max_length=200)] = ""
    roles: Roles
    created_at: Seconds
    expires_at: Seconds
    used_by: str = ""
    used_at: Seconds | None = None


class JoinTokenRequest(Value):
    """A join token that somebody asks for; `ttl` in seconds."""

    roles: Roles
    ttl: Annotated[float, Field(ge=1.0, le=TOKEN_TTL_MOST, allow_inf_nan=False)] = 3600.0
    label: Annotated[str, StringConstraints(max_length=200)] = ""


class NewJoinToken(Value):
    """A join token that was just made; `secret` is shown this once and kept nowhere."""

    token: JoinToken
    secret: Text


class Knock(Value):
    """A key that was refused at the door: nothing else is known of it. `times` counts since the node was started."""

    fingerprint: Fingerprint
    key: PublicKey
    address: Text
    times: Count


class Waiting(Value):
    """Who waits for an approval: a refused key, or the record of a member that showed a token."""

    fingerprint: Fingerprint
    key: PublicKey
    name: str = ""
    roles: Items[Role] = ()
    address: Text = ""
    times: Count = 0


class Approval(Value):
    """What an approved key may be; a member that is pending by token keeps what is not given here. `ttl` in seconds."""

    name: Name | None = None
    roles: Annotated[Items[Role], Field(max_length=len(Role))] = ()
    sessions: Invited | None = None
    ttl: Annotated[float, Field(ge=1.0, le=MEMBER_TTL_MOST, allow_inf_nan=False)] | None = None


class Invitation(Value):
    """The private sessions that a member may take part in from now on; none named: any."""

    sessions: Invited = ()


class NodeChange(Value):
    """What is to change about a member: a drained one gets no new work, and what runs there is moved."""

    drained: bool


class KeyChange(Value):
    """What is to happen with this cloud's key: announce the next one, or also make it the key from the next start on."""

    switch: StrictBool = False


class KeyState(Value):
    """How far a change of this cloud's key is; `unaware` are the members that have not acknowledged the next one."""

    next_key: PublicKey
    fingerprint: Fingerprint
    unaware: Items[Name] = ()
    switched: StrictBool = False


class Card(Value):
    """A member as other members hear of it. `address` is where it may be dialled, empty where it cannot."""

    name: Name
    key: PublicKey
    roles: Roles
    sessions: Invited = ()
    address: Address = ""


def can_be_dialled(address: str) -> bool:
    """Whether an address that another node told names one place."""
    try:
        parsed = peer_address(address)
    except ValueError:
        return False
    return not parsed.every_interface and (parsed.scheme == "ipc" or parsed.port != 0)
