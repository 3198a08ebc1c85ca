"""Where does a plot lie while it is made, and what may be taken away there?

Each plot has a folder of its own in its temp directories and one below the node's data. Only folders that carry the mark of
this worker, and in them only files that the plotter makes, are ever removed; a finished plot is not among them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import Conflict
from node.model.plot import Plot, Plotter
from node.pipeline.plot.keys import parse_name
from node.pipeline.plot.plotters import ADAPTERS, Adapter

FOLDER: Final = "ecnode-"
MARK: Final = ".ecnode-worker"
LOG: Final = "plot.log"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one plot of one worker; `home` is below the node's data, the others in temp directories."""

    worker_id: str
    home: Path
    temp1: Path
    temp2: Path

    @property
    def log(self) -> Path:
        """What the plotter writes."""
        return self.home / LOG

    def run(self, attempt: int) -> Path:
        """The folder of one run: a run is started once."""
        return self.home / f"run-{attempt}"

    def runs(self) -> list[Path]:
        """The folders of all runs, the newest last."""
        found = [path for path in self.home.glob("run-*") if path.name.removeprefix("run-").isdecimal()]
        return sorted(found, key=lambda path: int(path.name.removeprefix("run-")))

    def make(self) -> None:
        """Makes the temp folders and marks them as this worker's.

        Raises:
            Conflict: one of them belongs to somebody else.
            OSError: a temp directory cannot be written.
        """
        for folder in dict.fromkeys((self.temp1, self.temp2)):
            folder.mkdir(mode=0o700, exist_ok=True)
            mark = folder / MARK
            if not _is_ours(folder, self.worker_id):
                if any(folder.iterdir()):
                    raise Conflict(
                        f"{folder} has files in it and is not this worker's", hint="move it away, then the plot starts"
                    )
                mark.write_text(self.worker_id)

    def finished_file(self) -> Path | None:
        """The plot, once the plotter has given it its name."""
        try:
            found = sorted(path for path in self.temp2.iterdir() if parse_name(path.name) is not None)
        except OSError:
            return None
        return found[0] if len(found) == 1 else None

    def clean(self, plotter: Plotter, *, proven: str = "") -> tuple[str, ...]:
        """Takes the plotter's files away and then the empty folders; names what it had to leave, which is never an error.

        A finished plot stays, except the one named `proven`, whose copy the caller knows to be good.

        Raises:
            OSError: a file cannot be taken away; what is left is still marked as this worker's.
        """
        left: list[str] = []
        for folder in dict.fromkeys((self.temp1, self.temp2)):
            if _is_ours(folder, self.worker_id):
                left += _clean(folder, ADAPTERS[plotter], proven)
        return tuple(left)


def places(plot: Plot, worker_id: str, homes: Path) -> Places:
    """The places of a plot whose temp directories are chosen."""
    name = f"{FOLDER}{plot.id}"
    first, second = Path(plot.cache1 or homes), Path(plot.cache2 or plot.cache1 or homes)
    return Places(worker_id, homes / plot.id, first / name, second / name)


def strays(cache: Path, worker_id: str, known: frozenset[str]) -> Iterator[str]:
    """The ids of plots that are not `known` any more and whose folders this worker left in a temp directory."""
    try:
        entries = list(os.scandir(cache))
    except OSError:
        return
    for entry in entries:
        id = entry.name.removeprefix(FOLDER)
        is_folder = entry.name.startswith(FOLDER) and entry.is_dir(follow_symlinks=False)
        if is_folder and id not in known and _is_ours(Path(entry.path), worker_id):
            yield id


def _is_ours(folder: Path, worker_id: str) -> bool:
    try:
        return not folder.is_symlink() and (folder / MARK).read_text() == worker_id
    except OSError:
        return False


def _clean(folder: Path, adapter: Adapter, proven: str) -> list[str]:
    left = []
    for path in folder.iterdir():
        finished = parse_name(path.name) is not None
        if path.name == MARK:
            continue
        if path.is_dir() or path.is_symlink() or not adapter.is_ours(path.name) or (finished and path.name != proven):
            left.append(str(path))
        else:
            path.unlink(missing_ok=True)
    if left:
        return left
    mark = folder / MARK
    owner = mark.read_text()
    mark.unlink()
    try:
        folder.rmdir()
    except OSError:  # something was made meanwhile: whoever sweeps next must still know whose it is
        mark.write_text(owner)
        raise
    return left
