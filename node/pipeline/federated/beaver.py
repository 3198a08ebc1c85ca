"""How do two parties multiply what neither of them knows?

With correlated randomness that a producer deals: for X (rows × columns, the same in every step) it deals U once, for every
factor w a fresh V and Z = U·V, each as two shares. E = X − U and F = w − V are opened, they say nothing, and
    X·w = E·F + E·V + U·F + U·V
is computed on shares. The first party draws all of its shares from a stream that it has in common with the producer; the second
draws V likewise, and only what makes the sums right is sent, to it alone.

Source: D. Beaver, Efficient multiparty protocols using circuit randomization, CRYPTO 1991.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from node.pipeline.federated.masks import MaskStream
from node.pipeline.federated.ring import Rows, Words, product
from node.pipeline.federated.sigmoid import HARMONICS, PHASE_BITS, waves

SETS: Final = ("train", "test")
PHASE_MASK: Final = np.uint64((1 << PHASE_BITS) - 1)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Whose columns stand where in the whole matrix: the owners in order, and how many columns each has."""

    owners: tuple[str, ...]
    widths: tuple[int, ...]

    @property
    def columns(self) -> int:
        """Of the whole matrix."""
        return sum(self.widths)

    def place(self, owner: str) -> slice:
        """The columns of an owner."""
        index = self.owners.index(owner)
        start = sum(self.widths[:index])
        return slice(start, start + self.widths[index])


class Hand:
    """What a computing party holds: its stream with the producer, and for each set of rows E and its share of U."""

    def __init__(self, stream: MaskStream, *, first: bool) -> None:
        self.stream = stream
        self.first = first
        self._opened: dict[str, Words] = {}
        self._own: dict[str, Words] = {}

    def hold(self, rows: str, opened: Words, share: Words) -> None:
        """Takes E and the share of U for a set; the first party counts E·F in."""
        self._opened[rows] = np.ascontiguousarray(opened)
        self._own[rows] = opened + share if self.first else np.ascontiguousarray(share)

    def times(self, rows: str, which: Rows | None, opened: Words, mask: Words, correlated: Words) -> Words:
        """A share of X·w for some rows: `opened` is F, `mask` the share of V, `correlated` that of Z."""
        own, other = self._picked(rows, which)
        return product(own, opened) + product(other, mask) + correlated

    def transposed_times(self, rows: str, which: Rows, opened: Words, mask: Words | None, correlated: Words) -> Words:
        """A share of X-transposed · g for some rows; without a `mask` its share of V is zero."""
        own, other = self._picked(rows, which)
        found = product(own.T, opened) + correlated
        return found if mask is None else found + product(other.T, mask)

    def _picked(self, rows: str, which: Rows | None) -> tuple[Words, Words]:
        own, other = self._own[rows], self._opened[rows]
        return (own, other) if which is None else (own.take(which, axis=0), other.take(which, axis=0))


class Dealer:
    """The producer's side: what it draws with each party, and what the second party needs besides."""

    def __init__(self, first: MaskStream, second: MaskStream, owners: Mapping[str, MaskStream], blocks: Blocks) -> None:
        self._first = first
        self._second = second
        self._owners = owners
        self._blocks = blocks
        self._masks: dict[str, Words] = {}

    def set_up(self, rows: str, count: int) -> Words:
        """Draws U for a set of rows; the second party's share of it."""
        drawn = [draw_block(self._owners[owner], rows, count, width) for owner, width in self._each_block()]
        self._masks[rows] = np.ascontiguousarray(np.concatenate(drawn, axis=1))
        return self._masks[rows] - draw_share(self._first, rows, count, self._blocks.columns)

    def forward(self, rows: str, which: Rows | None, name: str, index: int) -> Words:
        """The second party's share of Z for X·w."""
        masks = self._masks[rows] if which is None else self._masks[rows].take(which, axis=0)
        columns = self._blocks.columns
        factor = self._first.draw(f"V {name}", index, (columns,)) + self._second.draw(f"V {name}", index, (columns,))
        return product(masks, factor) - self._first.draw(f"Z {name}", index, (masks.shape[0],))

    def backward(self, which: Rows, index: int, *, shared: bool) -> Words:
        """The second party's share of Z for X-transposed · g; not `shared`, the first party draws all of V itself."""
        factor = self._first.draw("V back", index, (which.size,))
        if shared:
            factor = factor + self._second.draw("V back", index, (which.size,))
        return product(self._masks["train"].take(which, axis=0).T, factor) - self._first.draw(
            "Z back", index, (self._blocks.columns,)
        )

    def waves(self, size: int, index: int) -> Words:
        """The second party's shares of the sines and cosines of r; (2·22, size)."""
        phases = self._first.draw("r", index, (size,), PHASE_BITS) + self._second.draw("r", index, (size,), PHASE_BITS)
        return waves(phases & PHASE_MASK) - self._first.draw("waves", index, (2 * HARMONICS, size))

    def _each_block(self) -> Sequence[tuple[str, int]]:
        return tuple(zip(self._blocks.owners, self._blocks.widths, strict=True))


def draw_block(stream: MaskStream, rows: str, count: int, width: int) -> Words:
    """U of one owner's columns, which it draws as the producer does."""
    return stream.draw(f"U {rows}", 0, (count, width))


def draw_share(stream: MaskStream, rows: str, count: int, columns: int) -> Words:
    """The first party's share of U."""
    return stream.draw(f"share of U {rows}", 0, (count, columns))
