"""How do numbers become words of 64 bits that can be masked, and how are they multiplied exactly?

Everything hidden is a word of Z_2^64: sums and products wrap around, so that a mask drawn uniformly hides a word perfectly. A
real number is a word with so many fractional bits, and the scales are chosen so that nothing is ever cut off:

    features 10 + gradient 34 = weights 44,    weights 44 + features 10 = logits 54
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from node.errors import Malformed

Words: TypeAlias = NDArray[np.uint64]
Reals: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]

WORD_BYTES: Final = 8
FEATURE_BITS: Final = 10
GRADIENT_BITS: Final = 34
WEIGHT_BITS: Final = FEATURE_BITS + GRADIENT_BITS
LOGIT_BITS: Final = WEIGHT_BITS + FEATURE_BITS

PLAIN_MOST: Final = 20_000_000  # multiply-adds up to which the integer product is quicker than three limbs through BLAS
LIMB_BITS: Final = 22
LIMB_SUM_MOST: Final = 1 << 9  # products of two limbs, 44 bits each, that a float of 53 bits adds exactly
_LIMB: Final = np.uint64((1 << LIMB_BITS) - 1)


def encode(values: Reals, bits: int) -> Words:
    """Fixed point with `bits` fractional bits, rounded to nearest.

    Raises:
        OverflowError: a value that has no place in 64 bits, or is no number.
    """
    scaled = np.rint(values * 2.0**bits)
    if not bool(np.all(np.abs(scaled) < 2.0**63)):
        raise OverflowError(f"a value is no number or too large for {64 - bits} integer bits")
    return scaled.astype(np.int64).view(np.uint64)


def decode(words: Words, bits: int) -> Reals:
    """The numbers that words with `bits` fractional bits stand for."""
    return np.ldexp(words.view(np.int64).astype(np.float64), -bits)


def product(left: Words, right: Words) -> Words:
    """The matrix product modulo 2^64, exact at any size; `left` is (m, k), `right` (k,) or (k, n)."""
    columns = right.shape[1] if right.ndim == 2 else 1
    if left.shape[0] * left.shape[1] * columns <= PLAIN_MOST:
        return left @ right
    return _by_limbs(left, right)


def _by_limbs(left: Words, right: Words) -> Words:
    """The product through float64 BLAS: limbs of 22 bits, at most 512 products to a sum, so that every float is exact."""
    shape = (left.shape[0], *right.shape[1:])
    total: Words = np.zeros(shape, np.uint64)
    for start in range(0, left.shape[1], LIMB_SUM_MOST):
        parts = _limbs(left[:, start : start + LIMB_SUM_MOST])
        others = _limbs(right[start : start + LIMB_SUM_MOST])
        for i, part in enumerate(parts):
            for j, other in enumerate(others):
                if LIMB_BITS * (i + j) < 64:
                    total += (part @ other).astype(np.uint64) << np.uint64(LIMB_BITS * (i + j))
    return total


def _limbs(words: Words) -> tuple[Reals, ...]:
    return tuple(((words >> np.uint64(LIMB_BITS * i)) & _LIMB).astype(np.float64) for i in range(3))


def pack(words: Words) -> bytes:
    """The bytes of words as they travel, little endian."""
    return words.astype("<u8", copy=False).tobytes()


def unpack(content: bytes | bytearray | memoryview, shape: tuple[int, ...], bits: int = 64) -> Words:
    """The words of `content`, which must be exactly as many as `shape` says and each below 2^`bits`; read-only.

    Raises:
        Malformed: it is of another size, or a word lies outside the ring.
    """
    count = math.prod(shape)
    if len(content) != count * WORD_BYTES:
        raise Malformed(f"{len(content)} bytes where {count} words of {WORD_BYTES} belong")
    words = np.frombuffer(content, "<u8").astype(np.uint64, copy=False)
    if bits < 64 and words.size and int(words.max()) >> bits:
        raise Malformed(f"a word outside the ring of 2^{bits}")
    return words.reshape(shape)
