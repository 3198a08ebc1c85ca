"""What the tests of this folder share."""

from blobs import hub  # noqa: F401 - a fixture
