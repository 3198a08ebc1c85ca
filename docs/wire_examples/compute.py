"""How is a stage run elsewhere?"""

from __future__ import annotations

from typing import Final

from node.model.wire.compute import COMPUTE_RUN, ComputeReply, ComputeRequest, Pictures, StageCall
from wire_examples.pair import Examples

EXAMPLES: Final[Examples] = {
    COMPUTE_RUN.name: (
        ComputeRequest(
            stages=(StageCall(service="face_detection"), StageCall(service="face_alignment")),
            pictures=(Pictures(name="image", count=1),),
            wanted=("faces",),
        ),
        ComputeReply(
            values={"bbox": [[210, 96, 262, 160]], "prob": [0.93], "count_result": {"up": 1, "total": 1}},
            pictures=(Pictures(name="faces", count=1),),
            stage_seconds=(0.021, 0.007),
            decode_seconds=0.004,
            wait_seconds=0.002,
        ),
    ),
}
