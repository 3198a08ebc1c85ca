"""Tasks under rough treatment: a kill storm, full disks, a hundred that are found again, a thousand that leave nothing."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from systems import CLOCK, FAST, connect, until
from tasking import Desk

from node.cli.system import CLOUD, LocalSystem
from node.client import Client
from node.errors import EcnodeError, PeerUnreachable, StorageFailed
from node.model.task import TASK_LIFE, Retry, Task, TaskRequest
from node.model.value import new_id
from node.roles.shared.task_policy import Rules

STORM_S = 180.0
SEED = 20_261_201
DISK_MIB = 3
RECOVERY_S = 5.0
EFFECT = "import time\nprint('effect', flush=True)\ntime.sleep({seconds})"


@pytest.mark.drill
def test_a_kill_storm_loses_no_accepted_task_and_doubles_no_effect(assets) -> None:
    chance = random.Random(SEED)
    accepted: list[TaskRequest] = []
    kills: Counter[str] = Counter()
    with LocalSystem(2, [], assets, pace=FAST) as system:
        system.start()
        with connect(system) as client:
            until(lambda: {view.report.name for view in client.nodes()} >= set(system.names))
        end = CLOCK.monotonic() + STORM_S
        while CLOCK.monotonic() < end:
            with connect(system) as client:
                for _ in range(chance.randint(1, 6)):
                    request = a_task(chance)
                    if until(lambda c=client, r=request: submitted(c, r), 60):
                        accepted.append(request)
                threading.Event().wait(chance.uniform(0.2, 1.5))
            victim = chance.choice([CLOUD, "edge-1", "edge-2"])
            system.kill(victim)
            kills[victim] += 1
            system.restart(victim)
        with connect(system) as client:
            for request in accepted:
                ended = until(lambda i=str(request.id): over(client.task(i)), 120)
                check(client, request, ended)
        assert system.stop() == (0, 0, 0)
    assert sum(kills.values()) >= 15, kills


def a_task(chance: random.Random) -> TaskRequest:
    """One that may be repeated, or not, on any of the nodes."""
    retry = Retry(attempts=5, safe=True) if chance.random() < 0.3 else Retry()
    node = chance.choice([None, "edge-1", "edge-2"])
    script = EFFECT.format(seconds=round(chance.uniform(0, 1.5), 2))
    return TaskRequest(id=new_id("t", CLOCK.wall()), script=script, node=node, retry=retry)


def submitted(client: Client, request: TaskRequest) -> bool:
    """Whether it was accepted; asked again with the same id while nobody answers, or the edge was not heard of yet."""
    try:
        return client.submit_task(request).id == request.id
    except PeerUnreachable:
        return False
    except EcnodeError as error:
        assert "no edge is called" in error.message, error
        return False


def over(task: Task) -> Task | None:
    return task if task.state in TASK_LIFE.terminal else None


def check(client: Client, request: TaskRequest, ended: Task) -> None:
    effects = until(lambda: client.task_log(ended.id), 60).split().count(b"effect")
    if request.retry.safe:
        assert ended.state == "finished", ended
        assert effects >= 1
    else:
        assert (ended.state, ended.attempt, effects) == ("finished", 1, 1), ended


@pytest.mark.drill
def test_a_hundred_running_tasks_are_found_again_within_a_second(assets) -> None:
    with LocalSystem(0, [], assets, pace=FAST, tasks="at_once = 128") as system:
        system.start()
        with connect(system) as client:
            ids = [client.submit_task(TaskRequest(command=("sleep", "300"))).id for _ in range(100)]
            until(lambda: running(client) == 100, 60)
            before = {id: (system.data_root(CLOUD) / "tasks" / id / "1.1" / "identity").read_text() for id in ids}
            system.kill(CLOUD)
            system.restart(CLOUD)
            began = CLOCK.monotonic()
            until(lambda: running(client) == 100, 10, every=0.01)
            assert CLOCK.monotonic() - began <= 1.0
            after = {id: (system.data_root(CLOUD) / "tasks" / id / "1.1" / "identity").read_text() for id in ids}
            assert after == before
            for id in ids:
                client.stop_task(id)
            until(lambda: all(over(client.task(id)) for id in ids), 60)


def running(client: Client) -> int:
    found = re.search(r"^\w*tasks_running (\d+)", client.metrics(), re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.mark.drill
async def test_a_thousand_short_tasks_leave_no_descriptor_no_zombie_and_no_memory(tmp_path: Path) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1", at_once=8)).live()
    me = psutil.Process()

    async def some(count: int) -> None:
        tasks = [await desk.controller.submit(TaskRequest(command=("true",))) for _ in range(count)]
        for task, _ in tasks:
            assert (await desk.until(task.id)).state == "finished"

    await some(200)  # what is made once is there by then
    before = (me.num_fds(), me.memory_info().rss)
    for _ in range(10):
        await some(100)
    after = (me.num_fds(), me.memory_info().rss)
    assert after[0] <= before[0]
    assert after[1] - before[1] < 8 * 2**20
    assert not [child for child in me.children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]
    await desk.die()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of few MiB at `folder`; what gives it room again is `unlink` of the file that it gives."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder / "ballast"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)


@pytest.mark.drill
async def test_a_full_disk_under_the_work_folders_makes_tasks_wait_and_say_why(tmp_path: Path) -> None:
    with small_disk(tmp_path / "tasks") as ballast:
        desk = await Desk(tmp_path, Rules("cloud-1")).live()
        fill(ballast)
        task = await desk.submit("print('done')")
        async with CLOCK.timeout(10):
            while "No space left" not in (waiting := await desk.store.tasks.get(task.id)).reason:
                await CLOCK.sleep(0.01)
        assert waiting.state not in TASK_LIFE.terminal
        ballast.unlink()
        async with CLOCK.timeout(RECOVERY_S):
            assert (await desk.until(task.id)).state == "finished"
        assert await desk.log(task.id) == "done\n"
        await desk.die()


@pytest.mark.drill
async def test_a_full_disk_under_the_blobs_refuses_uploads_and_nothing_else(tmp_path: Path) -> None:
    with small_disk(tmp_path / "objects") as ballast:
        desk = await Desk(tmp_path, Rules("cloud-1")).live()
        fill(ballast)
        (tmp_path / "rows").write_bytes(os.urandom(2**20))
        with pytest.raises(StorageFailed):
            await desk.blobs.put(tmp_path / "rows")
        task = await desk.until((await desk.submit("open('artifacts/model', 'w').write('w'); print('done')")).id)
        assert (task.state, await desk.log(task.id)) == ("finished", "done\n")
        ballast.unlink()
        assert (await desk.blobs.put(tmp_path / "rows")).size == 2**20
        await desk.die()
