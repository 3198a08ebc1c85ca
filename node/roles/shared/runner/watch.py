"""Which limit has a run gone over that no kernel holds for it?"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Final

from node.roles.shared.runner.tree import Tree

DEAR_S: Final = 2.0  # between two looks that cost more the larger the machine or the folder is
DEAR_SHARE: Final = 50  # and fifty times as long as the last one took: two per cent of a core
TAIL_BYTES: Final = 4096
ENTRIES_MOST: Final = 200_000  # a folder with more is over any limit that is set
_PUNCH: Final = 0x03  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_OUT_OF_MEMORY: Final = (b"MemoryError", b"Cannot allocate memory", b"bad_alloc", b"out of memory", b"Out of memory")
_NO_PROCESS: Final = (b"BlockingIOError: [Errno 11]", b"fork: Resource temporarily unavailable", b"can't start new thread")
_TOO_LARGE: Final = (b"File too large",)


class Gauge:
    """What a run takes; `output` is the descriptor of its log."""

    def __init__(self, tree: Tree, program: Mapping[str, Any], limits: Mapping[str, float]) -> None:
        self.output = -1
        self._tree = tree
        self._folder: str = program["watched"]
        self._log: str = program["output"]
        self._limits = limits
        self._next_tree = self._next_disk = 0.0
        self._punched = 0

    def over(self) -> str:
        """The name of a limit that is passed, else nothing."""
        return self._output() or self._processes() or self._disk()

    def _output(self) -> str:
        size = os.fstat(self.output).st_size
        most = int(self._limits.get("output_bytes", 0))
        if most and size > most:
            return "output"
        kept = int(self._limits.get("kept_bytes", 0))
        if kept and size - self._punched > kept + kept // 4:
            self._punch(size - kept)
        return ""

    def _punch(self, upto: int) -> None:
        """Gives the disk back what the log's beginning takes; offsets stay as they are."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CLOEXEC)
        try:
            libc.fallocate(descriptor, _PUNCH, ctypes.c_long(0), ctypes.c_long(upto))
        finally:
            os.close(descriptor)
        self._punched = upto

    def _processes(self) -> str:
        processes, memory = int(self._limits.get("processes", 0)), int(self._limits.get("memory_bytes", 0))
        now = _now()
        if now < self._next_tree or not (processes or memory):
            return ""
        pids = self._tree.pids()
        taken = self._tree.memory(pids) if memory else 0
        self._next_tree = now + max(DEAR_S, DEAR_SHARE * (_now() - now)) if self._tree.dear else now
        if processes and (len(pids) > processes or self._tree.refused_processes()):
            return "processes"
        return "memory" if memory and taken > memory else ""

    def _disk(self) -> str:
        most_bytes, most_files = int(self._limits.get("disk_bytes", 0)), int(self._limits.get("disk_files", 0))
        now = _now()
        if now < self._next_disk or not self._folder or not (most_bytes or most_files):
            return ""
        taken, files = usage(self._folder)
        self._next_disk = now + max(DEAR_S, DEAR_SHARE * (_now() - now))
        return "disk" if (most_bytes and taken > most_bytes) or (most_files and files > most_files) else ""

    def says_out_of_memory(self) -> bool:
        """Whether the last words of the log are of memory that was refused."""
        return any(word in self._tail() for word in _OUT_OF_MEMORY)

    def says_no_process_more(self) -> bool:
        """Whether they are of a process that was refused."""
        return bool(self._limits.get("processes")) and any(word in self._tail() for word in _NO_PROCESS)

    def says_file_too_large(self) -> bool:
        """Whether they are of a file that may not grow."""
        return any(word in self._tail() for word in _TOO_LARGE)

    def _tail(self) -> bytes:
        with open(self._log, "rb") as file:  # noqa: PTH123 - in a fork
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES)


def usage(folder: str) -> tuple[int, int]:
    """Bytes and files below a folder, links not followed."""
    taken = files = 0
    folders = [folder]
    while folders and files < ENTRIES_MOST:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            files += 1
            try:
                taken += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
            except OSError:
                continue
    return taken, files


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
