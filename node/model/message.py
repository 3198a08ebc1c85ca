"""Which messages do nodes exchange, what does each answer with, and who may send it?

This table is the whole caller matrix: the dispatcher reads `callers`, the documentation prints it, a test walks it.
A picture is never inside a body: it travels as a blob, a ZeroMQ frame of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

from pydantic import AfterValidator, Field, JsonValue

from node.model.blob import CHUNK_BYTES, BlobId, BlobSize
from node.model.cluster import NodeReport, Received, Role
from node.model.delivery import Batch, BatchReply
from node.model.member import MEMBERS_MOST, Card, MemberState, PublicKey, Roles
from node.model.value import Count, Items, Name, QueryId, Seconds, Text, Value, Word, Word63
from node.model.video import Outcome, Pipeline, Plan, Result, Tally

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)


class Lane(StrEnum):
    """Which connection of a link carries a message: control never waits behind pictures and chunks."""

    CONTROL = "control"
    DATA = "data"


class Mark(Word):
    """What a key may be that is no member's; no set of roles has it, so a method is open to it only where it says so."""

    JOINER = "joiner"


Caller: TypeAlias = Role | Mark


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, R]):
    """One verb of the wire: its name, the body of the request, the body of the reply, who may ask, and on which lane.

    A durable one must arrive: it is sent with `roles.shared.delivery`, saved before it is sent and applied once.
    """

    name: str
    request: type[Q]
    reply: type[R]
    callers: frozenset[Caller]
    lane: Lane = Lane.CONTROL
    durable: bool = False


class Pictures(Value):
    """How many of the blobs of a message belong to one input or output, in order."""

    name: Word63
    count: Annotated[int, Field(ge=0, le=256)]


class StageCall(Value):
    """A service, and which of its models."""

    service: Word63
    model_id: Count = 0


class ComputeRequest(Value):
    """Stages to be run one after the other by one worker, each on the inputs and on what those before it gave.

    Blobs: the pictures, encoded, in the order of `pictures`. `wanted` names the pictures that are to be sent back: what only a
    stage of the same request looks at is never encoded.
    """

    stages: Annotated[Items[StageCall], Field(min_length=1, max_length=16)]
    values: dict[str, JsonValue] = {}
    pictures: Annotated[Items[Pictures], Field(max_length=16)] = ()
    wanted: Annotated[Items[Word63], Field(max_length=16)] = ()


class ComputeReply(Value):
    """What the stages gave, and the pictures of it that were wanted.

    `stage_seconds` is each stage's own time, `decode_seconds` that of the pictures, `wait_seconds` the time in the queue
    before all of it.
    """

    values: dict[str, JsonValue]
    pictures: Annotated[Items[Pictures], Field(max_length=16)] = ()
    stage_seconds: Annotated[Items[Seconds], Field(min_length=1, max_length=16)]
    decode_seconds: Seconds
    wait_seconds: Seconds


class JobStart(Value):
    """Run this query on one of your sources. Repeating it for a running attempt changes nothing."""

    query: QueryId
    attempt: Count
    source: Word63
    pipeline: Pipeline
    plan: Plan


class JobPlan(Value):
    """From the next frame on use this plan; an epoch that is not newer is ignored."""

    query: QueryId
    plan: Plan


class JobStop(Value):
    """Stop this query; unknown ones are stopped already."""

    query: QueryId


class JobPictureRequest(Value):
    """Give the newest processed frame, with what was found drawn into it. Reply blob: one JPEG."""

    query: QueryId


class JobPictureReply(Value):
    """The result that belongs to the picture."""

    result: Result


ATTEMPT_MOST: Final = 2**45  # frames or bytes of one attempt: 40 days at 10 MB/s, a thousand years of frames


def _plausible(tally: Tally) -> Tally:
    if not tally.adds_up or max(dict(tally).values()) > ATTEMPT_MOST:
        raise ValueError("a tally in which the frames do not add up")
    return tally


class Failure(Value):
    """A frame that was lost in a stage, and under which plan."""

    plan_epoch: Count
    stage: Word63


class JobProgress(Value):
    """Results of a job since the last acknowledged one, the tally, and, with the last of them, the outcome.

    `failures` are the newest since the last acknowledged progress: the planner learns from them, the tally counts them.
    """

    query: QueryId
    attempt: Count
    tally: Annotated[Tally, AfterValidator(_plausible)]
    results: Annotated[Items[Result], Field(max_length=64)] = ()
    failures: Annotated[Items[Failure], Field(max_length=16)] = ()
    outcome: Outcome | None = None


class JobProgressReply(Value):
    """`wanted` is false where this query or attempt should not be running any more."""

    wanted: bool


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


class BlobRequest(Value):
    """How is this blob made up? To know its id is to be allowed to read it."""

    blob: BlobId


class BlobReply(Value):
    """Its size. Reply blob: for each chunk of 1 MiB the SHA-256 of everything up to its end, 32 bytes each, in order."""

    size: BlobSize


class ChunkRequest(Value):
    """Give a part of this blob, at most one chunk. Reply blob: those bytes, no more and no less."""

    blob: BlobId
    offset: BlobSize
    length: Annotated[int, Field(ge=1, le=CHUNK_BYTES)]


_COMPUTING: Final = frozenset({Role.CLOUD, Role.EDGE})
_EVERY: Final = frozenset(Role)

NODE_REPORT: Final = Method("node.report", Report, ReportReply, _EVERY)
COMPUTE_RUN: Final = Method("compute.run", ComputeRequest, ComputeReply, _COMPUTING, Lane.DATA)
JOB_START: Final = Method("job.start", JobStart, Received, frozenset({Role.CLOUD}))
JOB_PLAN: Final = Method("job.plan", JobPlan, Received, frozenset({Role.CLOUD}))
JOB_STOP: Final = Method("job.stop", JobStop, Received, frozenset({Role.CLOUD}))
JOB_PICTURE: Final = Method("job.picture", JobPictureRequest, JobPictureReply, frozenset({Role.CLOUD}), Lane.DATA)
JOB_PROGRESS: Final = Method("job.progress", JobProgress, JobProgressReply, frozenset({Role.EDGE}), durable=True)
DELIVERY_TAKE: Final = Method("delivery.take", Batch, BatchReply, _EVERY)  # who may ask for what it carries is checked as well
BLOB_MANIFEST: Final = Method("blob.manifest", BlobRequest, BlobReply, _EVERY, Lane.DATA)
BLOB_CHUNK: Final = Method("blob.chunk", ChunkRequest, Received, _EVERY, Lane.DATA)
MEMBER_JOIN: Final = Method("member.join", JoinRequest, JoinReply, frozenset({Mark.JOINER}))
MEMBER_ROSTER: Final = Method("member.roster", Roster, Received, frozenset({Role.CLOUD}))

METHODS: Final[tuple[Method[Value, Value], ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Method)
)
