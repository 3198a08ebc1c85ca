"""What does madMAx's `chia_plot` write while it plots? It tells of a step when the step is over.

Source: chia-plotter 0.1.1 to 1.1.8; it gives no CPU shares.
"""

from __future__ import annotations

import re
from typing import Final

from node.model.plot import TimeKind
from node.pipeline.plot.lines import NUMBER, Closed, Cursor, Dialect

_TOOK: Final = rf"took {NUMBER} sec"

MADMAX: Final = Dialect(
    "madmax",
    "(Sponsored Crafting Network Plot Final Number Working Pool Farmer Process Wrote Started Copy [P1] [P2] [P3] [P4] "
    "Multi-threaded Commit: Move Creating Compression Bucket",
)


@MADMAX.line(
    r"Plot Name: (plot-k(\d+)-[\d-]{16}-([0-9a-f]{64}))",
    sample="Plot Name: plot-k32-2021-06-11-20-52-a248c78f42a9362687861376ea7ca9702d36e1b2c3d4e5f60718293a4b5c6d7e",
)
def _name(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("ksize", line[2])
    cursor.found("plot_id", line[3])


@MADMAX.line(r"Number of Threads: (\d+)", sample="Number of Threads: 16")
def _threads(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("threads", line[1])


@MADMAX.line(r"Number of (?:Sort )?Buckets(?: P1)?: +2\^\d+ \((\d+)\)", sample="Number of Buckets P1:    2^8 (256)")
def _buckets(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("buckets", line[1])


@MADMAX.line(r"Process ID: \d+", sample="Process ID: 1495658")
def _begun(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.at(1, 1)


@MADMAX.line(rf"\[P1\] Table (\d) {_TOOK}", sample="[P1] Table 2 took 152.806 sec, found 4294955136 matches")
def _first(cursor: Cursor, line: re.Match[str]) -> None:
    table = int(line[1])
    cursor.took(1, table, TimeKind.TABLE, line[2])
    cursor.at(1, min(table + 1, 7))


@MADMAX.line(rf"\[P2\] Table (\d) scan {_TOOK}", sample="[P2] Table 7 scan took 16.6775 sec")
def _scan(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.at(2, int(line[1]), 0.3)
    cursor.took(2, int(line[1]), TimeKind.SCAN, line[2])


@MADMAX.line(
    rf"\[P2\] Table (\d) rewrite {_TOOK}", sample="[P2] Table 6 rewrite took 66.2653 sec, dropped 581270438 entries (13.5337 %)"
)
def _rewrite(cursor: Cursor, line: re.Match[str]) -> None:
    table = int(line[1])
    cursor.took(2, table, TimeKind.SORT, line[2])
    cursor.at(2, max(table - 1, 2))


@MADMAX.line(rf"\[P3-1\] Table (\d) {_TOOK}", sample="[P3-1] Table 2 took 80.6498 sec, wrote 3429431884 right entries")
def _third_first(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.at(3, int(line[1]) - 1, 0.5)
    cursor.took(3, int(line[1]) - 1, TimeKind.FIRST, line[2])


@MADMAX.line(
    rf"\[P3-2\] Table (\d) {_TOOK}", sample="[P3-2] Table 2 took 74.787 sec, wrote 3429431884 left entries, 3429431884 final"
)
def _third_second(cursor: Cursor, line: re.Match[str]) -> None:
    left = int(line[1]) - 1
    cursor.took(3, left, TimeKind.SECOND, line[2])
    cursor.at(3, min(left + 1, 6))


@MADMAX.line(rf"Phase (\d) {_TOOK}", sample="Phase 1 took 1143.2 sec")
def _phase(cursor: Cursor, line: re.Match[str]) -> None:
    phase = int(line[1])
    cursor.took(phase, 0, TimeKind.TOTAL, line[2])
    if phase < 4:
        cursor.at(phase + 1, {2: 7, 3: 1}.get(phase + 1, 0))


@MADMAX.line(rf"Total plot creation time was {NUMBER} sec", sample="Total plot creation time was 2804.06 sec (46.7343 min)")
def _total(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(0, 0, TimeKind.TOTAL, line[1])


@MADMAX.line(r"Renamed final plot to (?:.*/)?([^/]+\.plot)", sample="Renamed final plot to /mnt/a/plot-k32-x.plot")
def _renamed(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.events.append(Closed(line[1]))
