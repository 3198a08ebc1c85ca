"""How far can this node shut a program in, and what keeps it from more?

Found by doing it: a small program is run at each level, and has to come back with what that level promises.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import EcnodeError
from node.model.process import Facts, Limits, SandboxLevel
from node.roles.shared.runner import etc, landlock, seccomp
from node.roles.shared.runner.runner import Program, Runner
from node.roles.shared.runner.sandbox import BWRAP, Box

log = logging.getLogger(__name__)

PROBE_S: Final = 10.0
ETC_FOLDER: Final = "etc"
# What lies beside the program's own folder can be read at L1 only.
_TRIAL: Final = "import sys\ntry:\n open(sys.argv[1])\nexcept OSError:\n sys.exit(0)\nsys.exit('the box is open')\n"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The highest level that works here, why each one above does not, and what stands for `/etc` at L3."""

    level: SandboxLevel
    missing: Mapping[SandboxLevel, str]
    etc: str = ""


def interpreter_paths() -> tuple[str, ...]:
    """What the interpreter of this node needs to read to run a script."""
    real = Path(sys.executable).resolve()
    return tuple(dict.fromkeys((sys.prefix, sys.base_prefix, str(real.parent.parent))))


async def probe(runner: Runner, place: Path) -> Ladder:
    """Tries the levels from above; `place` is a folder that gets temporary ones."""
    missing: dict[SandboxLevel, str] = {}
    kept = await asyncio.to_thread(_etc, place) if shutil.which(BWRAP) else ""
    for level in (SandboxLevel.L3, SandboxLevel.L2):
        copy = kept if level is SandboxLevel.L3 else ""
        fault = _impossible(level) or await _try(runner, place, level, copy)
        if not fault:
            return Ladder(level, missing, copy)
        missing[level] = fault
    return Ladder(SandboxLevel.L1, missing)


def _etc(place: Path) -> str:
    try:
        return str(etc.keep(place / ETC_FOLDER))
    except OSError as error:
        log.warning("no copy of /etc is kept: each program costs a dozen mounts", extra={"reason": error.strerror})
        return ""


def _impossible(level: SandboxLevel) -> str:
    if not seccomp.supported():
        return "no filter of system calls is written for this architecture"
    if level is SandboxLevel.L2 and not landlock.abi():
        return "the kernel has no Landlock"
    return ""


async def _try(runner: Runner, place: Path, level: SandboxLevel, copy: str) -> str:
    with tempfile.TemporaryDirectory(dir=place, prefix="probe-") as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        program = Program(
            folder=folder,
            argv=(sys.executable, "-I", "-S", "-c", _TRIAL, str(folder / "output")),
            cwd=work,
            output=folder / "output",
            environment={"PATH": "/usr/bin:/bin"},
            limits=Limits(wall_s=PROBE_S, memory_bytes=0),
            box=Box(level.value, interpreter_paths(), (str(work),), etc=copy),
        )
        try:
            facts = await (await runner.start(program)).wait()
        except EcnodeError as error:
            return error.message
        return "" if facts.good else _why(level, facts, (folder / "output").read_text(errors="replace"))


def _why(level: SandboxLevel, facts: Facts, output: str) -> str:
    if level is SandboxLevel.L3 and "No such file" in facts.error:
        return f"{BWRAP} is not installed"
    return (facts.error or output.strip().rpartition("\n")[2] or f"the trial ended with {facts.code or facts.signal}")[:200]
