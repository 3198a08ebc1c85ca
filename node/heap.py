"""How often does a node look for garbage, and what does it keep of the memory that its start took?

Reference counting frees nearly everything at once; the collector is there for cycles. What a node has made until it is open
stays for its life, so it is never looked at again, and the young are looked at less often than the interpreter would.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# The interpreter's own are 700, 10, 10. Ten thousand young objects are about 2 MB; a create at the front door makes some that
# outlive it for a while, and 10 to 15 % of its time went into looking at them.
YOUNG: Final = 10_000
MIDDLE: Final = 20
OLD: Final = 50


def settle() -> None:
    """Called once, when everything that lasts was made; takes about 50 ms."""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc's: 1.3 of 80.5 MiB go back to the system
        trim(0)
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
