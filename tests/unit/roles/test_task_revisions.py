"""Revisions of tasks that a cloud has ordered of an edge, cut at each of their steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tasking import Desk, Told

from node.errors import Conflict
from node.model.process import Facts
from node.model.task import Task, TaskSpec
from node.roles.shared.task_policy import Rules
from node.roles.shared.task_runtime import Attempt

SLEEP = "import time; print('up', flush=True); time.sleep(100)"


async def running(root: Path) -> tuple[Desk, Task]:
    """An edge with a task of a cloud that runs."""
    desk = await Desk(root, Rules("edge-1"), Told()).live()
    task = await desk.order(SLEEP)
    await desk.said(task.id, "up")
    await desk.until(task.id, "running")
    return desk, task


def second(root: Path) -> TaskSpec:
    return TaskSpec(script=f"print('second'); open({str(root / 'effects')!r}, 'a').write('x')")


async def cut(desk: Desk, task: Task, step: str) -> None:
    """Takes the steps of a revision up to one, and no further."""
    store, spec = desk.store.tasks, second(desk.root)
    await desk.order_revision(task.id, spec)
    if step == "ordered":
        return
    await desk.runtime.stage(Attempt(task.id, 2, 1, spec))
    if step == "made ready":
        return
    await store.take_ordered(task.id)
    if step == "taken":
        return
    run = desk.runtime.find(Attempt(task.id, 1, 1, spec))
    assert run is not None
    run.stop(grace=0)
    ended: Facts = await run.wait()
    assert ended.stopped
    if step == "ended":
        return
    await store.take_next(task.id)


@pytest.mark.parametrize("step", ["ordered", "made ready", "taken", "ended", "begun"])
async def test_a_revision_that_was_cut_at_any_step_is_made_in_the_next_life_and_runs_once(tmp_path: Path, step: str) -> None:
    desk, task = await running(tmp_path)
    await desk.die()
    await desk.live(drive=False)
    await cut(desk, task, step)
    await desk.die()
    await desk.live()
    ended = await desk.until(task.id)
    assert (ended.state, ended.revision, ended.attempt) == ("finished", 2, 1)
    assert await desk.log(task.id) == "second\n"
    assert (tmp_path / "effects").read_text() == "x"
    assert desk.told is not None
    assert desk.told.reports[-1][:2] == ("finish", 2)
    await desk.die()


async def test_what_cannot_be_made_ready_is_told_and_the_present_revision_runs_on(tmp_path: Path) -> None:
    desk, task = await running(tmp_path)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no archive")
    blob = await desk.blobs.put(tmp_path / "bad.zip")
    await desk.order_revision(task.id, TaskSpec(bundle=blob.id))
    await desk.controller._revisions.make_ordered(task.id, desk.told, desk.controller.look)  # type: ignore[arg-type]
    event, revision, reason = desk.told.reports[-1]  # type: ignore[union-attr]
    assert (event, revision) == ("keep", 1)
    assert reason.startswith("revision 2 was not taken: the archive")
    assert await desk.store.tasks.ordered(task.id) is None
    assert (await desk.store.tasks.get(task.id)).state == "running"
    await desk.controller.stop(task.id)
    await desk.until(task.id)
    await desk.die()


async def test_a_second_revision_waits_for_the_first_to_begin(tmp_path: Path) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1")).live(drive=False)
    task = await desk.submit(SLEEP)
    await desk.controller.revise(task.id, second(tmp_path))
    with pytest.raises(Conflict, match="about to be revised"):
        await desk.controller.revise(task.id, second(tmp_path))
    await desk.die()
    await desk.live()
    assert (await desk.until(task.id)).revision == 2
    await desk.die()


async def test_a_start_that_is_repeated_after_a_revision_changes_nothing(tmp_path: Path) -> None:
    desk, task = await running(tmp_path)
    await desk.order_revision(task.id, second(tmp_path))
    desk.controller.prepare(task.id)
    assert (await desk.until(task.id)).revision == 2
    request = second(tmp_path)
    again = desk.store.tasks.creation(task, request)  # type: ignore[arg-type]
    assert (await desk.store._database.write(again)).state == "finished"
    await desk.die()
