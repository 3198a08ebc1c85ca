"""What the tests of this folder share: a front door on a real socket."""

from __future__ import annotations

from doors import door, open_door

__all__ = ["door", "open_door"]
