"""What the drills share."""

from systems import clips  # noqa: F401 - a fixture
