"""Tasks on real nodes: over HTTP and the command line, through a kill of the node."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from systems import FAST, connect, until

from node.cli import run
from node.cli.system import CLOUD, LocalSystem
from node.errors import NotFound
from node.model.task import TaskChange, TaskRequest

COUNTING = """
import sys, time
for n in range(400):
    print("line", n, flush=True)
    time.sleep(0.002)
    if n == 150: time.sleep(2)  # it sees no file that could tell it to go on
sys.exit(3)
"""


@pytest.fixture(scope="module")
def system(assets):
    with LocalSystem(1, [], assets, pace=FAST) as running:
        running.start()
        yield running


def test_a_task_is_run_and_its_exit_code_is_the_commands(system, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "hello.py"
    script.write_text("import sys; print('hello', sys.argv[1]); sys.exit(4)")
    here = ["--url", system.url(CLOUD), "--token-file", str(system.token_file(CLOUD))]
    assert run([*here, "tasks", "submit", str(script), "you"]) == 4
    said = capsys.readouterr()
    assert said.out == "hello you\n"
    assert "failed in" in said.err
    assert run([*here, "tasks", "logs", "-f"]) == 4
    assert run([*here, "tasks", "logs", "-n", "1", "hello.py"]) == 0
    assert capsys.readouterr().out == "hello you\nhello you\n"
    assert run([*here, "tasks", "list", "--state", "failed", "-o", "name"]) == 0
    assert capsys.readouterr().out.startswith("t-")


def test_a_followed_task_outlives_a_kill_of_its_node_and_no_line_is_lost(system) -> None:
    lines: list[str] = []
    with connect(system) as client:
        task = client.submit_task(TaskRequest(script=COUNTING))

        def follow() -> None:
            with connect(system) as follower:
                lines.extend(str(event.data["text"]) for event in follower.follow_task(task.id) if event.event == "log")

        following = threading.Thread(target=follow)
        following.start()
        until(lambda: "line 150" in "".join(lines))
        url = system.url(CLOUD)
        system.kill(CLOUD)
        system.restart(CLOUD)
        assert system.url(CLOUD) == url
        ended = until(lambda: (found := client.task(task.id)).ended_at is not None and found)
        following.join(30)
    assert (ended.state, ended.code, ended.attempt) == ("failed", 3, 1)
    assert "".join(lines).split("\n") == [*(f"line {number}" for number in range(400)), ""]


def test_a_task_is_described_and_stopped_over_http(system) -> None:
    with connect(system) as client:
        task = client.submit_task(TaskRequest(script="import time; time.sleep(100)", name="sleeper"))
        assert client.describe_task("sleeper", TaskChange(description="sleeps")).description == "sleeps"
        until(lambda: client.task(task.id).state == "running")
        assert client.stop_task(task.id).stopping
        assert until(lambda: (found := client.task(task.id)).ended_at is not None and found).state == "stopped"
        assert client.task_history(task.id)[-1].event == "stop"
        with pytest.raises(NotFound):
            client.task("nobody")


def test_a_task_on_an_edge_outlives_a_kill_of_the_edge_and_its_artifacts_come_to_the_cloud(system) -> None:
    with connect(system) as client:
        until(lambda: {view.report.name for view in client.nodes()} >= {CLOUD, "edge-1"})
        text = COUNTING.replace("sys.exit(3)", "open('artifacts/model', 'w').write('weights'); sys.exit(3)")
        task = client.submit_task(TaskRequest(script=text, node="edge-1"))
        until(lambda: client.task(task.id).state == "running")
        until(lambda: b"line 150" in client.task_log(task.id))
        system.kill("edge-1")
        system.restart("edge-1")
        ended = until(lambda: (found := client.task(task.id)).ended_at is not None and found)
        assert (ended.state, ended.code, ended.attempt, ended.node) == ("failed", 3, 1, "edge-1")
        assert client.task_log(task.id).decode().split() == [word for n in range(400) for word in ("line", str(n))]
        until(lambda: client.has_blob(ended.artifacts[0].blob))
        assert [step.event for step in client.task_history(task.id)] == ["create", "stage", "run", "fail"]


def test_a_task_on_an_edge_is_followed_and_stopped(system) -> None:
    with connect(system) as client:
        task = client.submit_task(TaskRequest(script="print('up', flush=True)\nimport time; time.sleep(100)", node="edge-1"))
        events = client.follow_task(task.id)
        while next(events).data.get("text") != "up\n":
            pass
        client.stop_task(task.id)
        assert [event.event for event in events][-1] == "end"
        assert client.task(task.id).state == "stopped"


def test_a_task_on_an_edge_comes_to_do_something_else_and_what_cannot_be_made_ready_changes_nothing(system) -> None:
    with connect(system) as client:
        task = client.submit_task(TaskRequest(script="print('up', flush=True)\nimport time; time.sleep(100)", node="edge-1"))
        until(lambda: b"up" in client.task_log(task.id))
        bad = b"PK\x03\x04 no archive"
        client.revise_task(task.id, {"bundle": client.put_blob([bad], hashlib.sha256(bad).hexdigest(), len(bad)).id})
        kept = until(lambda: (found := client.task(task.id)).reason and found)
        assert (kept.state, kept.revision, client.task_history(task.id)[-1].event) == ("running", 1, "keep")
        client.revise_task(task.id, {"script": "print('second')"})
        ended = until(lambda: (found := client.task(task.id)).ended_at is not None and found)
        assert (ended.state, ended.revision, client.task_log(task.id)) == ("finished", 2, b"second\n")
        assert client.task_log(client.retry_task(task.id).id) in {b"", b"second\n"}
