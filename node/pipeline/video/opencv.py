"""How is OpenCV set up, and who may import it?

Every module that needs OpenCV takes it from here, so that the settings below, which OpenCV reads once while it is loaded, are
always in place first. Never imported by a node's main process: only capture children, compute workers and tools come here.
"""

from __future__ import annotations

import os
from typing import Final

MAX_PICTURE_PIXELS: Final = 1 << 25  # 8192 × 4096: 100 MB as BGR, the most that one picture may cost a child

os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PICTURE_PIXELS)
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # OpenCV 5 warns about its own fall-back at every FaceDetectorYN
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent: a broken clip is reported once, as an error of ours

import cv2  # noqa: E402 - after the settings that it reads while loading

cv2.setNumThreads(1)  # a node's parallelism is its worker processes; nested threads only fight over the same cores

__all__ = ["MAX_PICTURE_PIXELS", "cv2"]
