"""What may a caller be allowed to do?"""

from __future__ import annotations

from enum import IntEnum


class Scope(IntEnum):
    """What a caller must be allowed to do; each includes the ones before it."""

    OPEN = 0
    READ = 1
    SUBMIT = 2
    OPERATE = 3
    ADMIN = 4
