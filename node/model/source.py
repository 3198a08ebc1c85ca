"""What is a video source to those who add it at run time, and what do they learn of it?"""

from __future__ import annotations

from pydantic import Field

from node.config import SourceConfig
from node.model.cluster import SourceReport
from node.model.value import Count, Name, Seconds, Text, Value, Word63


class SourceRequest(SourceConfig, Value):
    """A camera, a clip, a folder of pictures or an address, under a name; the settings are those of `[edge.sources.NAME]`."""

    name: Word63 = Field(description="Name that queries know it by.")


class SourceItem(SourceReport):
    """A source and the edge that owns it; `added` says that it came at run time, and may go."""

    node: Name
    added: bool = False


class SourceProbe(Value):
    """What a source gave when it was looked at: seconds until its first picture, then `pictures` within `seconds`."""

    name: Word63
    first_s: Seconds
    pictures: Count
    seconds: Seconds
    fps: Seconds
    announced_fps: Seconds
    height: Count
    reason: Text = ""
