"""How does a cloud have an edge run a query?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.video import Outcome, Placement, Plan, Resolution, Result, StageRole, Tally, VideoConf
from node.model.wire.job import (
    JOB_PICTURE,
    JOB_PLAN,
    JOB_PROGRESS,
    JOB_START,
    JOB_STOP,
    JOB_TRIAL,
    JobPictureReply,
    JobPictureRequest,
    JobPlan,
    JobProgress,
    JobProgressReply,
    JobStart,
    JobStop,
    JobTrial,
    JobTrialReply,
)
from wire_examples.pair import QUERY, Examples

_PLAN: Final = Plan(
    epoch=3,
    video_conf=VideoConf(fps=10, resolution=Resolution.P480),
    flow_mapping={
        "face_detection": Placement(node="edge-1", role=StageRole.HOST),
        "face_alignment": Placement(node="cloud-1", role=StageRole.CLOUD),
    },
)

_RESULT: Final = Result(
    attempt=1,
    n_loop=41,
    cam_frame_id=102,
    conf_frame_id=41,
    captured_at=1795300801.125,
    latency=0.112,
    delay=0.037,
    stage_ms={"face_detection": 31.4, "face_alignment": 62.0},
    plan=_PLAN.digest(),
    plan_epoch=3,
    width=640,
    height=480,
    output={"bbox": [[210, 96, 262, 160]], "prob": [0.93], "count_result": {"up": 1, "total": 1}, "pose": [[4.1, -2.0, 0.6]]},
)

EXAMPLES: Final[Examples] = {
    JOB_START.name: (
        JobStart(query=QUERY, attempt=1, source="lobby", pipeline=("face_detection", "face_alignment"), plan=_PLAN),
        Received(),
    ),
    JOB_PLAN.name: (JobPlan(query=QUERY, plan=_PLAN), Received()),
    JOB_STOP.name: (JobStop(query=QUERY), Received()),
    JOB_TRIAL.name: (
        JobTrial(query=QUERY, node="edge-2", stages=("face_detection",), resolution=Resolution.P480),
        JobTrialReply(stage_s={"face_detection": 0.03}, hop_s=0.012, sent=44_812, objects=7, seen=0.857),
    ),
    JOB_PICTURE.name: (JobPictureRequest(query=QUERY, attempt=1, seen=40, wait=2.0), JobPictureReply(result=_RESULT)),
    JOB_PROGRESS.name: (
        JobProgress(
            query=QUERY,
            attempt=1,
            tally=Tally(captured=44, processed=41, skipped=3, bytes_moved=340_112),
            results=(_RESULT,),
            outcome=Outcome(state="finished"),
        ),
        JobProgressReply(wanted=True),
    ),
}
