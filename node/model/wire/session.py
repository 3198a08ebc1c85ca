"""How do the nodes of a private session agree to it, run it, and say what its parties have to say to each other?"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StrictBool, StringConstraints

from node.model.cluster import Received, Role
from node.model.federated import (
    PARTIES_MOST,
    Hex64,
    PartyName,
    PartyProgress,
    Record,
    SessionSpec,
    SessionState,
    Signature,
)
from node.model.value import Count, Items, SessionId, Text, Value
from node.model.wire.method import Lane, Method

PART_BYTES: Final = 1 << 20  # of one message; what is larger travels in parts
PARTS_MOST: Final = 4096

What = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z ]{0,39}$")]


class IdentityRequest(Value):
    """With which key do you sign for your parties?"""


class IdentityReply(Value):
    """The public half of the node's Ed25519 key."""

    key: Hex64


class Signed(Value):
    """A party's signature under the spec of its session."""

    party: PartyName
    signature: Signature


class SessionCreate(Value):
    """Take part in this. Repeating it changes nothing.

    `proof` shows that whoever asked for the session knows the token of its parties: HMAC-SHA-256 under it of the spec's digest.
    """

    spec: SessionSpec
    proof: Hex64 | Literal[""] = ""


class SessionCreateReply(Value):
    """The signatures of the node's parties, where its policy accepts at once; none where somebody has to be asked."""

    signatures: Annotated[Items[Signed], Field(max_length=PARTIES_MOST)] = ()


class SessionAnswer(Value):
    """What was decided at a node whose policy asks somebody: the signatures of its parties, or the reason why not."""

    session: SessionId
    signatures: Annotated[Items[Signed], Field(max_length=PARTIES_MOST)] = ()
    refusal: Text = ""


class SessionRun(Value):
    """Begin this epoch, from what all have of the ones before; `signatures` are those of all parties.

    An epoch that is not above the last one that the node has begun is refused: its masks are used up.
    """

    session: SessionId
    epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    signatures: Annotated[Items[Signed], Field(min_length=2, max_length=PARTIES_MOST)]


class SessionSay(Value):
    """A word of one party to another. Blob: its content, or a part of it where it is larger than 1 MiB.

    It is `sealed` where another node passes it on: then only the worker of the party that it is for can read it.
    """

    session: SessionId
    epoch: Count
    sender: PartyName
    to: PartyName
    what: What
    index: Count
    part: Annotated[int, Field(ge=0, lt=PARTS_MOST)] = 0
    parts: Annotated[int, Field(ge=1, le=PARTS_MOST)] = 1
    sealed: StrictBool = False

    @property
    def title(self) -> str:
        """What no other word of this sender to this party is called."""
        return f"{self.what} {self.index} {self.part}"


class SessionPulse(Value):
    """Where a party is. Sent often, nobody answers, the newest counts."""

    session: SessionId
    epoch: Count
    party: PartyName
    progress: PartyProgress


class SessionReport(Value):
    """What a coordinator must hear of a party: tests of the model, that it is done, or why it cannot go on.

    An `interruption` may pass when the parties begin again; other errors are for good.
    """

    session: SessionId
    epoch: Count
    party: PartyName
    records: Annotated[Items[Record], Field(max_length=64)] = ()
    done: StrictBool = False
    outputs: Annotated[Items[Text], Field(max_length=64)] = ()
    error: Text = ""
    interruption: StrictBool = False


class SessionEnd(Value):
    """It is over, in this state and for this reason."""

    session: SessionId
    state: SessionState
    reason: Text = ""


_PARTY: Final = frozenset({Role.FEDERATED})

SESSION_IDENTITY: Final = Method("session.identity", IdentityRequest, IdentityReply, _PARTY)
SESSION_CREATE: Final = Method("session.create", SessionCreate, SessionCreateReply, _PARTY)
SESSION_ANSWER: Final = Method("session.answer", SessionAnswer, Received, _PARTY, durable=True)
SESSION_RUN: Final = Method("session.run", SessionRun, Received, _PARTY)
SESSION_SAY: Final = Method("session.say", SessionSay, Received, _PARTY, Lane.DATA)
SESSION_PULSE: Final = Method("session.pulse", SessionPulse, Received, _PARTY)
SESSION_REPORT: Final = Method("session.report", SessionReport, Received, _PARTY, durable=True)
SESSION_END: Final = Method("session.end", SessionEnd, Received, _PARTY, durable=True)
