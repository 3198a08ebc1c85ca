"""Small pictures and clips, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from node.assets import missing
from node.pipeline.video.opencv import cv2
from node.pipeline.video.service import Picture

CLIP_PICTURES = 40


@pytest.fixture
def picture() -> Picture:
    """Noise that no JPEG can make small, 64 × 48."""
    return np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def centernet(assets: Path) -> Path:
    """The folder of assets, the optional ones included."""
    if missing(assets, optional=True):
        pytest.skip("npm cannot be had here, and so no CenterNet")
    return assets


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """An .avi of 40 pictures, 64 × 48, 10 frames per second, each brighter than the one before."""
    place = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(place), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for number in range(CLIP_PICTURES):
        writer.write(np.full((48, 64, 3), 5 + 6 * number, np.uint8))
    writer.release()
    return place
