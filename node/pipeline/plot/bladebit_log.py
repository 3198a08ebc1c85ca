"""What does bladebit write while it plots, in memory (1.x) or on disk (2.x)?

Source: bladebit 1.2.4 and 2.0; it gives no CPU shares, and version 2 tells tables 2 to 6 of phase 2 only.
"""

from __future__ import annotations

import re
from typing import Final

from node.model.plot import TimeKind
from node.pipeline.plot.lines import NUMBER, Closed, Cursor, Dialect

_IN: Final = rf"in {NUMBER} seconds"

BLADEBIT: Final = Dialect(
    "bladebit",
    "Creating Bladebit Output Thread Warm Farmer Pool NUMA CPU Memory Allocating Loading Bucket Plot Generating Sorting "
    "Forward Pairing Computing Table Prunning Marking Compressing Sizes: Writing Final Entries Temp1 Temp2 Waiting Completed "
    "Finished Total Renaming Renamed P7 Host Maximum Heap C1 C2 C3 F1 Table:",
)


@BLADEBIT.line(
    r"Generating plot \d+ / \d+: ([0-9a-f]{64})",
    sample="Generating plot 1 / 1: 16a248c78f42a9362687861376ea7ca9702d36e1b2c3d4e5f60718293a4b5c6d",
)
def _id(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.found("plot_id", line[1])


@BLADEBIT.line(r"Thread count +: (\d+)", sample="Thread count         : 24")
def _threads(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("threads", line[1])


@BLADEBIT.line(r"Bucket count +: (\d+)", sample="Bucket count         : 256")
def _buckets(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("buckets", line[1])


@BLADEBIT.line(r"Running Phase (\d)", sample="Running Phase 1")
def _phase(cursor: Cursor, line: re.Match[str]) -> None:
    phase = int(line[1])
    cursor.at(phase, {1: 1, 2: 6, 3: 1}.get(phase, 0))


@BLADEBIT.line(rf"Finished [Ff]1 (generation|sort) {_IN}", sample="Finished F1 generation in 6.93 seconds.")
def _first_table(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(1, 1, TimeKind.SORT if line[1] == "sort" else TimeKind.FIRST, line[2])


@BLADEBIT.line(
    rf"Finished forward propagating table (\d) {_IN}", sample="Finished forward propagating table 2 in 27.83 seconds."
)
def _forward(cursor: Cursor, line: re.Match[str]) -> None:
    _computed(cursor, line)


@BLADEBIT.line(rf"Completed table (\d) {_IN}", sample="Completed table 2 in 8.91 seconds with 4294968328 entries.")
def _computed(cursor: Cursor, line: re.Match[str]) -> None:
    table = int(line[1])
    cursor.took(1, table, TimeKind.TABLE, line[2])
    cursor.at(1, min(table + 1, 7))


@BLADEBIT.line(rf"Finished (?:prunning|marking) table (\d) {_IN}", sample="Finished marking table 6 in 4.90 seconds.")
def _marked(cursor: Cursor, line: re.Match[str]) -> None:
    table = int(line[1])
    cursor.took(2, table, TimeKind.TABLE, line[2])
    cursor.at(2, max(table - 1, 2))


@BLADEBIT.line(
    rf"Finished compressing tables (\d) and \d {_IN}", sample="Finished compressing tables 1 and 2 in 87.02 seconds."
)
def _compressed(cursor: Cursor, line: re.Match[str]) -> None:
    table = int(line[1])
    cursor.took(3, table, TimeKind.TABLE, line[2])
    cursor.at(3, min(table + 1, 6))


@BLADEBIT.line(rf"Finished Phase (\d) {_IN}", sample="Finished Phase 1 in 244.30 seconds (4.1 minutes).")
def _phase_time(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(int(line[1]), 0, TimeKind.TOTAL, line[2])


@BLADEBIT.line(rf"Finished plotting {_IN}", sample="Finished plotting in 408.19 seconds (6.80 minutes).")
def _total(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(0, 0, TimeKind.TOTAL, line[1])


@BLADEBIT.line(r"Renaming plot to '(?:.*/)?([^/']+\.plot)'", sample="Renaming plot to '/mnt/a/plot-k32-x.plot'")
def _renamed(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.events.append(Closed(line[1]))
