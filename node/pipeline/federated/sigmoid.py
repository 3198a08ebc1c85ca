"""How do two parties take the sigmoid of a number that neither of them knows?

The sigmoid less one half is close to a sum of sines of odd multiples of its argument, with period 128. The parties open
δ = z − r modulo one period, r being uniform there, and
    sin(kz) = sin(kδ)·cos(kr) + cos(kδ)·sin(kr)
needs only shares of the sine and cosine of kr, which the producer deals, and public factors. Those come from integers alone:
the top 16 bits of kδ are a place in a table of integers. Floats that differ in one last bit between the two would be a gradient
that is wrong by 7·10^7, so the digest of all integers stands in the signed spec.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from node.errors import Invalid, Problem
from node.pipeline.federated.ring import GRADIENT_BITS, LOGIT_BITS, Words

PERIOD_BITS: Final = 7  # of the argument: −64 to 64
PHASE_BITS: Final = LOGIT_BITS + PERIOD_BITS  # a logit modulo one period, as a word: 61 bits
HARMONICS: Final = 22
WAVE_BITS: Final = 12  # of the shared sines and cosines
FACTOR_BITS: Final = GRADIENT_BITS - WAVE_BITS
LOGIT_MOST: Final = 48.0  # beyond |54| the sum turns back; a model that gets near is stopped before
RATE_LEAST: Final = 2.0**-14  # learning rate over batch size: below it the factors have no bits left

PLACE_BITS: Final = 16
TABLE_BITS: Final = 30
_PLACES: Final = 1 << PLACE_BITS
_TABLE_SHIFT: Final = np.uint64(PHASE_BITS - PLACE_BITS)
_PLACE: Final = np.uint64(_PLACES - 1)
_COEFFICIENT_BITS: Final = 32
# 2^32 times the Fourier coefficients of the odd harmonics 1, 3, …, 43 of the sigmoid less one half, folded at a quarter period:
# round(2^32 · 2 · mean of f(x)·sin(2πkx/128)) over 2^14 places, as `test_sigmoid` computes them again.
COEFFICIENTS: Final[tuple[int, ...]] = (
    2723453617,
    879701856,
    496201318,
    323927926,
    224471853,
    160003998,
    115686686,
    84266994,
    61622305,
    45157513,
    33129236,
    24319583,
    17858406,
    13116131,
    9634076,
    7076795,
    5198466,
    3818742,
    2805232,
    2060722,
    1513808,
    1112046,
)
_WORKING_BITS: Final = 96
_PI: Final = 0x3243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C8 >> (4 * 64 - 4 - _WORKING_BITS)
"""π with `_WORKING_BITS` fractional bits; the hexadecimal digits are those that Blowfish made well known."""

_ODD: Final = (2 * np.arange(HARMONICS, dtype=np.uint64) + np.uint64(1)).reshape(-1, 1)


@cache
def table() -> NDArray[np.int64]:
    """The sine at each 65536th of a turn, times 2^30, rounded; made of integers only."""
    quarter = _PLACES // 4
    fine = [_sine_and_cosine(place) for place in range(256)]
    coarse = [_sine_and_cosine(256 * place) for place in range(quarter // 256 + 1)]
    shift = 2 * _WORKING_BITS - TABLE_BITS
    half = 1 << (shift - 1)
    first = []
    for place in range(quarter + 1):
        (sine, cosine), (less_sine, less_cosine) = coarse[place >> 8], fine[place & 255]
        first.append((sine * less_cosine + cosine * less_sine + half) >> shift)
    rising = np.array(first, np.int64)
    above = np.concatenate([rising[:-1], rising[:0:-1]])
    return np.concatenate([above, -above])


def _sine_and_cosine(place: int) -> tuple[int, int]:
    """Of `place` 65536ths of a turn, by their series, with `_WORKING_BITS` fractional bits."""
    angle = (2 * _PI * place) >> PLACE_BITS
    terms = [1 << _WORKING_BITS]
    while terms[-1] or len(terms) < 4:
        terms.append((terms[-1] * angle >> _WORKING_BITS) // len(terms))
    sine = sum(term if i % 4 == 1 else -term for i, term in enumerate(terms) if i % 2)
    cosine = sum(term if i % 4 == 0 else -term for i, term in enumerate(terms) if i % 2 == 0)
    return sine, cosine


@cache
def digest() -> str:
    """SHA-256 of every integer that the parties must have alike."""
    numbers = [*COEFFICIENTS, PHASE_BITS, WAVE_BITS, FACTOR_BITS, TABLE_BITS]
    return hashlib.sha256(repr(numbers).encode() + table().astype("<i8").tobytes()).hexdigest()


@cache
def _compact(bits: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The table and that of the cosine with `bits` fractional bits; 32-bit words are half of what a core's cache must hold."""
    down = TABLE_BITS - bits
    sines = _rounded(table().copy(), down).astype(np.int32)
    return sines, np.roll(sines, -_PLACES // 4)


def _rounded(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Takes so many bits off, in place."""
    if bits:
        values += 1 << (bits - 1)
        values >>= bits
    return values


def waves(phases: Words) -> Words:
    """The producer's part: sines, then cosines, of every odd multiple of the phases; (2·22, n) words of `WAVE_BITS`."""
    places = _places(phases)
    sines, cosines = _compact(WAVE_BITS)
    both = np.empty((2 * HARMONICS, phases.size), np.int64)
    both[:HARMONICS] = sines.take(places)
    both[HARMONICS:] = cosines.take(places)
    return both.view(np.uint64)


class Factors:
    """The public factors of one learning rate over batch size."""

    def __init__(self, rate: float) -> None:
        if rate < RATE_LEAST:
            raise Invalid(
                f"a learning rate over batch size of {rate:.2g} is too small for the mode 'private'",
                hint=f"at least {RATE_LEAST:.2g}: raise the learning rate or make batches smaller",
                problems=[Problem("training.learning_rate", "is too small for its batch size")],
            )
        exact = Fraction(rate)
        weights = [round(exact * number / 2**_COEFFICIENT_BITS * 2**TABLE_BITS) for number in COEFFICIENTS]
        self._weights = np.array(weights, np.int64).reshape(-1, 1)

    def of(self, deltas: Words) -> Words:
        """For cosine shares the sines of all multiples of δ, then for sine shares the cosines; in the order of `waves`.

        (2·22, n) words of `FACTOR_BITS`; the first half belongs to the shares of sines.
        """
        places = _places(deltas)
        sines, cosines = _compact(TABLE_BITS)
        both = np.empty((2 * HARMONICS, deltas.size), np.int64)
        np.multiply(cosines.take(places), self._weights, out=both[:HARMONICS])
        np.multiply(sines.take(places), self._weights, out=both[HARMONICS:])
        return _rounded(both, 2 * TABLE_BITS - FACTOR_BITS).view(np.uint64)


def combined(factors: Words, shares: Words) -> Words:
    """A share of rate·(sigmoid − ½) with `GRADIENT_BITS`, out of public factors and one's shares of the waves."""
    found: Words = (factors * shares).sum(axis=0, dtype=np.uint64)
    return found


def _places(phases: Words) -> NDArray[np.int64]:
    places = phases * _ODD
    places >>= _TABLE_SHIFT
    places &= _PLACE
    return places.view(np.int64)
