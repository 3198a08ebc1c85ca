"""Does everybody in a clip wear a helmet?

The original's fourth service. No model of it may be passed on freely, so that this one only says what to do: whoever has a
model names its implementation in the config, and it takes this one's place.
"""

from __future__ import annotations

from pathlib import Path

from node.errors import AssetMissing
from node.pipeline.video.service import Pictures, Values

HINT = "set services.helmet_detection.implementation to the module:Class of your model; it takes {clip} and gives {clip_result}"


class HelmetDetection:
    """`clip` → `clip_result`, once a model is configured."""

    def __init__(self, assets: Path, model_id: int) -> None:
        del assets, model_id
        raise AssetMissing("helmet_detection: no model is configured, and none can be shipped", hint=HINT)

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        raise NotImplementedError
