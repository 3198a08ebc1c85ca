"""Why does a query have the plan that it has?"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StrictBool

from node.model.value import Count, Fraction, Items, Name, Seconds, Text, Value, Word63
from node.model.video import STAGES, Runtime, VideoConf

BEST: Final = 5  # of the combinations that a scheduler looked at


class Considered(Value):
    """One combination as it was judged: what was expected of it when the decision was made.

    `delay` is the original's meaning, `latency` the time from capture to result, `fps` results a second; `held` is the chance
    that the limits hold, `utility` what the combinations are ordered by.
    """

    video_conf: VideoConf
    places: Annotated[dict[Word63, Name], Field(max_length=STAGES)]
    delay: Seconds
    latency: Seconds
    fps: Seconds
    accuracy: Fraction
    held: Fraction
    utility: Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class Decision(Value):
    """One look at a query: the reason in a sentence, the best combinations, and what was predicted and seen.

    `epoch` is the plan from then on, 0 where there is none; `kept` says that it was the plan before as well. `predicted` is
    what was expected of it, `before` what was expected at that moment of the plan before, `observed` what was seen under that.
    """

    time: Seconds
    epoch: Count
    kept: StrictBool
    reason: Text
    predicted: Considered | None = None
    before: Considered | None = None
    observed: Runtime
    best: Annotated[Items[Considered], Field(max_length=BEST)] = ()
