"""What does it cost, in CPU seconds of all parties, to find the common ids of two parties by keyed tags?

The whole protocol between the files: tags of both, shuffles, the main client's intersection, the check of its answer, the split
and the order of the rows. Reading and writing CSV is not in it, and is told beside it. Half of the ids are common.

`python benchmarks/psi.py [--quick] [--json]`
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import tempfile
from pathlib import Path

from parts.report import Bar, Row, row, show

from node.pipeline.federated.psi.keyed import check_places, hidden, intersection, tags_of
from node.pipeline.federated.split import is_for_test, shuffled
from node.pipeline.federated.table import read_table


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def aligned(lists: list[list[str]]) -> float:
    """CPU seconds of one alignment; the common ids are checked."""
    began, key = cpu(), os.urandom(32)
    tags = [tags_of(ids, key) for ids in lists]
    offered = [hidden(each, 1024) for each in tags]
    places = intersection([each for each, _ in offered])
    chosen = [check_places(place, rows) for place, (_, rows) in zip(places, offered, strict=True)]
    digests, found = set(), []
    for ids, mine, rows in zip(lists, tags, chosen, strict=True):
        ordered, marks = shuffled(ids, rows, "seed")
        is_for_test(marks, 0.2)
        digests.add(hashlib.sha256(mine[ordered].tobytes()).digest())
        found.append(ordered)
    took = cpu() - began
    assert len(digests) == 1, "both have the same rows in the same order"
    common = [[ids[row] for row in rows.tolist()] for ids, rows in zip(lists, found, strict=True)]
    assert common[0] == common[1]
    assert len(common[0]) == len(lists[0]) // 2
    return took


def read(ids: list[str]) -> float:
    """CPU seconds to read a file of these ids and one column."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ids.csv"
        path.write_text("id,x\n" + "".join(f"{each},1\n" for each in ids))
        began = cpu()
        read_table(path)
        return cpu() - began


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundred thousand ids, without the bar")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    bars: list[Bar] = []
    for size in (100_000,) if options.quick else (100_000, 1_000_000):
        lists = [[f"user-{place:09d}@example.com" for place in range(start, start + size)] for start in (0, size // 2)]
        times = [aligned(lists) for _ in range(3)]
        rows.append(row(f"{size} x {size}", "keyed, all parties", times, "CPU-s"))
        rows.append(row(f"{size} rows", "reading one file", [read(lists[0])], "CPU-s"))
        if size == 1_000_000:
            bars.append(Bar("keyed_1m_cpu_s", sorted(times)[1], "<= 4"))
    show("psi", rows, bars, as_json=options.json)


if __name__ == "__main__":
    main()
