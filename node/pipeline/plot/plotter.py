"""How does the built-in plotter make a plot?

`python -P -m node.pipeline.plot.plotter SPEC` is a process of its own around chiapos' DiskPlotter, which keeps the
interpreter's lock, cannot be told to stop and writes to standard output. SPEC is a JSON file that only its owner may read,
because a memo holds a secret; nothing secret is ever an argument. Only light modules are imported: what they cost is a part of
every plot.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.pipeline.plot.keys import PlotKeys, file_name, from_memo, make_keys

WRONG_SPEC: Final = 2
NAME_TAKEN: Final = 3


def main(arguments: list[str]) -> int:
    """Makes one plot; the exit code is 0, `WRONG_SPEC`, `NAME_TAKEN` or what chiapos ends with."""
    try:
        spec = json.loads(Path(arguments[0]).read_bytes())
        keys = _keys(spec)
        folder = Path(spec["final"])
        name = file_name(spec["ksize"], keys.plot_id, datetime.now(UTC))
    except (IndexError, KeyError, OSError, ValueError) as error:
        _say(f"cannot use the order of this plot: {error}")
        return WRONG_SPEC
    if any(
        folder.glob(f"*{keys.plot_id.hex()}.plot")
    ):  # chiapos would delete a finished plot of that name before anything else
        _say(f"a plot {keys.plot_id.hex()} lies in {folder} already")
        return NAME_TAKEN
    from chiapos import DiskPlotter

    DiskPlotter().create_plot_disk(
        spec["temp1"],
        spec["temp2"],
        spec["final"],
        name,
        spec["ksize"],
        keys.memo,
        keys.plot_id,
        spec["buffer"],
        spec["buckets"],
        spec["stripe_size"],
        spec["threads"],
        not spec["bitfield"],
    )
    return 0


def _say(text: str) -> None:
    """To standard output, which is this plot's log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _keys(spec: dict[str, str]) -> PlotKeys:
    if spec.get("memo"):
        return from_memo(bytes.fromhex(spec["memo"]))
    return make_keys(bytes.fromhex(spec["fpk"]), bytes.fromhex(spec["ppk"]), os.urandom(32))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
