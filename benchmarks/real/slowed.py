"""How does one machine stand for several of different speed?

The stages of a head count, with their real models, that answer only after so many times their CPU time; the rest is slept. How
many times is in a file of the node's assets, read at each call. CPU time and not wall time is what is multiplied, so that what
else the machine does makes no difference while it leaves a share of a core.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.clock import SystemClock
from node.pipeline.video.faces import FaceAlignment, FaceDetection
from node.pipeline.video.service import Pictures, Values

CLOCK = SystemClock()


def slowness(assets: Path) -> Path:
    """The file with the factor: in a folder, because a kept calibration holds only while the files beside it are the same."""
    return assets / "slowness" / "factor"


@contextmanager
def stretched(assets: Path) -> Iterator[None]:
    """Until the end of the block has been waited for."""
    began, worked = CLOCK.monotonic(), time.thread_time()
    yield
    worked = time.thread_time() - worked
    left = worked * float(slowness(assets).read_text()) - (CLOCK.monotonic() - began)
    if left > 0:
        threading.Event().wait(left)


class Detection(FaceDetection):
    """`face_detection`, slowed."""

    def __init__(self, assets: Path, model_id: int) -> None:
        super().__init__(assets, model_id)
        self._assets = assets

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        """See `Service`."""
        with stretched(self._assets):
            return super().run(values, pictures)


class Alignment(FaceAlignment):
    """`face_alignment`, slowed."""

    def __init__(self, assets: Path, model_id: int) -> None:
        super().__init__(assets, model_id)
        self._assets = assets

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        """See `Service`."""
        with stretched(self._assets):
            return super().run(values, pictures)
