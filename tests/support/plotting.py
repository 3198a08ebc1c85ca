"""What tests of plots share: logs, throw-away keys, and a reason to skip where there is no plotter."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

LOGS = Path(__file__).parents[1] / "unit/pipeline/plot/logs"
HAS_PLOTTER = find_spec("chiapos") is not None and find_spec("chia_rs") is not None
needs_plotter = pytest.mark.skipif(not HAS_PLOTTER, reason="chiapos and chia_rs are not installed: pip install 'ecnode[plots]'")

# public halves of throw-away pairs, from 32 bytes of 1 and of 2
FARMER = "aefe1789d6476f60439e1168f588ea16652dc321279f05a805fbc63933e88ae9c175d6c6ab182e54af562e1a0dce41bb"
POOL = "b6144137baa6440c17386d1a407fb3670d3b3627b4fa8bf4b56433f861eaba4e076cefac1d9365de56a0e5d976ad7354"
