"""What does chiapos write while it plots? Read for the built-in plotter and for `chia plots create`, which wraps it.

Source: chiapos 1.0.0 (2021) to 2.0.12, with and without bitfield; the samples are lines of real logs. Older versions write
`F1 complete, Time = …` and leave some lines out.
"""

from __future__ import annotations

import re
from typing import Final

from node.model.plot import TimeKind
from node.pipeline.plot.lines import NUMBER, TEXT_MOST, Closed, Cursor, Dialect, Stalled

_TIME: Final = rf"{NUMBER} seconds\.(?: CPU \({NUMBER}%\))?"

CHIAPOS: Final = Dialect(
    "chiapos",
    "Approximate Beginning Bucket C1: C2: C3: Copied Copying Created Creating Final Finished Grouping Memo: Moved P1: P2: P3: "
    "P4: P5: P6: P7: Plotter Process Progress Removed Starting Summary: Total Wrote Wrote: Writing max_deltas, scanned sorting",
)


@CHIAPOS.line(r"ID: ([0-9a-f]{64})$", sample="ID: b88af48bc7c2edf4cdf0c76d184a8fc4d85348ca47521d8e5e2995bcc07f78e5")
def _id(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.found("plot_id", line[1])


@CHIAPOS.line(rf"Plot size is: {NUMBER}", sample="Plot size is: 32")
def _size(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("ksize", line[1])


@CHIAPOS.line(r"Buffer size is: (\d+)MiB", sample="Buffer size is: 3389MiB")
def _buffer(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("buffer", line[1])


@CHIAPOS.line(r"Using (\d+) buckets", sample="Using 128 buckets")
def _buckets(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.buckets = int(line[1])
    cursor.found("buckets", cursor.buckets)


@CHIAPOS.line(r"Using (\d+) threads of stripe size (\d+)", sample="Using 2 threads of stripe size 65536")
def _threads(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("threads", line[1])
    cursor.counted("stripe_size", line[2])


@CHIAPOS.line(
    r"Starting phase (\d)/4:", sample="Starting phase 1/4: Forward Propagation into tmp files... Mon Nov 30 23:06:25 2026"
)
def _phase(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.at(int(line[1]), 0)


@CHIAPOS.line(r"Computing table (\d)", sample="Computing table 1")
def _computing(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.at(1, int(line[1]))


@CHIAPOS.line(
    rf"F1 complete, [Tt]ime(?: =|:) {_TIME}", sample="F1 complete, time: 0.074 seconds. CPU (12.26%) Mon Nov 30 23:06:26 2026"
)
def _first_table(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(1, 1, TimeKind.TABLE, line[1], line[2])


@CHIAPOS.line(
    rf"Forward propagation table time: {_TIME}",
    sample="Forward propagation table time: 1.723 seconds. CPU (12.010%) Mon Nov 30 23:06:27 2026",
)
def _forward(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(1, cursor.table, TimeKind.TABLE, line[1], line[2])


@CHIAPOS.line(r"Backpropagating on table (\d)", sample="Backpropagating on table 7")
def _back(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.at(2, int(line[1]))


@CHIAPOS.line(rf"scanned time = +{_TIME}", sample="scanned time =  0.035 seconds. CPU (9.700%) Mon Nov 30 23:06:17 2026")
def _scanned(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(2, cursor.table, TimeKind.SCAN, line[1], line[2])


@CHIAPOS.line(rf"sort time = +{_TIME}", sample="sort time =  0.132 seconds. CPU (11.460%) Mon Nov 30 23:06:17 2026")
def _sorted(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(2, cursor.table, TimeKind.SORT, line[1], line[2])


@CHIAPOS.line(rf"table 1 new size: {NUMBER}", sample="table 1 new size: 208294")
def _new_size(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.counted("p1_table_1_now_size", line[1])


@CHIAPOS.line(rf"Wrote left entries: {NUMBER}", sample="Wrote left entries: 226492")
def _left(cursor: Cursor, line: re.Match[str]) -> None:
    """Without bitfield nothing else tells how large table 1 is in the end."""
    if (cursor.phase, cursor.table) == (2, 2):
        cursor.counted("p1_table_1_now_size", line[1])


@CHIAPOS.line(
    rf"Total backpropagation time:: {_TIME}",
    sample="Total backpropagation time:: 0.272 seconds. CPU (11.290%) Mon Nov 30 23:06:36 2026",
)
def _backpropagated(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(2, cursor.table, TimeKind.TABLE, line[1], line[2])


@CHIAPOS.line(r"Compressing tables (\d) and \d", sample="Compressing tables 1 and 2")
def _compressing(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.at(3, int(line[1]))


@CHIAPOS.line(
    rf"First computation pass time: {_TIME}",
    sample="First computation pass time: 0.433 seconds. CPU (11.080%) Mon Nov 30 23:06:19 2026",
)
def _first_pass(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(3, cursor.table, TimeKind.FIRST, line[1], line[2])
    cursor.at(3, cursor.table, 0.5)


@CHIAPOS.line(
    rf"Second computation pass time: {_TIME}",
    sample="Second computation pass time: 0.406 seconds. CPU (10.010%) Mon Nov 30 23:06:19 2026",
)
def _second_pass(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(3, cursor.table, TimeKind.SECOND, line[1], line[2])


@CHIAPOS.line(
    rf"Total compress table time: {_TIME}",
    sample="Total compress table time: 0.876 seconds. CPU (10.610%) Mon Nov 30 23:06:19 2026",
)
def _compressed(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(3, cursor.table, TimeKind.TABLE, line[1], line[2])


@CHIAPOS.line(
    rf"Time for phase (\d) = {_TIME}",
    sample="Time for phase 1 = 10.239 seconds. CPU (11.930%) Mon Nov 30 23:06:36 2026",
)
def _phase_time(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(int(line[1]), 0, TimeKind.TOTAL, line[2], line[3])


@CHIAPOS.line(rf"Total time = {_TIME}", sample="Total time = 18.986 seconds. CPU (11.650%) Mon Nov 30 23:06:44 2026")
def _total(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.took(0, 0, TimeKind.TOTAL, line[1], line[2])


@CHIAPOS.line(rf"Copy time = {_TIME}", sample="Copy time = 371.2 seconds. CPU (14.110%) Tue Jun  1 03:08:44 2021")
def _copy(cursor: Cursor, line: re.Match[str]) -> None:
    """The plotter's own copy, where somebody had it copy; ours takes its place."""
    cursor.took(5, 0, TimeKind.COPY, line[1], line[2])


@CHIAPOS.line(
    r'Renamed final file from ".*" to "(?:.*/)?([^/"]+)"',
    sample='Renamed final file from "/mnt/a/plot-k18-x.plot.2.tmp" to "/mnt/a/plot-k18-x.plot"',
)
def _renamed(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.events.append(Closed(line[1]))


@CHIAPOS.line(
    r"Only (?:wrote|read) .*Retrying in",
    sample='Only wrote 0 of 4096 bytes at offset 12288 to "/mnt/a/x.plot.p1.t2.sort_bucket_003.tmp"with length 4096. '
    "Error 28. Retrying in five minutes.",
)
def _only(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.events.append(Stalled(line.string[:TEXT_MOST]))


@CHIAPOS.line(
    r"Could not (?:open|rename|copy) .*[Rr]etrying in",
    sample="Could not open /mnt/a/x.plot.table1.tmp: Permission denied. Retrying in five minutes.",
)
def _could_not(cursor: Cursor, line: re.Match[str]) -> None:
    cursor.events.append(Stalled(line.string[:TEXT_MOST]))
