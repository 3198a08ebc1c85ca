from __future__ import annotations

from pathlib import Path

from tasking import CLOCK, Desk

from node.model.task import Task
from node.roles.shared.events import EventBus
from node.roles.shared.news import TaskNews
from node.roles.shared.task_policy import Rules
from node.roles.shared.task_retention import TaskRetention


async def test_what_an_old_task_has_said_goes_and_its_record_stays(tmp_path: Path) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1")).live()
    old = await desk.until((await desk.submit("print('old')")).id)
    await CLOCK.sleep(0.3)
    new = await desk.until((await desk.submit("print('new')")).id)
    alive = await desk.submit("import time; print('up', flush=True); time.sleep(100)")
    await desk.said(alive.id, "up")
    assert old.ended_at is not None
    age = CLOCK.wall() - old.ended_at - 0.1
    assert await TaskRetention(desk.store.tasks, desk.runtime, CLOCK, age).look() == 1
    assert (await desk.log(old.id), await desk.log(new.id), await desk.log(alive.id)) == ("", "new\n", "up\n")
    assert (await desk.store.tasks.get(old.id)).state == "finished"
    await desk.controller.stop(alive.id)
    await desk.until(alive.id)
    await desk.die()


async def test_every_step_of_a_task_is_told_to_who_listens(tmp_path: Path) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1")).live()
    heard: list[Task] = []
    bus = EventBus()
    desk.store.tasks.watch(TaskNews(bus))
    desk.store.tasks.watch(heard.append)
    await desk.until((await desk.submit("pass")).id)
    assert [task.state.value for task in heard] == ["created", "running", "finished"]
    await desk.die()
