"""How does a node say that it lives, how does it become a member, and how does it learn who the others are?"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from node.model.cluster import NodeReport, Received, Role
from node.model.member import MEMBERS_MOST, Card, MemberState, PublicKey, Roles
from node.model.value import Count, Items, Name, Seconds, Text, Value
from node.model.wire.method import EVERY, Mark, Method


class Report(Value):
    """A heartbeat."""

    report: NodeReport


class ReportReply(Value):
    """Who took the report; a cloud's word holds `lease` seconds from the asking, 0 where it gives none."""

    name: Name
    lease: Seconds = 0.0


class JoinRequest(Value):
    """Take this key in. Asked over the one-use key of a join token, which is thereby used up.

    Repeating it with the same key gives the same answer.
    """

    name: Name
    key: PublicKey
    roles: Roles
    version: Text = ""


class JoinReply(Value):
    """Whom the newcomer has joined, and whether it gets in now or once somebody approves it."""

    name: Name
    roles: Roles
    state: MemberState


class Roster(Value):
    """All whom the receiver may meet beside the cloud itself; a newer one (`boot`, then `number`) replaces an older one.

    `next_key` is the one that the cloud will go over to: the receiver takes both from now on.
    """

    boot: Count
    number: Count
    next_key: PublicKey | None = None
    members: Annotated[Items[Card], Field(max_length=MEMBERS_MOST)] = ()


NODE_REPORT: Final = Method("node.report", Report, ReportReply, EVERY)
MEMBER_JOIN: Final = Method("member.join", JoinRequest, JoinReply, frozenset({Mark.JOINER}))
MEMBER_ROSTER: Final = Method("member.roster", Roster, Received, frozenset({Role.CLOUD}))
