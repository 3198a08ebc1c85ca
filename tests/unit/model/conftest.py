"""An example of every body on the wire: those of the documentation."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from node.model.value import Value


def _documentation() -> ModuleType:
    place = Path(__file__).parents[3] / "docs/generate.py"
    spec = importlib.util.spec_from_file_location("docs_generate", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def examples() -> Mapping[str, tuple[Value, Value]]:
    found: Mapping[str, tuple[Value, Value]] = _documentation().EXAMPLES
    return found
