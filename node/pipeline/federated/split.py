"""Which rows are for training, which for testing, and in which order are they visited?

All of it follows from seeds in the signed spec, by BLAKE2b and ChaCha20 and never by a generator whose numbers may change with
a release: every party comes to the same rows by itself, and a repeated session to the same split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from node.pipeline.federated.masks import keystream
from node.pipeline.federated.order import order_of
from node.pipeline.federated.ring import WORD_BYTES, Rows, Words


def marks_of(ids: Iterable[str], seed: str) -> Words:
    """Two words for each id, (n, 2): by the first it is a training or a test row, the second is its place in the order."""
    key = hashlib.sha256(seed.encode()).digest()
    base = hashlib.blake2b(key=key, digest_size=2 * WORD_BYTES, person=b"ecnode split")
    copy = base.copy
    content = bytearray()
    for each in ids:
        digest = copy()
        digest.update(each.encode())
        content += digest.digest()
    return np.frombuffer(bytes(content), "<u8").reshape(-1, 2)


def is_for_test(marks: Words, fraction: float) -> NDArray[np.bool_]:
    """For each mark whether it is that of a test row; `fraction` of all ids are, whoever else is in the list."""
    found: NDArray[np.bool_] = marks[:, 0] < np.uint64(fraction * 2.0**64)
    return found


def shuffled(ids: Sequence[str], rows: Rows, seed: str) -> tuple[Rows, Words]:
    """Some rows in an order that the seed chose, and their marks; the same ids in that order for all, however `rows` come.

    What main answers is in the order of tags whose key is new each time: a session that is run again would visit other rows.
    The ids are read as they lie in memory, which takes half of the time of reading them in main's order.
    """
    rows = np.sort(rows)
    marks = marks_of([ids[row] for row in rows.tolist()], seed)
    order = order_of(marks[:, 1])
    ordered = marks.take(order, axis=0)
    if np.any(ordered[1:, 1] == ordered[:-1, 1]):  # once in 2^64 pairs: then the first words decide
        order = np.lexsort((marks[:, 0], marks[:, 1]))
        ordered = marks[order]
    return rows[order], ordered


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
