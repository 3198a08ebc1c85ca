"""How does one node have another run stages of a pipeline, and pass what they give straight on to a third?

A picture is never inside a body: it travels as a blob, a ZeroMQ frame of its own.

    host → first: compute.run {stages, onward {ticket, legs}} → its own part, and which legs it handed on
    first → next: compute.hand {host, ticket, …} → received; the next one's part goes to the host by itself
    next → host: compute.gave {ticket, stage, its own part} → received
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, StrictBool

from node.model.cluster import Received
from node.model.value import Count, Items, Name, Seconds, Text, Value, Word63
from node.model.video import STAGES
from node.model.wire.method import COMPUTING, Lane, Method


class Pictures(Value):
    """How many of the blobs of a message belong to one input or output, in order."""

    name: Word63
    count: Annotated[int, Field(ge=0, le=256)]


class StageCall(Value):
    """A service, and which of its models."""

    service: Word63
    model_id: Count = 0


Calls = Annotated[Items[StageCall], Field(min_length=1, max_length=16)]


class Leg(Value):
    """Stages that `node` runs on what the leg `after` gave, or where that is empty, the stages that it is sent with. `wanted`
    are the pictures that the host is to have of it.
    """

    node: Name
    stages: Calls
    wanted: Annotated[Items[Word63], Field(max_length=16)] = ()
    after: Word63 | Literal[""] = ""

    @property
    def name(self) -> str:
        """Its first stage, which no other leg of a picture has."""
        return self.stages[0].service


class Onward(Value):
    """Where what the stages give goes besides the host; under the ticket each leg tells the host its part. A leg stands behind
    the one that it takes from.
    """

    ticket: Word63
    legs: Annotated[Items[Leg], Field(min_length=1, max_length=STAGES)]


class ComputeRequest(Value):
    """Stages to be run one after the other by one worker, each on the inputs and on what those before it gave.

    Blobs: the pictures, encoded, in the order of `pictures`. `wanted` names the pictures that are to be sent back: what only a
    stage of the same request looks at is never encoded. `stream` tells a service that remembers whose pictures these are. What
    is `spare` is refused while anything waits. `values` also has what the legs of `onward` need of the stages before.
    """

    stages: Calls
    values: dict[str, JsonValue] = {}
    pictures: Annotated[Items[Pictures], Field(max_length=16)] = ()
    wanted: Annotated[Items[Word63], Field(max_length=16)] = ()
    stream: Text = ""
    spare: StrictBool = False
    onward: Onward | None = None


class ComputeReply(Value):
    """What the stages gave, and the pictures of it that were wanted, with those of the legs that could not be handed on.

    `stage_seconds` is each stage's own time, `decode_seconds` that of the pictures, `wait_seconds` the time in the queue
    before all of it. `handed` are the names of the legs that were taken, `hand_seconds` the time that took after the stages.
    """

    values: dict[str, JsonValue]
    pictures: Annotated[Items[Pictures], Field(max_length=16)] = ()
    stage_seconds: Annotated[Items[Seconds], Field(min_length=1, max_length=16)]
    decode_seconds: Seconds
    wait_seconds: Seconds
    handed: Annotated[Items[Word63], Field(max_length=STAGES)] = ()
    hand_seconds: Seconds = 0.0


class ComputeHand(Value):
    """Run these stages for the `host`, and tell it, not the sender, what they give. Answered once the call has its place."""

    host: Name
    ticket: Word63
    request: ComputeRequest


class ComputeGave(Value):
    """What a leg gave, or with `code` and `message` why it gave nothing. Blobs: the wanted pictures."""

    ticket: Word63
    stage: Word63
    gave: ComputeReply | None = None
    code: Text = ""
    message: Text = ""


COMPUTE_RUN: Final = Method("compute.run", ComputeRequest, ComputeReply, COMPUTING, Lane.DATA)
COMPUTE_HAND: Final = Method("compute.hand", ComputeHand, Received, COMPUTING, Lane.DATA)
COMPUTE_GAVE: Final = Method("compute.gave", ComputeGave, Received, COMPUTING, Lane.DATA)
