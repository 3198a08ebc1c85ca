"""How is another program run for the assets, and what is told of it when it fails?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import node
from node.errors import AssetMissing

MAX_REASON: Final = 500  # characters of the other program's complaint
_COMPLAINTS: Final = (
    "ERROR",
    "Error",
    "npm error code",
    "npm ERR! code",
)  # how pip, Python and npm begin the line that says it


def run(command: Sequence[str], seconds: float, what: str, hint: str, folder: Path | None = None) -> None:
    """Runs the program to its end, in `folder` where one is given; nothing that it prints is shown.

    Raises:
        AssetMissing: it cannot be started, it fails, or it takes longer; `what` begins the message.
    """
    source = str(Path(node.__file__).parent.parent)  # a child of a checkout must find the same package
    search = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as fault:
        raise AssetMissing(f"{what} within {seconds:g} s", hint=hint) from fault
    except OSError as fault:
        raise AssetMissing(f"{what}: {fault}", hint=hint) from fault
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in reversed(lines) if any(word in line for word in _COMPLAINTS)), lines[-1])
        if "No module named pip" in reason:
            hint = f"install pip first: {sys.executable} -m ensurepip"
        raise AssetMissing(f"{what}: {reason[:MAX_REASON]}", hint=hint)
