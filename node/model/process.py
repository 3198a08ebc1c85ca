"""What may a program use, how far is it shut in, and how did it end?

Shared by everything that runs programs of others: tasks and plots.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from node.model.value import COUNT_MOST, Count, Seconds, Text, Value, Word

MIB: Final = 2**20
SIGNAL_MOST: Final = 64


class SandboxLevel(Word):
    """How far a program is shut in; each level holds what the one before it does."""

    L1 = "L1"  # limits only
    L2 = "L2"  # files by Landlock, system calls by a filter, no privilege
    L3 = "L3"  # namespaces of its own: no network, no other process to be seen, a read-only root

    @property
    def rank(self) -> int:
        """The higher, the further shut in."""
        return list(type(self)).index(self)


class Limit(Word):
    """What a program may run out of."""

    CPU = "cpu"
    WALL = "wall"
    MEMORY = "memory"
    PROCESSES = "processes"
    FILE_SIZE = "file_size"
    OUTPUT = "output"
    DISK = "disk"


_Amount = Annotated[int, Field(ge=0, le=COUNT_MOST)]


class Limits(Value):
    """What one run may use; 0 stands for no limit. The node's own limits hold besides.

    `memory_bytes` is the address space of each process and the resident memory of all together, `output_bytes` what goes to
    standard output and error, `kept_bytes` how much of its end is kept, `disk_bytes` and `disk_files` what lies in its folder.
    """

    cpu_s: Seconds = 0.0
    wall_s: Seconds = 0.0
    memory_bytes: _Amount = 4096 * MIB
    processes: _Amount = 256
    files: _Amount = 1024
    file_bytes: _Amount = 4096 * MIB
    output_bytes: _Amount = 1024 * MIB
    kept_bytes: Annotated[int, Field(ge=64 * 1024, le=COUNT_MOST)] = 64 * MIB
    disk_bytes: _Amount = 8192 * MIB
    disk_files: _Amount = 100_000

    def within(self, bounds: Limits) -> Limits:
        """The tighter of both, field by field."""
        mine, theirs = dict(self), dict(bounds)
        return Limits(**{name: min(filter(None, (mine[name], theirs[name])), default=0) for name in mine})


class Facts(Value):
    """How a run ended, as its shim wrote it down.

    Exactly one of `code` (0 to 255), `signal`, `error` (it could not be started) and `lost` (nobody saw the end) is meant.
    `limit` is the limit that ended it, `stopped` says that it was told to end, `left_behind` counts processes that outlived
    the program and were ended. Times are wall seconds.
    """

    code: Annotated[int, Field(ge=0, le=255)] | None = None
    signal: Annotated[int, Field(ge=1, le=SIGNAL_MOST)] | None = None
    error: Text = ""
    lost: bool = False
    limit: Limit | None = None
    stopped: bool = False
    left_behind: Count = 0
    started_at: Seconds = 0.0
    ended_at: Seconds = 0.0
    cpu_s: Seconds = 0.0
    memory_bytes: Count = 0
    output_bytes: Count = 0

    @property
    def good(self) -> bool:
        """Whether the program ended by itself and said that all went well."""
        return self.code == 0 and self.limit is None and not self.stopped
