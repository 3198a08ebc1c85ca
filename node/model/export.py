"""How is a result written as a line of a file: JSON Lines for programs, CSV for tables?

The columns are the fields of a result; what is a table or a list itself is JSON inside its cell.

Source: RFC 4180 (CSV: CRLF, quotes doubled); jsonlines.org (one JSON document a line).
"""

from __future__ import annotations

import csv
import io
from typing import Final, Literal, TypeAlias

from pydantic_core import to_json

from node.clock import rfc3339
from node.model.document import ResultItem, to_document

Format: TypeAlias = Literal["csv", "jsonl"]
MEDIA: Final[dict[Format, str]] = {"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/jsonl"}
COLUMNS: Final = ("cursor", *(name for name in ResultItem.model_fields if name != "cursor"))


def head(form: Format) -> str:
    """What stands before the first result."""
    return _row(list(COLUMNS)) if form == "csv" else ""


def line(form: Format, item: ResultItem) -> str:
    """One result with the end of its line."""
    if form == "jsonl":
        return to_json(to_document(item), inf_nan_mode="null").decode() + "\n"
    held = dict(item)
    held["captured_at"] = rfc3339(item.captured_at)
    return _row([_cell(held[name]) for name in COLUMNS])


def _cell(value: object) -> object:
    return to_json(value, inf_nan_mode="null").decode() if isinstance(value, dict | list | tuple) else value


def _row(cells: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
