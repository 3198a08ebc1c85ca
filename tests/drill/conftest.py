"""What the drills share."""

from peers import scene  # noqa: F401 - a fixture
from systems import clips  # noqa: F401 - a fixture
