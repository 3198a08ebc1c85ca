"""How does one node have another run stages of a pipeline?

A picture is never inside a body: it travels as a blob, a ZeroMQ frame of its own.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, JsonValue, StrictBool

from node.model.value import Count, Items, Seconds, Text, Value, Word63
from node.model.wire.method import COMPUTING, Lane, Method


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
    stage of the same request looks at is never encoded. `stream` tells a service that remembers whose pictures these are. What
    is `spare` is refused while anything waits.
    """

    stages: Annotated[Items[StageCall], Field(min_length=1, max_length=16)]
    values: dict[str, JsonValue] = {}
    pictures: Annotated[Items[Pictures], Field(max_length=16)] = ()
    wanted: Annotated[Items[Word63], Field(max_length=16)] = ()
    stream: Text = ""
    spare: StrictBool = False


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


COMPUTE_RUN: Final = Method("compute.run", ComputeRequest, ComputeReply, COMPUTING, Lane.DATA)
