"""What do a cloud and an edge say to each other of a query that the edge runs?"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StrictBool

from node.model.cluster import Received, Role
from node.model.value import Count, Fraction, Items, Name, QueryId, Seconds, Value, Word63
from node.model.video import STAGES, Outcome, Pipeline, Plan, Resolution, Result, SafePlan, StageGraph, Tally
from node.model.wire.method import Lane, Method


class JobStart(Value):
    """Run this query on one of your sources. Repeating it for a running attempt changes nothing."""

    query: QueryId
    attempt: Count
    source: Word63
    pipeline: Pipeline
    graph: StageGraph = {}
    plan: Plan
    safe: SafePlan | None = None


class JobPlan(Value):
    """From the next frame on use this plan; an epoch that is not newer is ignored. Take `safe` where the plan cannot run."""

    query: QueryId
    plan: Plan
    safe: SafePlan | None = None


class JobTrial(Value):
    """Take one more picture of the query's source, of that size, and run these stages on `node`, for their time alone."""

    query: QueryId
    node: Name
    stages: Pipeline
    resolution: Resolution


class JobTrialReply(Value):
    """What it took: each stage, the way there and back, the bytes of the picture. `seen` is the fraction of the `objects` found
    that the query's newest result has as well, null where there is nothing to compare.
    """

    stage_s: Annotated[dict[Word63, Seconds], Field(max_length=STAGES)]
    hop_s: Seconds
    sent: Count
    objects: Count
    seen: Fraction | None = None


class JobStop(Value):
    """Stop this query; unknown ones are stopped already."""

    query: QueryId


class JobPictureRequest(Value):
    """Give the newest processed frame, `drawn` with what was found drawn into it. Reply blob: one JPEG.

    A frame that the asker has `seen` of that attempt is not given again: the answer waits up to `wait` seconds for a newer one,
    and comes without a blob where there is none. So who asks one thing at a time pulls pictures as fast as it takes them.
    """

    query: QueryId
    drawn: StrictBool = True
    attempt: Count = 0
    seen: Count = 0
    wait: Annotated[float, Field(ge=0.0, le=10.0, allow_inf_nan=False)] = 0.0


class JobPictureReply(Value):
    """The result that belongs to the picture; none where no newer one came."""

    result: Result | None = None


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


_CLOUD: Final = frozenset({Role.CLOUD})

JOB_START: Final = Method("job.start", JobStart, Received, _CLOUD)
JOB_TRIAL: Final = Method("job.trial", JobTrial, JobTrialReply, _CLOUD)
JOB_PLAN: Final = Method("job.plan", JobPlan, Received, _CLOUD)
JOB_STOP: Final = Method("job.stop", JobStop, Received, _CLOUD)
JOB_PICTURE: Final = Method("job.picture", JobPictureRequest, JobPictureReply, _CLOUD, Lane.DATA)
JOB_PROGRESS: Final = Method("job.progress", JobProgress, JobProgressReply, frozenset({Role.EDGE}), durable=True)
