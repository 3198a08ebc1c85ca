"""How does a request travel over a cloud between two members that have no link to each other?"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import StringConstraints

from node.model.cluster import Role
from node.model.member import Fingerprint, Invited, Roles
from node.model.value import Name, Value
from node.model.wire.method import EVERY, Lane, Method

MethodName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class RelayAsk(Value):
    """Pass this request on to a member that I have no link to. Blobs: the request's body, then its own blobs.

    How long there is for it is the time for this message.
    """

    to: Name
    method: MethodName


class RelayGive(Value):
    """What a member asks of you over me; who it is, is what its link to me has proven. Blobs as in RelayAsk."""

    sender: Name
    fingerprint: Fingerprint
    roles: Roles
    sessions: Invited = ()
    method: MethodName


class RelayReply(Value):
    """How the target answered: with an error of this code, or with none. Blobs: the body of either, then the reply's own."""

    code: Annotated[str, StringConstraints(max_length=128)] = ""


RELAY_ASK: Final = Method("relay.ask", RelayAsk, RelayReply, EVERY)
RELAY_ASK_DATA: Final = Method("relay.ask_data", RelayAsk, RelayReply, EVERY, Lane.DATA)
RELAY_GIVE: Final = Method("relay.give", RelayGive, RelayReply, frozenset({Role.CLOUD}))
RELAY_GIVE_DATA: Final = Method("relay.give_data", RelayGive, RelayReply, frozenset({Role.CLOUD}), Lane.DATA)
