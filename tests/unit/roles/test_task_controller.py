"""What becomes of tasks, over real processes, through stops, limits and the ends of the node."""

from __future__ import annotations

import asyncio
import hashlib
import io
import signal
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tasking import CLOCK, Desk

from node.errors import Conflict, Forbidden, Malformed, NotFound, Stale
from node.model.task import TaskChange, TaskRequest, TaskSpec, TaskState
from node.model.value import new_id
from node.pipeline.federated.identity import load_or_create
from node.pipeline.task.signing import digest_of, sign
from node.roles.shared.task_policy import Rules
from node.roles.shared.task_runtime import Attempt
from node.storage.tasks import Step

SLEEP = "import time; print('up', flush=True); time.sleep(100)"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = await Desk(tmp_path, Rules("cloud-1", at_once=8)).live()
    yield desk
    for task in await desk.store.tasks.live():
        await desk.controller.stop(task.id)
        await desk.until(task.id)
    await desk.die()


async def test_a_script_runs_to_its_end_with_config_arguments_and_data(desk: Desk) -> None:
    (desk.root / "rows").write_text("1,2")
    blob = await desk.blobs.put(desk.root / "rows")
    text = (
        "import json, os, sys\n"
        "print(sys.argv[1:], json.load(open(os.environ['ECNODE_CONFIG'])), open('data/a/rows').read())\n"
        "open('artifacts/model', 'w').write('weights')\n"
        "os.write(int(os.environ['ECNODE_LOG_FD']), b'epoch 1\\n')"
    )
    data = [{"path": "a/rows", "blob": blob.id}]
    task = await desk.until((await desk.submit(text, args=["x"], config={"epochs": 5}, data=data)).id)
    assert (task.state, task.code, task.reason, task.attempt) == (TaskState.FINISHED, 0, "", 1)
    assert await desk.log(task.id) == "['x'] {'epochs': 5} 1,2\n"
    assert [(one.path, one.size) for one in task.artifacts] == [("model", 7)]
    assert await desk.blobs.read(task.artifacts[0].blob, 0, 7) == b"weights"
    steps = [(step.event, step.state) for step in await desk.controller.events(task.id)]
    assert steps == [
        ("create", "created"),
        ("stage", "staging"),
        ("prepare", "ready"),
        ("start", "starting"),
        ("run", "running"),
        ("note", "running"),
        ("finish", "finished"),
    ]
    async with CLOCK.timeout(10):
        while desk.controller.drives(task.id):
            await CLOCK.sleep(0.005)
    assert not (desk.root / "tasks" / task.id / "1.1" / "work").exists()


async def test_a_true_code_a_signal_and_a_limit_are_told(desk: Desk) -> None:
    tasks = [
        await desk.submit("raise SystemExit(7)"),
        await desk.submit("import os; os.kill(os.getpid(), 9)"),
        await desk.submit(SLEEP, limits={"wall_s": 0.1}),
    ]
    ended = [await desk.until(task.id) for task in tasks]
    assert [(task.state, task.code, task.reason) for task in ended] == [
        ("failed", 7, "exit: 7"),
        ("failed", None, "signal: 9"),
        ("failed", None, "limit: wall"),
    ]


async def test_a_hundred_submits_of_one_id_are_one_task_that_runs_once(desk: Desk) -> None:
    id = new_id("t", CLOCK.wall())
    text = f"open({str(desk.root / 'effects')!r}, 'a').write('x')"
    request = TaskRequest(id=id, script=text)
    answers = await asyncio.gather(*(desk.controller.submit(request) for _ in range(100)))
    assert sum(new for _, new in answers) == 1
    await desk.until(id)
    assert (desk.root / "effects").read_text() == "x"
    with pytest.raises(Conflict):
        await desk.controller.submit(request.replace(script="other"))


async def test_a_stop_ends_what_runs_and_twice_is_as_good_as_once(desk: Desk) -> None:
    task = await desk.submit(SLEEP)
    await desk.said(task.id, "up")
    assert (await desk.controller.stop(task.id)).stopping
    await desk.controller.stop(task.id)
    ended = await desk.until(task.id)
    assert (ended.state, ended.reason) == ("stopped", "stopped")
    assert (await desk.controller.stop(task.id)).state == "stopped"


async def test_a_task_that_waits_says_why_and_can_be_stopped_before_it_starts(tmp_path: Path) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1", at_once=1)).live()
    first, second = await desk.submit(SLEEP), await desk.submit("print('never')")
    await desk.said(first.id, "up")
    async with CLOCK.timeout(10):
        while "waits for a place" not in (await desk.store.tasks.get(second.id)).reason:
            await CLOCK.sleep(0.005)
    await desk.controller.stop(second.id)
    assert (await desk.until(second.id)).reason == "stopped before it started"
    third = await desk.submit("print('third')")
    await desk.controller.stop(first.id)
    assert (await desk.until(third.id)).state == "finished"
    assert await desk.log(second.id) == ""
    await desk.die()


async def test_what_fails_is_tried_again_as_often_as_was_asked(desk: Desk) -> None:
    text = f"import os; f = {str(desk.root / 'n')!r}; open(f, 'a').write('x'); raise SystemExit(os.path.getsize(f) < 3)"
    task = await desk.until((await desk.submit(text, retry={"attempts": 5})).id)
    assert (task.state, task.attempt) == ("finished", 3)
    again = await desk.submit("raise SystemExit(1)", retry={"attempts": 2})
    assert (await desk.until(again.id)).attempt == 2


async def test_a_running_task_outlives_its_node_and_is_followed_again(desk: Desk) -> None:
    text = (
        f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(desk.root / 'go')!r}): time.sleep(0.01)\n"
        "print('on')\nraise SystemExit(5)"
    )
    task = await desk.submit(text)
    await desk.said(task.id, "up")
    await desk.until(task.id, "running")
    await desk.die()
    (desk.root / "go").touch()
    await desk.live()
    ended = await desk.until(task.id)
    assert (ended.state, ended.code, ended.attempt) == ("failed", 5, 1)
    assert await desk.log(task.id) == "up\non\n"


@pytest.mark.parametrize("events", [(), ("stage",), ("stage", "prepare"), ("stage", "prepare", "start")], ids="-".join)
async def test_a_node_that_died_in_any_state_goes_on_where_it_was_and_runs_the_program_once(
    tmp_path: Path, events: tuple[str, ...]
) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1")).live(drive=False)
    task = await desk.submit(f"open({str(tmp_path / 'effects')!r}, 'a').write('x')")
    for event in events:
        await desk.store.tasks.advance(task.id, Step(event, changes={"attempt": 1} if event == "stage" else {}))
    if "prepare" in events:
        await desk.runtime.stage(Attempt(task.id, 1, 1, await desk.store.tasks.spec(task.id)))
    await desk.die()
    await desk.live()
    ended = await desk.until(task.id)
    assert (ended.state, ended.attempt) == ("finished", 1)
    assert (tmp_path / "effects").read_text() == "x"
    await desk.die()


async def test_a_start_that_was_not_recorded_is_found_and_not_done_twice(tmp_path: Path) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1")).live(drive=False)
    task = await desk.submit(f"open({str(tmp_path / 'effects')!r}, 'a').write('x')")
    steps = (Step("stage", changes={"attempt": 1}), Step("prepare"), Step("start"))
    await desk.store.tasks.advance(task.id, *steps)
    attempt = Attempt(task.id, 1, 1, await desk.store.tasks.spec(task.id))
    await desk.runtime.stage(attempt)
    await (await desk.runtime.start(attempt)).wait()
    await desk.die()
    await desk.live()
    assert (await desk.until(task.id)).state == "finished"
    assert (tmp_path / "effects").read_text() == "x"
    await desk.die()


@pytest.mark.parametrize(("retry", "state", "attempt"), [({}, "failed", 1), ({"attempts": 2, "safe": True}, "finished", 2)])
async def test_an_end_that_nobody_saw_is_lost_unless_the_task_may_be_repeated(
    desk: Desk, retry: dict[str, object], state: str, attempt: int
) -> None:
    text = f"import os, time\nif not os.path.exists({str(desk.root / 'go')!r}): print('up', flush=True); time.sleep(100)"
    task = await desk.submit(text, retry=retry)
    await desk.said(task.id, "up")
    await desk.until(task.id, "running")
    (desk.root / "go").touch()
    assert desk.controller._runs[task.id].shim.signal(signal.SIGKILL)
    ended = await desk.until(task.id)
    assert (ended.state, ended.attempt) == (state, attempt)
    assert ended.reason.startswith("lost") == (state == "failed")


async def test_an_archive_is_unpacked_and_a_bad_one_fails_with_its_reason(desk: Desk) -> None:
    good, bad = io.BytesIO(), desk.root / "bad"
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("run.py", "import lib.part; print(lib.part.WORD)")
        archive.writestr("lib/part.py", "WORD = 'unpacked'")
    (desk.root / "good").write_bytes(good.getvalue())
    bad.write_bytes(good.getvalue()[:-30])
    kept, broken = await desk.blobs.put(desk.root / "good"), await desk.blobs.put(bad)
    tasks = [(await desk.controller.submit(TaskRequest(bundle=blob.id, entry="run.py")))[0] for blob in (kept, broken)]
    assert (await desk.until(tasks[0].id)).state == "finished"
    assert await desk.log(tasks[0].id) == "unpacked\n"
    assert (await desk.until(tasks[1].id)).reason.startswith("staging: the archive cannot be read")


async def test_a_bundle_that_is_not_here_is_refused_at_the_door(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.controller.submit(TaskRequest(bundle="0" * 64))


@pytest.mark.parametrize("allow", ["none", "digest"])
async def test_whose_code_may_run_is_the_nodes_to_say(tmp_path: Path, allow: str) -> None:
    known = hashlib.sha256(b"pass").hexdigest()
    desk = await Desk(tmp_path, Rules("cloud-1", allow=allow, digests=frozenset({known}))).live()
    with pytest.raises(Forbidden):
        await desk.submit("print()")
    with pytest.raises(Forbidden):
        await desk.controller.submit(TaskRequest(command=("true",)))
    if allow == "digest":
        assert (await desk.until((await desk.submit("pass")).id)).state == "finished"
    await desk.die()


async def test_what_nobody_trusted_has_signed_is_refused_and_so_is_another_entry_under_the_same_signature(
    tmp_path: Path,
) -> None:
    mine, other = load_or_create(tmp_path / "mine"), load_or_create(tmp_path / "other")
    desk = await Desk(tmp_path, Rules("cloud-1", allow="signed", signers=(mine.public,))).live()
    digest = digest_of(b"pass")
    good = sign(mine.secret, digest, "main.py")
    assert (await desk.until((await desk.submit("pass", signature=good)).id)).state == "finished"
    for text, signature, entry in (
        ("pass", None, "main.py"),
        ("print()", good, "main.py"),
        ("pass", good, "other.py"),
        ("pass", sign(other.secret, digest, "main.py"), "main.py"),
    ):
        with pytest.raises(Forbidden):
            await desk.submit(text, signature=signature, entry=entry)
    with pytest.raises(Forbidden, match="command cannot be signed"):
        await desk.controller.submit(TaskRequest(command=("true",), signature=good))
    await desk.die()


async def test_a_description_changes_words_and_its_version_and_nothing_else(desk: Desk) -> None:
    task = await desk.submit("pass", name="first")
    await desk.until(task.id)
    changed = await desk.controller.describe("first", TaskChange(name="second"), 1)
    assert (changed.name, changed.version, changed.state) == ("second", 2, "finished")
    with pytest.raises(Stale):
        await desk.controller.describe("second", TaskChange(name="third"), 1)


async def test_a_retry_is_a_new_task_that_does_the_same(desk: Desk) -> None:
    task = await desk.submit("print('again')", name="n")
    with pytest.raises(Conflict):
        await desk.controller.retry((await desk.submit(SLEEP)).id)
    await desk.until(task.id)
    other, new = await desk.controller.retry(task.id)
    assert new
    await desk.until(other.id)
    assert await desk.log(other.id) == "again\n"


async def test_a_revision_takes_the_place_of_what_runs_under_the_same_id(desk: Desk) -> None:
    task = await desk.submit(SLEEP)
    await desk.said(task.id, "up")
    await desk.controller.revise(task.id, TaskSpec(script="print('second')"))
    ended = await desk.until(task.id)
    assert (ended.state, ended.revision, ended.attempt, ended.code) == ("finished", 2, 1, 0)
    assert await desk.log(task.id) == "second\n"
    with pytest.raises(Conflict):
        await desk.controller.revise(task.id, TaskSpec(script="print('third')"))


async def test_a_revision_that_cannot_be_made_ready_leaves_the_present_one_running(desk: Desk) -> None:
    (desk.root / "bad").write_bytes(b"PK\x03\x04 cut")
    blob = await desk.blobs.put(desk.root / "bad")
    task = await desk.submit(SLEEP)
    await desk.said(task.id, "up")
    with pytest.raises(Malformed):
        await desk.controller.revise(task.id, TaskSpec(bundle=blob.id))
    present = await desk.store.tasks.get(task.id)
    assert (present.state, present.revision) == ("running", 1)


async def test_a_node_that_died_between_the_order_and_the_change_makes_it_in_its_next_life(desk: Desk) -> None:
    task = await desk.submit(SLEEP)
    await desk.said(task.id, "up")
    await desk.until(task.id, "running")
    await desk.store.tasks.revise(task.id, TaskSpec(script="print('second')"))
    await desk.die()
    await desk.live()
    ended = await desk.until(task.id)
    assert (ended.state, ended.revision) == ("finished", 2)
    assert await desk.log(task.id) == "second\n"
