"""The process that brings a finished plot to its destination and proves it there.

A process of its own, because a damaged plot can end the one that reads it, the prover keeps the interpreter's lock, and a share
may hang. It says how far it is, then either what it has proven or what went wrong; the source is taken away by whoever asked,
once that is on the record.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final, cast

from node.clock import SystemClock
from node.errors import CopyDiffers, EcnodeError
from node.pipeline.plot import copying
from node.pipeline.plot.verify import Expected, check_free, verify
from node.roles.shared.channel import BlockingChannel, Header
from node.roles.shared.processes import Inbox, run_child

TOLD_EVERY: Final = 0.25
COPIES_MOST: Final = 2  # a copy that differs is made anew once


def main(channel: BlockingChannel, settings: Header, _inbox: Inbox) -> None:
    """Does it once."""
    order = cast("dict[str, Any]", settings)
    source, folder = Path(order["source"]), Path(order["folder"])
    try:
        channel.send(_end(channel, source, folder, Expected(**order["expected"]), order["challenges"]))
    except EcnodeError as error:
        channel.send({"error": error.code, "message": error.message, "hint": error.hint})
    except OSError as error:
        channel.send({"error": "", "message": f"{error.filename or folder}: {error.strerror or error}", "hint": ""})


def _end(channel: BlockingChannel, source: Path, folder: Path, expected: Expected, challenges: int) -> Header:
    clock = SystemClock()
    told_at = 0.0

    def tell(done: float) -> None:
        nonlocal told_at
        if (now := clock.monotonic()) - told_at >= TOLD_EVERY:
            told_at = now
            channel.send({"copied": done})

    target = folder / source.name
    check_free(folder, source.name)
    present = target.exists()
    began, cpu = clock.monotonic(), time.process_time()
    copied = _copy(source, folder, tell)
    seconds = clock.monotonic() - began
    busy = time.process_time() - cpu
    try:
        proven = verify(target, expected, challenges)
    except EcnodeError:
        if not present:  # what was there before is not ours to take away
            target.unlink(missing_ok=True)
        raise
    return {
        "size": copied.size,
        "sha256": copied.sha256,
        "seconds": seconds,
        "cpu": 100 * busy / seconds if seconds > 0 else 0.0,
        "plot_id": proven.plot_id,
        "proofs": proven.proofs,
        "pid": os.getpid(),
    }


def _copy(source: Path, folder: Path, tell: Any) -> copying.Copied:
    for _ in range(COPIES_MOST - 1):
        try:
            return copying.copy(source, folder, tell)
        except CopyDiffers:
            continue
    return copying.copy(source, folder, tell)


if __name__ == "__main__":
    run_child(main, Inbox)
