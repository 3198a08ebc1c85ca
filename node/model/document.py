"""How does a value look to a reader at the HTTP door, and how does a client read it back?

The only place that turns wall seconds into RFC 3339 and back: inside the program time is a number, and every field named
`time` or `…_at` of a value object is a wall time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Final, TypeAlias, TypeVar, get_args

from pydantic import Field, JsonValue, ValidationError
from pydantic_core import SchemaSerializer, core_schema, to_json

from node.clock import rfc3339
from node.errors import Malformed
from node.model.blob import CHUNK_BYTES, BlobId
from node.model.cluster import NodeReport, NodeState, Role
from node.model.plot import PlotId, PlotState, TalentReport
from node.model.task import ATTEMPTS_MOST, ROUNDS_MOST, TaskId, TaskState
from node.model.value import Count, Fraction, Items, Name, QueryId, Seconds, SessionId, Text, Value, Word63
from node.model.video import STAGES, Placement, Plan, QueryState, Result, VideoConf

V = TypeVar("V", bound=Value)
Document: TypeAlias = dict[str, JsonValue]

MAX_PAGE: Final = 500  # 500 results are 140 KB and hold the loop for about 20 ms
WRITTEN_AT_HAND: Final = 64  # values with their text, of about 1 kB each; as many as the store may answer at once
MAX_WAIT: Final = 30.0  # seconds that a long poll may last; below the idle time-out of common proxies


class NodeCard(Value):
    """A node about itself: its newest figures and its identity. `uptime_s` counts from the opening of the door."""

    report: NodeReport
    fingerprint: Text
    public_key: Text
    uptime_s: Seconds


class TopologyNode(Value):
    """One node as the others see it: fractions of its machine, and what waits there."""

    name: Name
    roles: Items[Role]
    state: NodeState
    drained: bool = False
    cpu_fraction: Fraction
    others_fraction: Fraction
    others_running: Seconds
    memory_fraction: Fraction
    queued: Count
    waiting: Annotated[dict[Word63, Count], Field(description="By service: the calls that wait for a worker.")]
    wait_ms: Annotated[dict[Word63, Seconds], Field(description="By service: the median wait of its newest calls.")]
    jobs: Count


class TopologyLink(Value):
    """One direction of a link, as the node at its beginning reports it; `bytes_s` is 0 where nothing has told it yet."""

    source: Name
    target: Name
    rtt_ms: Seconds
    bytes_s: Seconds
    measured_s: Seconds
    bytes_out: Count
    bytes_in: Count


class Topology(Value):
    """The nodes that are known here, and the links that they report."""

    nodes: Items[TopologyNode]
    links: Items[TopologyLink]


class ResultItem(Result):
    """A result and its place in the query's list."""

    cursor: Count


class PlanItem(Value):
    """A plan and the moment from which it was the query's newest."""

    since_at: Seconds
    plan: Plan


class PlanChoice(Value):
    """A plan that a user chooses: how the pictures are taken, and a node for every stage of the query."""

    video_conf: VideoConf
    flow_mapping: Annotated[dict[Word63, Placement], Field(min_length=1, max_length=STAGES)]


class PlanHistory(Value):
    """The plan of now and every one that the query had, oldest first."""

    current: Plan | None
    history: Items[PlanItem]


class Readiness(Value):
    """Whether the node can do its work; a component that can not is named with the reason, the others with null."""

    ready: bool
    components: dict[str, Text | None]


class ListQuery(Value):
    """Query string of a list of queries: newest first, going on behind the id `after`."""

    state: QueryState | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    after: QueryId | None = None


class PartsQuery(Value):
    """Query string of the parts of a joint task: those of its present round unless another is named."""

    round: Annotated[int, Field(ge=1, le=ROUNDS_MOST)] | None = None


class TasksQuery(Value):
    """Query string of a list of tasks: newest first, going on behind the id `after`."""

    state: TaskState | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    after: TaskId | None = None


class LogQuery(Value):
    """Query string of a task's log: what is behind `offset`, or the last `tail` lines.

    `follow` goes on as a stream until the task ends; `attempt` names an earlier try.
    """

    offset: Count = 0
    tail: Annotated[int, Field(ge=0, le=100_000)] | None = None
    follow: bool = False
    attempt: Annotated[int, Field(ge=1, le=ATTEMPTS_MOST)] | None = None


class SessionListQuery(Value):
    """Query string of a list of sessions: newest first, going on behind the id `after`."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    after: SessionId | None = None


class SessionRecordsQuery(Value):
    """Query string of a session's tests: those behind the step `after`."""

    after: Annotated[int, Field(ge=-1, le=2**53)] = -1


class ListPlots(Value):
    """Query string of a list of plots: newest first, going on behind the id `after`."""

    state: PlotState | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    after: PlotId | None = None


class ExportPlots(Value):
    """Query string of all plots as one table, or those of a state."""

    state: PlotState | None = None


class PlotLogQuery(Value):
    """Query string of a plot's log: `length` bytes from `offset`, or its last; waits up to `wait` seconds for the first."""

    offset: Count = 0
    length: Annotated[int, Field(ge=1, le=CHUNK_BYTES)] = 65_536
    tail: bool = False
    wait: Annotated[float, Field(ge=0.0, le=MAX_WAIT, allow_inf_nan=False)] = 0.0


class TalentCard(Value):
    """A talent with its directories and what it works on, as it told them last."""

    name: Name
    state: NodeState
    seen_s: Seconds
    report: TalentReport


class AuditQuery(Value):
    """Query string of the audit: how many of the newest lines."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class ResultsQuery(Value):
    """Query string of the results: those behind the cursor `after`, waiting up to `wait` seconds for the first."""

    after: Count = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    wait: Annotated[float, Field(ge=0.0, le=MAX_WAIT, allow_inf_nan=False)] = 0.0


class ExportQuery(Value):
    """Query string of all results behind the cursor `after`."""

    after: Count = 0


class DecisionsQuery(Value):
    """Query string of the reasons of a query's plans: the newest `limit`."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50


class FramesQuery(Value):
    """Query string of a stream of pictures: at most `fps` a second, with or without what was found."""

    annotate: bool = True
    fps: Annotated[float, Field(gt=0.0, le=30.0, allow_inf_nan=False)] = 10.0


class BlobUpload(Value):
    """Query string of an upload: the id that its content must have, if the caller knows it."""

    id: BlobId | None = None


class BlobsQuery(Value):
    """Query string of the list of blobs, going on behind the id `after`."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    after: BlobId | None = None


class BlobPull(Value):
    """From which peers a blob is to be fetched, the likeliest first, and how many seconds the caller waits for it."""

    sources: Annotated[Items[Name], Field(min_length=1, max_length=8)]
    wait: Annotated[float, Field(ge=0.0, le=MAX_WAIT, allow_inf_nan=False)] = MAX_WAIT


def to_document(value: Value) -> Document:
    """The value as JSON-ready data with its wall times in RFC 3339."""
    document: Document = value.model_dump(mode="json")
    wall, nested = _shape(type(value))
    for field in wall:
        moment = document[field]
        if isinstance(moment, int | float):
            document[field] = rfc3339(moment)
    for field in nested:
        content = getattr(value, field)
        if isinstance(content, Value):
            document[field] = to_document(content)
    return document


class _Writer:
    """Values as JSON text; the newest stay at hand, since what a listener is told of is mostly what the caller gets next."""

    def __init__(self) -> None:
        self._newest: dict[int, tuple[Value, bytes]] = {}

    def __call__(self, value: Value) -> bytes:
        """What `to_document` gives, as JSON text; a stage's NaN becomes null, because JSON has none."""
        held = self._newest.get(id(value))
        if held is not None:  # an id stands for one value as long as that is held
            return held[1]
        serializer = _serializer(type(value))
        content = serializer.to_json(value.__dict__) if serializer else to_json(to_document(value), inf_nan_mode="null")
        if len(self._newest) >= WRITTEN_AT_HAND:
            del self._newest[next(iter(self._newest))]
        self._newest[id(value)] = (value, content)
        return content


write_document: Final = _Writer()


@cache
def _serializer(kind: type[Value]) -> SchemaSerializer | None:
    """Writes the fields of a `kind` at a third of the cost; None where a wall time lies deeper than it sees."""
    schema = kind.__pydantic_core_schema__
    if _shape(kind)[1] or schema["type"] != "model":
        return None
    told = {
        name: core_schema.typed_dict_field({**field["schema"], "serialization": _RFC3339} if is_wall(name) else field["schema"])
        for name, field in schema["schema"]["fields"].items()
    }
    return SchemaSerializer(core_schema.typed_dict_schema(told))


_RFC3339: Final = core_schema.plain_serializer_function_ser_schema(
    rfc3339, return_schema=core_schema.str_schema(), when_used="unless-none"
)


def from_document(kind: type[V], document: object) -> V:
    """The value that `to_document` made the document from.

    Raises:
        Malformed: the document is not one of a `kind`, for instance because the other side is of another release.
    """
    try:
        if not isinstance(document, Mapping):
            raise TypeError(f"a {type(document).__name__} is not an object")
        fields = {
            field: datetime.fromisoformat(content).timestamp() if is_wall(field) and isinstance(content, str) else content
            for field, content in document.items()
        }
        return kind.model_validate(fields)
    except (TypeError, ValueError, ValidationError) as error:
        raise Malformed(
            f"the answer is not a {kind.__name__} as this release knows it: {error}",
            hint="compare `ecnode version` on both sides",
        ) from error


@cache
def _shape(kind: type[Value]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    # the fields that hold wall times, and those that may hold values with wall times of their own, however deep
    nested = (
        name
        for name, field in kind.model_fields.items()
        for part in (field.annotation, *get_args(field.annotation))
        if isinstance(part, type) and issubclass(part, Value) and any(_shape(part))
    )
    return tuple(filter(is_wall, kind.model_fields)), tuple(nested)


def is_wall(field: str) -> bool:
    """Whether a field of that name holds a wall time."""
    return field == "time" or field.endswith("_at")
