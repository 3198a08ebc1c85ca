"""The frame arena: who holds a slot, and when is it free again?"""

import os
from pathlib import Path

import pytest

from node.roles.shared.arena import ArenaView, FrameArena


@pytest.fixture
def arena():
    made = FrameArena(slots=2, slot_bytes=16)
    yield made
    made.close()


def test_a_slot_is_free_again_when_the_last_hold_is_released(arena):
    lease = arena.take()
    second = lease.share()
    lease.release()
    assert arena.free == 1
    second.release()
    assert arena.free == 2


def test_releasing_twice_frees_nothing_that_somebody_else_holds(arena):
    lease = arena.take()
    second = lease.share()
    lease.release()
    lease.release()
    assert arena.free == 1
    second.release()


def test_a_full_arena_gives_nothing(arena):
    assert arena.take() and arena.take()
    assert arena.take() is None


def test_a_watcher_hears_of_every_freed_slot(arena):
    heard = []
    arena.when_freed(lambda: heard.append(arena.free))
    arena.take().release()
    assert heard == [2]


def test_a_child_writes_where_the_node_reads(arena):
    view = ArenaView(os.dup(arena.descriptor), 2, 16)
    lease = arena.take()
    view.slot(lease.slot, 5)[:] = b"hello"
    assert lease.read(5) == b"hello"
    other = next(slot for slot in range(2) if slot != lease.slot)
    assert bytes(view.slot(other, 5)) == bytes(5)


@pytest.mark.parametrize(("slot", "size"), [(-1, 4), (2, 4), (0, 17)])
def test_a_view_never_leaves_the_arena(arena, slot, size):
    view = ArenaView(os.dup(arena.descriptor), 2, 16)
    with pytest.raises(ValueError, match="outside"):
        view.slot(slot, size)


def test_the_memory_has_no_name_that_could_be_left_behind(arena):
    assert "(deleted)" in str(Path(f"/proc/self/fd/{arena.descriptor}").readlink())
