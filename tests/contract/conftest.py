"""What the tests of this folder share: a front door on a real socket, and a door for peers."""

from __future__ import annotations

from doors import door, open_door
from peers import scene

__all__ = ["door", "open_door", "scene"]
