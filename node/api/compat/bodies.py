"""What do clients of the original systems send?"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from node.model.document import FramesQuery
from node.model.plot import (
    Buckets,
    BufferMib,
    DestType,
    FolderPath,
    Key,
    KSize,
    Memo,
    StripeSize,
    TaskId,
    Threads,
)
from node.model.value import Count, Text, Value, Word63
from node.model.video import STAGES, Constraint, Staged, VideoConf

ADDRESS_MOST: Final = 300

Address = Annotated[str, StringConstraints(min_length=1, max_length=ADDRESS_MOST)]
JobId = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class SubmitQuery(Staged):
    """A new query: `node_addr` is what get_video_info calls the node, `video_id` the number of its source."""

    node_addr: Address
    video_id: Count
    user_constraint: Constraint = Constraint()


class SubmitJob(SubmitQuery):
    """The same under the name of a job; a `job_uid` must be one that this node gave out, and then changes nothing."""

    job_uid: JobId | None = None


class ChangeConstraint(Value):
    """What must hold from now on; the query goes by either name."""

    query_id: JobId | None = None
    job_uid: JobId | None = None
    user_constraint: Constraint

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.query_id is None) == (self.job_uid is None):
            raise ValueError("name the query by query_id or by job_uid")
        return self

    @property
    def ref(self) -> str:
        """Whichever name was given."""
        return self.query_id or self.job_uid or ""


class OriginalPlacement(Value):
    """Where a stage runs; `node_ip` is what get_cluster_info calls the node."""

    model_id: Count = 0
    node_ip: Address | None = None
    node_role: Literal["host", "edge", "cloud"]


class UpdatePlan(Value):
    """A plan chosen by the caller."""

    job_uid: JobId
    video_conf: VideoConf
    flow_mapping: Annotated[dict[Word63, OriginalPlacement], Field(max_length=STAGES)]


class JobResult(Value):
    """One frame's result."""

    appended_result: dict[str, JsonValue]


class SyncResult(Value):
    """A result of a job."""

    job_uid: JobId
    job_result: JobResult


class Join(Value):
    """A source of a node: `node_ip` is the caller's address where it is left out."""

    node_port: Annotated[int, Field(ge=1, le=65535)]
    node_ip: Address | None = None
    video_id: Count
    video_type: Text = ""


class NodeAddress(Value):
    """Where a job's node is, in the caller's opinion."""

    job_uid: JobId
    node_addr: Address


class NewestResults(Value):
    """How many of the newest results; `token` is read at the door."""

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    token: str = ""


class VideoParams(FramesQuery):
    """How a query is looked at; `token` is read at the door."""

    annotate: bool = False
    token: str = ""


class CreatePlot(Value):
    """A plot in the words of the original's plot_task_create; what is left out comes from the talent's defaults."""

    task_id: TaskId | None = None
    ksize: KSize | None = None
    threads: Threads | None = None
    buffer: BufferMib | None = None
    stripe_size: StripeSize | None = None
    buckets: Buckets | None = None
    fpk: Key | None = None
    ppk: Key | None = None
    memo: Memo | None = None
    cache1: FolderPath | None = None
    cache2: FolderPath | None = None
    dest_type: DestType | None = None
    dest_path: FolderPath | None = None
