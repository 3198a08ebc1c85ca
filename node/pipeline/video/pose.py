"""Where does a head point, and when does it count as up?

Plain geometry on face landmarks, without OpenCV. Angles are degrees. Seen by the viewer of the picture: yaw is positive when
the head turns to the right edge, pitch when it looks up, roll when it leans clockwise.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float32]
"""468 × 3: x to the right, y downwards, z away from the camera, in pixels of the crop."""

UP_YAW: Final = 45.0  # beyond it the far eye is hidden: the head is turned to a neighbour
UP_PITCH_DOWN: Final = -20.0  # below it eyes are on the desk or on a phone; an upright head reads 0 to +15
UP_PITCH_UP: Final = 50.0  # above it the landmarks are not to be trusted

_EYES: Final = (33, 263)  # outer corners, left to right in the picture
_MIDLINE: Final = (10, 152)  # top of the forehead, tip of the chin


class HeadPose(NamedTuple):
    """Three angles of a head."""

    yaw: float
    pitch: float
    roll: float


def head_pose(points: Points) -> HeadPose:
    """The angles of the head whose landmarks are `points`.

    Source: axes through the eye corners and from forehead to chin, made orthogonal; R = Rz(roll) · Rx(pitch) · Ry(yaw).
    """
    right = points[_EYES[1]] - points[_EYES[0]]
    right = right / np.linalg.norm(right)
    down = points[_MIDLINE[1]] - points[_MIDLINE[0]]
    down = down - right * down.dot(right)
    down = down / np.linalg.norm(down)
    away = np.cross(right, down)
    yaw = np.degrees(np.arctan2(right[2], away[2]))
    pitch = np.degrees(np.arcsin(np.clip(-down[2], -1.0, 1.0)))
    return HeadPose(float(yaw), float(pitch), eye_tilt(points))


def eye_tilt(points: Points) -> float:
    """By how much the line of the eyes leans clockwise in the crop."""
    right = points[_EYES[1]] - points[_EYES[0]]
    return float(np.degrees(np.arctan2(right[1], right[0])))


def is_up(yaw: float, pitch: float) -> bool:
    """Whether a head looks ahead; how it leans sideways does not matter."""
    return abs(yaw) <= UP_YAW and UP_PITCH_DOWN <= pitch <= UP_PITCH_UP
