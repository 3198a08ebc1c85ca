"""What the tests of this folder share."""

from __future__ import annotations

from console_pair import pair  # noqa: F401 - a fixture
