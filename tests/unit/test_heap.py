"""Is what lasts left alone, and garbage still found?"""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, weakref
from node import heap

class Knot:
    def __init__(self):
        self.me = self

heap.settle()
assert gc.get_freeze_count() > 1000
knot = weakref.ref(Knot())
assert knot() is not None
kept = [[] for _ in range(heap.YOUNG + 1)]
print(knot())
"""


def test_a_cycle_made_after_the_start_is_found_once_enough_was_made() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
