"""What the tests of real nodes share."""

from systems import clips  # noqa: F401 - a fixture
