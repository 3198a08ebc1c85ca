"""Which columns has the original's table of plots, and what is in them?

One list for its own route, the CSV export and whoever compares with the original.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from node.clock import rfc3339
from node.model.plot import COPY, PlotStatus, time_columns

Cell: TypeAlias = str | int | float | None

_RENAMED: Final = {"id": "number", "create_time": "created_at", "update_time": "updated_at", "status": "state"}


def _columns() -> tuple[str, ...]:
    times = [(phase, f"{column}_{kind}") for column, phase, _ in time_columns() for kind in ("time", "cpu")]
    first = [name for phase, name in times if phase == 1]
    later = [name for phase, name in times if phase in {0, 2, 3, 4, COPY}]
    return (
        *("id", "create_time", "update_time", "worker_id", "task_id", "plot_pid", "log_pid", "status", "plot_id", "fpk", "ppk"),
        *("memo", "ksize", "cache1", "cache2", "threads", "buffer", "stripe_size", "buckets", "progress"),
        *first,
        "p1_table_1_now_size",
        *later,
        *("dest_type", "dest_path", "dest_file_name"),
    )


COLUMNS: Final = _columns()
"""In the original's order."""


def row(plot: PlotStatus) -> dict[str, Cell]:
    """A plot under the original's column names; what its log did not give is None."""
    fields = plot.model_dump(mode="json")
    found: dict[str, Cell] = {}
    for column in COLUMNS:
        if column in plot.times:
            found[column] = plot.times[column]
        else:
            value = fields[_RENAMED.get(column, column)]
            found[column] = rfc3339(value) if column in {"create_time", "update_time"} else value
    return found
