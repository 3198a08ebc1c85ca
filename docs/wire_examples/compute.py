"""How is a stage run elsewhere?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.wire.compute import (
    COMPUTE_GAVE,
    COMPUTE_HAND,
    COMPUTE_RUN,
    ComputeGave,
    ComputeHand,
    ComputeReply,
    ComputeRequest,
    Leg,
    Onward,
    Pictures,
    StageCall,
)
from wire_examples.pair import Examples

_TICKET: Final = "5f0c7a1e9b3d2468_41"

EXAMPLES: Final[Examples] = {
    COMPUTE_RUN.name: (
        ComputeRequest(
            stages=(StageCall(service="face_detection"),),
            pictures=(Pictures(name="image", count=1),),
            onward=Onward(ticket=_TICKET, legs=(Leg(node="edge-3", stages=(StageCall(service="face_alignment"),)),)),
        ),
        ComputeReply(
            values={"bbox": [[210, 96, 262, 160]], "prob": [0.93]},
            stage_seconds=(0.021,),
            decode_seconds=0.004,
            wait_seconds=0.002,
            handed=("face_alignment",),
            hand_seconds=0.003,
        ),
    ),
    COMPUTE_HAND.name: (
        ComputeHand(
            host="edge-1",
            ticket=_TICKET,
            request=ComputeRequest(
                stages=(StageCall(service="face_alignment"),),
                values={"bbox": [[210, 96, 262, 160]]},
                pictures=(Pictures(name="faces", count=1),),
            ),
        ),
        Received(),
    ),
    COMPUTE_GAVE.name: (
        ComputeGave(
            ticket=_TICKET,
            stage="face_alignment",
            gave=ComputeReply(
                values={"count_result": {"up": 1, "total": 1}, "pose": [[4.1, -2.0, 0.6]]},
                stage_seconds=(0.007,),
                decode_seconds=0.001,
                wait_seconds=0.002,
            ),
        ),
        Received(),
    ),
}
