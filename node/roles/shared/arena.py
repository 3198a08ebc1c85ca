"""Where do raw pictures live while several processes of one node work on them?

In one piece of shared memory without a name, cut into slots of one 1080p picture. Capture children write into slots that
they were granted, compute workers read them in place; only slot numbers travel between processes. The kernel frees the
memory with the last process that has it, so a killed node leaves nothing behind. Pages cost memory once they were written.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Final

SLOT_BYTES: Final = 1920 * 1080 * 3
SLOTS: Final = 96  # 16 jobs × (2 granted + 1 waiting + 2 in flight + 1 newest); 597 MB if every slot was ever written


class Lease:
    """One user's hold on a slot; the slot is free again when the last hold is released."""

    __slots__ = ("_arena", "_held", "slot")

    def __init__(self, arena: FrameArena, slot: int) -> None:
        self._arena = arena
        self._held = True
        self.slot = slot

    def share(self) -> Lease:
        """A second hold on the same slot, with an end of its own."""
        return self._arena._hold(self.slot)

    def read(self, size: int) -> bytes:
        """A copy of the slot's first `size` bytes."""
        return self._arena._read(self.slot, size)

    def release(self) -> None:
        """Gives the hold up. Harmless when repeated."""
        if self._held:
            self._held = False
            self._arena._release(self.slot)


class FrameArena:
    """The node's side: owns the memory and knows who holds which slot. Used by one event loop only."""

    def __init__(self, slots: int = SLOTS, slot_bytes: int = SLOT_BYTES) -> None:
        self.slot_bytes = slot_bytes
        self.slots = slots
        self.descriptor = _unnamed_memory(slots * slot_bytes)
        self._memory = mmap.mmap(self.descriptor, slots * slot_bytes)
        self._free = list(range(slots))
        self._holds = [0] * slots
        self._watchers: list[Callable[[], None]] = []

    def when_freed(self, watcher: Callable[[], None]) -> None:
        """Has `watcher` called each time a slot becomes free."""
        self._watchers.append(watcher)

    @property
    def free(self) -> int:
        """How many slots nobody holds."""
        return len(self._free)

    def take(self) -> Lease | None:
        """A hold on a free slot; None where all are taken."""
        return self._hold(self._free.pop()) if self._free else None

    def close(self) -> None:
        """Frees the memory on this side. Harmless when repeated."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.descriptor)

    def _hold(self, slot: int) -> Lease:
        self._holds[slot] += 1
        return Lease(self, slot)

    def _read(self, slot: int, size: int) -> bytes:
        start = slot * self.slot_bytes
        return self._memory[start : start + min(size, self.slot_bytes)]

    def _release(self, slot: int) -> None:
        self._holds[slot] -= 1
        if self._holds[slot] == 0:
            self._free.append(slot)
            for watcher in self._watchers:
                watcher()


class ArenaView:
    """A child's side: plain memory by slot number."""

    def __init__(self, descriptor: int, slots: int, slot_bytes: int) -> None:
        self._slot_bytes = slot_bytes
        self._memory = memoryview(mmap.mmap(descriptor, slots * slot_bytes))

    def slot(self, number: int, size: int) -> memoryview:
        """The slot's first `size` bytes, writable in place."""
        start = number * self._slot_bytes
        if not 0 <= size <= self._slot_bytes or not 0 <= start < len(self._memory):
            raise ValueError(f"slot {number} with {size} B is outside the arena")
        return self._memory[start : start + size]


def _unnamed_memory(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("ecnode-frames", 0)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.set_inheritable(descriptor, True)
    os.ftruncate(descriptor, size)
    return descriptor
