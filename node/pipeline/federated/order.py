"""In which order do words rise, found in a third of the time of NumPy's argsort?

Sorting words is several times quicker than sorting their places, so the places are put into the low bits of the words. What is
left above tells words apart: 44 bits of a million are all different in 97 of 100 cases. Where two agree, argsort decides.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from node.pipeline.federated.ring import Rows, Words

_ONE: Final = np.uint64(1)


def order_of(words: Words) -> Rows:
    """The places of different words, smallest word first; of equal words in any order."""
    bits = np.uint64(max(len(words) - 1, 1).bit_length())
    low = (_ONE << bits) - _ONE
    packed = words & ~low
    packed |= np.arange(len(words), dtype=np.uint64)
    packed.sort()
    above = packed >> bits
    if np.any(above[1:] == above[:-1]):
        return np.argsort(words)
    packed &= low
    return packed.view(np.int64)
