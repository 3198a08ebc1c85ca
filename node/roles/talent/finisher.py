"""How does a file that a plotter has finished become a plot that counts?

One child process a file copies and proves it. Only what it has proven is a finished plot; until that is on the record nothing
is taken away anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from pydantic import JsonValue

from node.errors import ChildLost, DestinationFull, NotAPlot, Unavailable, from_wire
from node.model.plot import Plot
from node.roles.shared.processes import Spawner

log = logging.getLogger(__name__)

MODULE: Final = "node.roles.talent.end_child"


@dataclass(frozen=True, slots=True)
class Ended:
    """A proven file at its destination."""

    size: int
    sha256: str | None
    seconds: float
    cpu: float
    plot_id: str
    proofs: int


class Finisher:
    """Brings plots to their destinations."""

    def __init__(self, spawner: Spawner, challenges: int) -> None:
        self._spawner = spawner
        self._challenges = challenges

    async def finish(self, plot: Plot, source: Path, folder: Path, progress: Callable[[float], None]) -> Ended:
        """What is now at the destination; harmless when repeated.

        Raises:
            DestinationFull: no room; the same later is worth it.
            NotAPlot: the file is none, or not the one that was ordered.
            Unavailable: the destination or the process failed; the same later may work.
            Conflict: another file has that name there.
        """
        child = await self._spawner.spawn(MODULE, self._order(plot, source, folder), name=f"end of {plot.id}", descriptors={})
        try:
            while (message := await child.receive()) is not None:
                header = message.header
                if "copied" in header:
                    progress(float(cast(float, header["copied"])))
                elif "error" in header:
                    raise _error(header["error"], str(header["message"]), str(header["hint"]))
                else:
                    return _ended(header)
        finally:
            await child.stop()
        raise ChildLost(f"the process that proves {source.name} has ended without a word")

    def _order(self, plot: Plot, source: Path, folder: Path) -> dict[str, JsonValue]:
        return {
            "source": str(source),
            "folder": str(folder),
            "challenges": self._challenges,
            "expected": {
                "ksize": plot.ksize,
                "fpk": plot.fpk,
                "ppk": plot.ppk,
                "memo": plot.memo,
                "plot_id": plot.plot_id,
            },
        }


def _error(code: object, message: str, hint: str) -> Exception:
    for kind in (DestinationFull, NotAPlot):
        if code == kind.code:
            return kind(message, hint=hint)
    return from_wire(str(code), message, hint) if code else Unavailable(message, hint=hint)


def _ended(header: object) -> Ended:
    told = cast("dict[str, object]", header)
    return Ended(
        size=cast(int, told["size"]),
        sha256=cast("str | None", told["sha256"]),
        seconds=cast(float, told["seconds"]),
        cpu=cast(float, told["cpu"]),
        plot_id=cast(str, told["plot_id"]),
        proofs=cast(int, told["proofs"]),
    )
