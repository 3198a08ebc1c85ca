"""How does one console ask another over a link between their nodes?"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from node.model.cluster import Role
from node.model.value import Value
from node.model.wire.method import Method

HeaderName = Annotated[str, StringConstraints(pattern=r"^X-Peer-[A-Za-z]{1,20}$")]
HeaderText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f.]{1,200}$")]


class ConsoleAsk(Value):
    """A request of the console's peer protocol with the headers that sign it. Blob: its body, empty where there is none."""

    method: Literal["GET", "POST", "PUT"]
    path: Annotated[str, StringConstraints(pattern=r"^/[a-z_/]{1,40}[0-9a-f]{0,32}$")]
    headers: Annotated[dict[HeaderName, HeaderText], Field(max_length=8)] = {}


class ConsoleReply(Value):
    """The signature of the answer, empty to a request that is not signed. Blob: the answer; a refusal is the call's error."""

    signature: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{128})?$")] = ""


CONSOLE_ASK: Final = Method("console.ask", ConsoleAsk, ConsoleReply, frozenset({Role.FEDERATED}))
