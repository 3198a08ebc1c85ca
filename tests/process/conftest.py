"""What the tests of real nodes share."""

from founding import founding  # noqa: F401 - a fixture
from peers import scene  # noqa: F401 - a fixture
from systems import clips  # noqa: F401 - a fixture
