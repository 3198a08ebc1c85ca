"""What do the new bytes of a plotter's log tell?

Incremental and pure: bytes in, events out, and a place to go on from. A log is written in fragments, so only complete lines are
read; the place that is kept is always the end of one. The work is that of the new bytes, however long the log is.
"""

from __future__ import annotations

import re
from typing import Final

from node.model.plot import LogPlace, Plotter
from node.pipeline.plot.bladebit_log import BLADEBIT
from node.pipeline.plot.chiapos_log import CHIAPOS
from node.pipeline.plot.lines import Cursor, Dialect, LogEvent
from node.pipeline.plot.madmax_log import MADMAX

LINE_MOST: Final = 64 * 1024  # of one line: what has no end by then is passed over, so a reader never holds more
DIALECTS: Final[dict[Plotter, Dialect]] = {
    Plotter.BUILTIN: CHIAPOS,
    Plotter.CHIA: CHIAPOS,
    Plotter.MADMAX: MADMAX,
    Plotter.BLADEBIT: BLADEBIT,
}

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# 2021-06-11 20:52:35.449595: … of scripts; 2021-05-01T10:00:00.123  chia.plotting.create_plots : INFO     … of chia
_WRAPPED: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?: +\S+ *: *[A-Z]+ +|:? +)")
_BUCKET: Final = re.compile(r"\tBucket (\d+) ")
_WITHIN_MOST: Final = 0.95  # of a table by its buckets: the rest is work after the last of them


class LogReader:
    """Reads one log, from `place` on."""

    def __init__(self, plotter: Plotter, place: LogPlace | None = None) -> None:
        self._dialect = DIALECTS[plotter]
        place = place or LogPlace()
        self._cursor = Cursor(place.phase, place.table, place.part, place.buckets)
        self._offset = place.offset
        self._unknown = place.unknown
        self._rest = b""
        self._skipping = False

    @property
    def place(self) -> LogPlace:
        """The end of the last complete line that was read."""
        cursor = self._cursor
        return LogPlace(
            offset=self._offset,
            phase=cursor.phase,
            table=cursor.table,
            part=cursor.part,
            buckets=cursor.buckets,
            unknown=self._unknown,
        )

    @property
    def wanted(self) -> int:
        """The offset of the next byte to feed: behind a line that is not complete yet."""
        return self._offset + len(self._rest)

    def feed(self, content: bytes) -> list[LogEvent]:
        """What the next bytes of the log tell, in order."""
        held = self._rest + content
        end = held.rfind(b"\n") + 1
        self._rest = held[end:]
        if end:
            self._read(held[:end])
            self._offset += end
        if len(self._rest) > LINE_MOST:
            self._skipping = True
            self._offset += len(self._rest)
            self._rest = b""
        events, self._cursor.events = self._cursor.events, []
        return events

    def _read(self, content: bytes) -> None:
        text = content.decode("utf-8", "replace")
        if "\x1b" in text:
            text = _ANSI.sub("", text)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        if self._skipping:  # the rest of a line that was too long
            del lines[0]
            self._skipping = False
        cursor, read = self._cursor, self._dialect.read
        bucket = ""
        for raw in lines:
            if raw.startswith("\tBucket "):  # four of five lines; only the last of them is of interest
                bucket = raw
                continue
            line = raw.strip()
            if not line:
                continue
            wrapped = _WRAPPED.match(line) if line[0] == "2" else None
            if not read(cursor, line[wrapped.end() :] if wrapped else line):
                self._unknown += 1
            bucket = ""
        if bucket:
            self._sorted(bucket)

    def _sorted(self, line: str) -> None:
        """How far the present table is, by the bucket that was sorted last; phase 3 goes through all buckets twice."""
        found, cursor = _BUCKET.match(line), self._cursor
        if found is None or not cursor.buckets or not cursor.table:
            return
        share = min((int(found[1]) + 1) / cursor.buckets, 1.0) * _WITHIN_MOST
        if cursor.phase == 3:
            share = share / 2 + (0.5 if cursor.part >= 0.5 else 0.0)
        cursor.at(cursor.phase, cursor.table, round(share, 4))
