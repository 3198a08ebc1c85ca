"""What are clients of the original video system told, where the shape of it is fixed?"""

from __future__ import annotations

from typing import Literal

from node.api.compat.bodies import OriginalPlacement
from node.model.value import Seconds, Value
from node.model.video import VideoConf


class Done(Value):
    """It went well."""

    status: Literal[0] = 0
    msg: str


class SubmittedQuery(Done):
    """`query_id` is what every other route takes; `r_sidechan` names the node that has the frames."""

    query_id: str
    r_sidechan: str


class SubmittedJob(Done):
    """`job_uid` is what every other route takes."""

    job_uid: str


class Joined(Done):
    """`node_addr` is the member's address."""

    node_addr: str


class OriginalPlan(Value):
    """A plan with the members' addresses."""

    flow_mapping: dict[str, OriginalPlacement]
    video_conf: VideoConf


class OriginalRuntime(Value):
    """The original's four figures of the newest results, all zero until there are any."""

    delay: Seconds
    obj_n: Seconds
    obj_size: Seconds
    obj_stable: bool
