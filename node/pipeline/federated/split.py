"""Which rows are for training, which for testing, and in which order are they visited?

All of it follows from seeds in the signed spec, by BLAKE2b and ChaCha20 and never by a generator whose numbers may change with
a release: every party comes to the same rows by itself, and a repeated session to the same split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from node.pipeline.federated.masks import keystream
from node.pipeline.federated.ring import WORD_BYTES, Rows


def is_for_test(ids: Sequence[str], seed: str, fraction: float) -> list[bool]:
    """For each id whether it is a test row; `fraction` of all ids are, whoever else is in the list."""
    bound = int(fraction * 2.0**64)
    return [number < bound for number in _numbers(ids, seed, b"ecnode split")]


def shuffled(ids: Sequence[str], seed: str) -> Rows:
    """The places of the ids in an order that the seed chooses; the same for all who have the same ids, in whatever order.

    What main answers is in the order of tags whose key is new each time: a session that is run again would visit other rows.
    """
    return np.argsort(np.array(_numbers(ids, seed, b"ecnode order"), np.uint64), kind="stable")


def _numbers(ids: Sequence[str], seed: str, purpose: bytes) -> list[int]:
    base = hashlib.blake2b(key=hashlib.sha256(seed.encode()).digest(), digest_size=8, person=purpose)
    numbers = []
    for each in ids:
        digest = base.copy()
        digest.update(each.encode())
        numbers.append(int.from_bytes(digest.digest(), "big"))
    return numbers


class Batches:
    """The rows of each step: `rows` of them are put into an order anew for each pass, what is no full batch is left out."""

    def __init__(self, rows: int, size: int, seed: str) -> None:
        self.size = min(size, rows)
        self.in_pass = rows // self.size
        self._rows = rows
        self._key = hashlib.blake2b(seed.encode(), digest_size=32, person=b"ecnode batches").digest()
        self._pass = -1
        self._order: Rows = np.arange(0)

    def at(self, step: int) -> Rows:
        """The rows of step 0, 1, …; the same whatever was asked before."""
        number, place = divmod(step, self.in_pass)
        if number != self._pass:
            words = np.frombuffer(keystream(self._key, number, self._rows * WORD_BYTES), "<u8")
            self._pass, self._order = number, np.argsort(words, kind="stable")
        return self._order[place * self.size : (place + 1) * self.size]
