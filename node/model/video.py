"""What is a video query, what is its plan, what does it answer, and which states may it be in?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, StrictBool, model_validator
from pydantic_core import to_json

from node.lifecycle import LifeCycle
from node.model.value import Count, Duration, Fraction, Items, Name, QueryId, Seconds, Text, Value, Word, Word63

Fps: TypeAlias = Literal[1, 5, 10, 20, 30]
FPS_CHOICES: Final[tuple[Fps, ...]] = (1, 5, 10, 20, 30)


STAGES: Final = 8  # of one pipeline
IN_FLIGHT: Final = 2  # pictures of a query at a time: one on its way or in a worker, one behind it; more only adds age
OUTPUTS: Final = 32  # names of values that the stages of one pipeline give, four each
OUTPUT_BYTES: Final = 24 * 1024  # of one result as JSON: 256 faces with their poses are 14 kB, sixteen results fit one message


class Resolution(Word):
    """The picture sizes that a plan may choose."""

    P360 = "360p"
    P480 = "480p"
    P720 = "720p"
    P1080 = "1080p"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return _SIZES[self]


_SIZES: Final = {
    Resolution.P360: (480, 360),
    Resolution.P480: (640, 480),
    Resolution.P720: (1280, 720),
    Resolution.P1080: (1920, 1080),
}


class StageRole(Word):
    """Where a stage runs, seen from the camera: its own edge, another edge, or the cloud."""

    HOST = "host"
    EDGE = "edge"
    CLOUD = "cloud"


class VideoConf(Value):
    """How the camera's pictures are taken for a query."""

    fps: Fps = 10
    resolution: Resolution = Resolution.P480
    encoder: Literal["JPEG"] = "JPEG"


class Placement(Value):
    """Which node runs a stage, and with which variant of its model.

    What it takes from a stage on another node comes straight from there where the two have a link; with `by_host` it comes over
    the node that owns the camera all the same.
    """

    node: Name
    role: StageRole
    model_id: Count = 0
    by_host: StrictBool = False


EPOCH_STEP: Final = 2  # from one plan of a cloud to the next: the number between is the plan's safe one


class Plan(Value):
    """A video configuration and a node for every stage. A newer plan of the same query has a higher epoch."""

    epoch: Count
    video_conf: VideoConf
    flow_mapping: Annotated[dict[Word63, Placement], Field(max_length=STAGES)]

    def same_choice(self, other: Plan) -> bool:
        """Whether both plans do the same, whatever their epochs."""
        return self.video_conf == other.video_conf and self.flow_mapping == other.flow_mapping

    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the choice as canonical JSON, without the epoch."""
        choice = self.model_dump(mode="json", exclude={"epoch"})
        for place in choice["flow_mapping"].values():
            if not place["by_host"]:  # as digests were before there was such a word
                del place["by_host"]
        text = json.dumps(choice, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class SafePlan(Value):
    """What an edge does by itself, from one moment to the next: once a frame is away for longer than `after`, is lost, or a
    node that the plan needs is silent. It needs no other node; its epoch is the one after the plan's.
    """

    plan: Plan
    after: Duration


class Constraint(Value):
    """What the user wants held; a field left out is not asked for.

    `delay` is the original's meaning: the summed stage time of a frame divided by the camera frames that it stands for.
    `latency` is the true time from capture to result. `accuracy` is a fraction. `weight` is a priority where queries share
    nodes: who weighs twice as much pays half as much; 1 where it is left out.
    """

    delay: Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False)] | None = None
    latency: Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False)] | None = None
    accuracy: Fraction | None = None
    weight: Annotated[float, Field(ge=0.01, le=100.0, allow_inf_nan=False)] | None = None


Pipeline = Annotated[Items[Word63], Field(min_length=1, max_length=STAGES)]


StageGraph = Annotated[
    dict[Word63, Annotated[Items[Word63], Field(max_length=STAGES)]],
    Field(max_length=STAGES, description="Each stage with those whose outputs it takes; empty: the pipeline is a list."),
]


class Staged(Value):
    """What names a pipeline: a list of stages, or under the same name a graph, each stage with those that it takes from.

    A graph is kept in `graph`, and its stages in an order in which they can run in `pipeline`.
    """

    pipeline: Pipeline
    graph: StageGraph = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _split_graph(cls, given: object) -> object:
        if not isinstance(given, dict) or not isinstance(graph := given.get("pipeline"), dict) or "graph" in given:
            return given
        sound = all(isinstance(before, list | tuple) for before in graph.values())
        return {**given, "graph": graph, "pipeline": in_order(graph) if sound else tuple(graph)}


def in_order(graph: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The stages of a graph, each behind those that it takes from where that is possible, otherwise as they were given."""
    left = list(graph)
    placed: list[str] = []
    while left:
        ready = next((stage for stage in left if not any(other in graph[stage] for other in left)), left[0])
        left.remove(ready)
        placed.append(ready)
    return tuple(placed)


class QueryRequest(Staged):
    """What a user submits: which source of which edge, which stages in which order, and what must hold."""

    id: QueryId | None = None
    name: Text = ""
    node: Name
    source: Word63
    constraint: Constraint = Constraint()

    def accepted(self, id: str, now: float) -> Query:
        """The query that it becomes. What was checked in the request is not checked again, which takes as long."""
        return _fresh_query().model_copy(update={**self.__dict__, "id": id, "created_at": now})


class QueryState(Word):
    """States of a query; the last three are final."""

    UNSCHEDULED = "unscheduled"
    READY = "ready"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


_LIVE: Final = (QueryState.UNSCHEDULED, QueryState.READY, QueryState.RUNNING)
QUERY_LIFE: Final = LifeCycle(
    "query",
    QueryState.UNSCHEDULED,
    {
        (QueryState.UNSCHEDULED, "plan"): QueryState.READY,
        (QueryState.READY, "start"): QueryState.RUNNING,
        (QueryState.RUNNING, "interrupt"): QueryState.READY,
        (QueryState.RUNNING, "end"): QueryState.FINISHED,
        **{(state, "fail"): QueryState.FAILED for state in _LIVE},
        **{(state, "stop"): QueryState.STOPPED for state in _LIVE},
    },
)


class Tally(Value):
    """Where the frames of one attempt of a query went: captured = processed + skipped + failed, always.

    A frame that is still being worked on is in none of the four but in `in_flight`. `bytes_moved` counts the pictures that
    left the edge for another node.
    """

    captured: Count = 0
    processed: Count = 0
    skipped: Count = 0
    failed: Count = 0
    in_flight: Count = 0
    bytes_moved: Count = 0

    @property
    def adds_up(self) -> bool:
        """Whether every captured frame has one fate."""
        return self.captured == self.processed + self.skipped + self.failed

    def settled(self, fate: Literal["failed", "skipped"]) -> Tally:
        """The tally of an attempt that is over, with a fate for the frames that nobody works on any more."""
        return self.replace(captured=self.captured + self.in_flight, in_flight=0, **{fate: dict(self)[fate] + self.in_flight})

    def __add__(self, other: Tally) -> Tally:
        mine, theirs = dict(self), dict(other)
        return Tally(**{field: mine[field] + theirs[field] for field in mine})


def _light(output: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if (size := len(to_json(output))) > OUTPUT_BYTES:
        raise ValueError(f"an output of {size} bytes, at most {OUTPUT_BYTES}")
    return output


class Result(Value):
    """What the pipeline found in one frame.

    `output` holds what the stages gave, without pictures; boxes are [x0, y0, x1, y1] in pixels of a `width` × `height` frame.
    `captured_at` is wall time in seconds; `stage_ms` includes the way to another node and back, `hop_ms` is that way alone. The
    input of the `direct` stages came straight from the node of the stage before.
    """

    attempt: Count
    n_loop: Count
    cam_frame_id: Count
    conf_frame_id: Count
    captured_at: Seconds
    latency: Seconds
    delay: Seconds
    stage_ms: Annotated[dict[Word63, Seconds], Field(max_length=STAGES)]
    hop_ms: Annotated[dict[Word63, Seconds], Field(max_length=STAGES)] = {}
    direct: Annotated[Items[Word63], Field(max_length=STAGES)] = ()
    plan: Text
    plan_epoch: Count
    width: Count
    height: Count
    output: Annotated[dict[Word63, JsonValue], Field(max_length=OUTPUTS), AfterValidator(_light)]


class Outcome(Value):
    """How an attempt ended: `finished`, or `failed` with a reason."""

    state: Literal["finished", "failed"]
    reason: Text = ""


class Query(Value):
    """A query as it is remembered. `tally` sums all attempts; times are wall seconds."""

    id: QueryId
    name: Text
    node: Name
    source: Word63
    pipeline: Pipeline
    constraint: Constraint
    state: QueryState
    reason: Text = ""
    attempt: Count = 0
    plan: Plan | None = None
    tally: Tally = Tally()
    created_at: Seconds
    ended_at: Seconds | None = None
    graph: StageGraph = Field(default_factory=dict)


@cache
def _fresh_query() -> Query:
    """A query of nobody, whose other fields are those that every new one has."""
    return Query(
        id=f"q-{'0' * 26}",
        name="",
        node="0",
        source="0",
        pipeline=("0",),
        constraint=Constraint(),
        state=QUERY_LIFE.start,
        created_at=0.0,
    )


class Event(Value):
    """One step of a query's life: when it was taken, to which state it led, and why. `time` is wall seconds."""

    time: Seconds
    event: Word63
    state: QueryState
    reason: Text = ""


class Runtime(Value):
    """What the newest results say: the original's four figures, then ours. Windows are the last 30 results.

    `obj_size` is the mean box area in px² at 1080p scale, `obj_speed` how many px a second the objects move there, 0 where
    unknown; `obj_stable` says that the standard deviation of the object count is below 0.3; `fps` is results per second.
    """

    delay: Seconds = 0.0
    obj_n: Seconds = 0.0
    obj_size: Seconds = 0.0
    obj_speed: Seconds = 0.0
    obj_stable: bool = False
    latency_p50: Seconds = 0.0
    latency_p95: Seconds = 0.0
    fps: Seconds = 0.0
    stage_ms: dict[str, Seconds] = {}
