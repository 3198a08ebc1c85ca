"""What does a party's file hold, and which of it goes into a session?

A CSV file with a header. Ids are compared after Unicode normalisation (NFC), without space around them; a row without an id and
an id in two rows are refused with their numbers, because rows that are not one person's would be joined silently.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from node.errors import Invalid, NotFound, Problem, StorageFailed
from node.model.federated import COLUMNS_MOST, ROWS_MOST, Column
from node.pipeline.federated.ring import Reals, Rows

FAULTS_MOST: Final = 20  # that are named
CELL_MOST: Final = 1000
CLIP: Final = 8.0  # of a standardised feature: with ten fractional bits it has 14 bits
_FIRST_ROW: Final = 2  # of data, as an editor counts lines: the header is line 1


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with an id each; `cells` are as the file has them, `numbers` the line of each row."""

    id: str
    names: tuple[str, ...]
    ids: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]

    def column_names(self, wanted: Sequence[Column]) -> tuple[str, ...]:
        """The names of columns that are given by name or by index (the id's column is none of them); all where none is given.

        Raises:
            Invalid: a column that is not there, or twice.
        """
        if not wanted:
            return self.names
        found = []
        for place, column in enumerate(wanted):
            if isinstance(column, int) and column < len(self.names):
                found.append(self.names[column])
            elif isinstance(column, str) and column in self.names:
                found.append(column)
            else:
                raise _fault(f"columns.{place}", f"there is no column {column!r}; there are {', '.join(self.names[:20])}")
        if len(set(found)) != len(found):
            raise _fault("columns", "a column is named twice")
        return tuple(found)

    def values(self, names: Sequence[str]) -> Reals:
        """The numbers of some columns, (rows, columns).

        Raises:
            Invalid: a cell that is no finite number; the problems name line and column.
        """
        places = [self.names.index(name) for name in names]
        try:
            found = np.array([[float(row[place]) for place in places] for row in self.cells], np.float64)
        except ValueError:
            raise self._no_numbers(places) from None
        if not bool(np.all(np.isfinite(found))):
            raise self._no_numbers(places)
        return found.reshape(len(self.cells), len(places))

    def picked(self, rows: Rows, names: Sequence[str]) -> Table:
        """Some rows in that order, with some columns."""
        chosen = rows.tolist()
        cells = tuple(map(self.cells.__getitem__, chosen))
        if tuple(names) != self.names:
            places = [self.names.index(name) for name in names]
            cells = tuple([tuple([row[place] for place in places]) for row in cells])
        ids, numbers = map(self.ids.__getitem__, chosen), map(self.numbers.__getitem__, chosen)
        return Table(self.id, tuple(names), tuple(ids), cells, tuple(numbers))

    def _no_numbers(self, places: Sequence[int]) -> Invalid:
        bad = (
            Problem(f"line {number}", f"column {self.names[place]}: {row[place][:40]!r} is no number")
            for number, row in zip(self.numbers, self.cells, strict=True)
            for place in places
            if not _is_number(row[place])
        )
        return _refused("cells are no numbers", bad)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def read_table(path: Path, id_column: str = "") -> Table:
    """The table in a file; blocks, a million rows take about two seconds.

    Raises:
        NotFound: there is no such file.
        Invalid: it is no CSV with a header, or ids are missing or doubled; the problems name the lines.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(csv.reader(file), id_column)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path.name}", hint="paths are relative to federated.data_root") from error
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise _fault("path", f"{path.name} cannot be read as CSV in UTF-8: {error}") from error


def _read(lines: Iterator[list[str]], id_column: str) -> Table:
    header = [name.strip() for name in next(lines, [])]
    if len(header) < 1 or len(header) > COLUMNS_MOST or len(set(header)) != len(header) or not all(header):
        raise _fault("header", f"the first line names 1 to {COLUMNS_MOST} columns, each once; it has {len(header)}")
    name = id_column or header[0]
    if name not in header:
        raise _fault("id", f"there is no column {name!r}; there are {', '.join(header[:20])}")
    place = header.index(name)
    ids: list[str] = []
    cells: list[tuple[str, ...]] = []
    numbers: list[int] = []
    ragged: list[Problem] = []
    for number, row in enumerate(lines, _FIRST_ROW):
        if not row:
            continue  # an empty line, as many programs leave one at the end
        if len(row) != len(header):
            ragged.append(Problem(f"line {number}", f"has {len(row)} cells, the header {len(header)}"))
            continue
        ids.append(normalised(row[place]))
        cells.append((*row[:place], *row[place + 1 :]))
        numbers.append(number)
        if len(ids) > ROWS_MOST:
            raise _fault("path", f"has more than {ROWS_MOST} rows")
    if ragged:
        raise _refused("rows are of another length than the header", ragged)
    _check_ids(ids, numbers)
    return Table(name, (*header[:place], *header[place + 1 :]), tuple(ids), tuple(cells), tuple(numbers))


def normalised(text: str) -> str:
    """An id as it is compared."""
    stripped = text.strip()
    return stripped if stripped.isascii() else unicodedata.normalize("NFC", stripped)


def _check_ids(ids: Sequence[str], numbers: Sequence[int]) -> None:
    empty = [Problem(f"line {number}", "has no id") for each, number in zip(ids, numbers, strict=True) if not each]
    if empty:
        raise _refused("rows have no id", empty)
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    doubled = []
    for each, number in zip(ids, numbers, strict=True):
        if each in first:
            doubled.append(Problem(f"line {number}", f"has the id of line {first[each]}"))
        first.setdefault(each, number)
    raise _refused("ids stand in two rows", doubled)


def write_table(table: Table, path: Path) -> None:
    """Writes a table; blocks. What stands there is replaced at once, never seen half.

    Raises:
        StorageFailed: the disk did not take it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((table.id, *table.names))
    writer.writerows((each, *row) for each, row in zip(table.ids, table.cells, strict=True))
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_text(text.getvalue(), encoding="utf-8")
        beside.chmod(0o600)
        beside.replace(path)
    except OSError as error:
        raise StorageFailed(f"{path.name} cannot be written: {error.strerror}") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the features of one owner are standardised: by mean and spread of its training rows, known to itself only."""

    mean: Reals
    spread: Reals

    @classmethod
    def of(cls, values: Reals) -> Scaling:
        """That of some rows; a column that never changes gets the spread 1."""
        spread = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def applied(self, values: Reals) -> Reals:
        """Standardised and clipped to ±8."""
        return np.clip((values - self.mean) / self.spread, -CLIP, CLIP)


def _fault(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", problems=[Problem(path, message)])


def _refused(what: str, faults: Iterable[Problem]) -> Invalid:
    named: list[Problem] = []
    count = 0
    for fault in faults:
        count += 1
        if len(named) < FAULTS_MOST:
            named.append(fault)
    first = f"{named[0].path} {named[0].message}"
    return Invalid(f"{count} {what}: {first}" + (", …" if count > 1 else ""), problems=named)
