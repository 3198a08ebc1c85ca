"""How is the plotter of one plot started?

Its folders are made, its order is written where only its owner reads it, and its process gets nothing of the node's. A start
that failed is forbidden for good before another one is tried, so that two plotters never write into one folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.errors import ChildLost
from node.model.plot import Plot
from node.model.process import Limits
from node.pipeline.plot.plotters import ADAPTERS, SPEC, order_of
from node.roles.shared.runner.runner import Program, Run, Runner
from node.roles.talent.places import Places

_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "CHIA_ROOT", "LD_LIBRARY_PATH")
_UNLIMITED: Final = Limits(
    memory_bytes=0, processes=0, files=0, file_bytes=0, output_bytes=0, disk_bytes=0, disk_files=0, kept_bytes=64 * 2**20
)


def prepare(plot: Plot, its: Places) -> Path:
    """Makes the folders and writes the order; gives the folder of the run. Blocks.

    Raises:
        Conflict: a temp folder of that name belongs to somebody else.
        OSError: a directory cannot be written.
    """
    its.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    its.make()
    spec = its.home / SPEC
    content = json.dumps(order_of(plot, its.temp1, its.temp2).spec)
    descriptor = os.open(spec, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    earlier = its.runs()
    folder = its.run(int(earlier[-1].name.removeprefix("run-")) + 1 if earlier else 1)
    folder.mkdir(mode=0o700)
    return folder


def command(plot: Plot, its: Places, program: str) -> Sequence[str]:
    """The words that start the plotter of a plot."""
    assert plot.plotter, "chosen before the start"
    return ADAPTERS[plot.plotter].command(program, order_of(plot, its.temp1, its.temp2), its.home / SPEC)


async def launch(runner: Runner, folder: Path, its: Places, argv: Sequence[str]) -> Run:
    """The process of a plot, which is under way.

    Raises:
        Conflict: the folder has seen a run already.
        ChildLost: no process could be started, and none will be in that folder.
    """
    program = Program(
        folder=folder,
        argv=argv,
        cwd=its.home,
        output=its.log,
        environment={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        limits=_UNLIMITED,
    )
    try:
        return await runner.start(program)
    except ChildLost:
        late = runner.forbid(folder)  # nobody answered in time: it may have started all the same
        if late is None:
            raise
        return late
