"""What the tests of real nodes share."""

from peers import scene  # noqa: F401 - a fixture
from systems import clips  # noqa: F401 - a fixture
