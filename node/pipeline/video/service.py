"""What must a video service implement to be run by a worker process?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

Picture: TypeAlias = NDArray[np.uint8]
"""H × W × 3, uint8, BGR."""

Values: TypeAlias = Mapping[str, JsonValue]
Pictures: TypeAlias = Mapping[str, Sequence[Picture]]


class Service(Protocol):
    """A loaded model. One instance lives in one worker process and is called by one thread."""

    def __init__(self, assets: Path, model_id: int) -> None:
        """Loads the model from the folder of assets.

        Raises:
            AssetMissing: a file of the manifest is not there.
        """

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        """What the service gives for its inputs, by name; never changes the pictures it was handed.

        Raises:
            Invalid: an input is missing or has the wrong shape.
        """
