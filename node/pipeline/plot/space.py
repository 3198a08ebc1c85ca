"""How large does a plot become, and how much room does it need on its way?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.model.plot import Plotter

# Shares of (2k+1) · 2^(k−1) bytes, which a plot would have without compression: 0.84 at k18, 0.78 at k32.
_FINAL_LEAST: Final = 0.70
_FINAL_MOST: Final = 0.92
_FILES_MOST: Final = 10_000  # of one temp directory: a plotter leaves dozens to a thousand


def final_bytes_most(ksize: int) -> int:
    """The most that a finished file of this size takes."""
    return int(_FINAL_MOST * _whole(ksize))


def is_plausible(ksize: int, size: int) -> bool:
    """Whether a finished plot of this size may have so many bytes."""
    return _FINAL_LEAST * _whole(ksize) <= size <= _FINAL_MOST * _whole(ksize)


def _whole(ksize: int) -> int:
    return (2 * ksize + 1) << (ksize - 1)


@dataclass(frozen=True, slots=True)
class Needs:
    """The most that a plot takes at any time: in its first temp directory, in the second, at its destination."""

    cache1: int
    cache2: int
    dest: int

    @property
    def together(self) -> int:
        """Where both temp directories are on one disk."""
        return self.cache1 + self.cache2


# Multiples of the final size. chiapos peaks at 2.2 (k18, k20) to 2.4 (k32) with the final file, madMAx as its author states.
_MODELS: Final[dict[Plotter, tuple[float, float]]] = {
    Plotter.BUILTIN: (1.7, 1.0),
    Plotter.CHIA: (1.7, 1.0),
    Plotter.MADMAX: (2.2, 1.1),
    Plotter.BLADEBIT: (3.8, 1.1),
}


def needs(plotter: Plotter, ksize: int) -> Needs:
    """What a plot of this size needs at the most."""
    final = final_bytes_most(ksize)
    first, second = _MODELS[plotter]
    return Needs(int(first * final), int(second * final), final)


def used_bytes(folder: Path) -> int:
    """What the files of a temp directory take on the disk; 0 where there is none. Files may come and go meanwhile."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= _FILES_MOST:
                    break
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                except FileNotFoundError:
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return total


def gib(size: int) -> str:
    """A size for people: `239.0 GiB`, `9.1 MiB`."""
    return f"{size / 2**30:.1f} GiB" if abs(size) >= 2**30 else f"{size / 2**20:.1f} MiB"
