"""What is said of a compute service to those who use one: what it takes and gives, where it runs, how quick it is there?"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from node.model.cluster import NodeState, ServiceReport
from node.model.value import Count, Duration, Fraction, Items, Name, Seconds, Text, Value, Word63
from node.model.video import Resolution


class ServiceNode(ServiceReport):
    """A service on a node that offers it; `workers` calls run there at once."""

    node: Name
    state: NodeState
    workers: Count


class ServiceItem(Value):
    """One service. `needs` and `gives` are names of values and pictures; `ladder` has its models from the lightest to the
    heaviest, and where the mean probability of what one found is below `escalate_below` the next one looks again.

    `accuracy` is what is expected of it at each resolution, a fraction. `user` says that it is not of this program. Where this
    node does not offer it, `reason` says why.
    """

    name: Word63
    needs: Items[Word63]
    gives: Items[Word63]
    models: Count
    ladder: Items[Count]
    escalate_below: Fraction
    remembers: bool
    accuracy: dict[Resolution, Fraction]
    user: bool
    nodes: Items[ServiceNode]
    reason: Text = ""


class InvokeParams(Value):
    """Which of the service's models is called."""

    model: Annotated[Count, Field(description="0 is the default one.")] = 0


class ServiceAnswer(Value):
    """What one call gave, pictures as base64 of a JPEG; its own seconds, those of decoding, and the wait for a worker."""

    outputs: dict[str, JsonValue]
    stage_s: Seconds
    decode_s: Seconds
    wait_s: Seconds


class ServiceBench(Value):
    """What a service takes on the node now, in seconds at each resolution for so many objects, and what was measured before:
    that is what plans are made with.
    """

    node: Name
    name: Word63
    seconds: dict[Resolution, Duration]
    objects: Count
    calibrated: dict[Resolution, Duration]
