"""Joint tasks on real nodes: one barrier, one log, one outcome, through kills of an edge and of the cloud."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from systems import FAST, connect, until

from node.cli import run
from node.cli.system import CLOUD, LocalSystem
from node.client import Client
from node.model.task import TASK_LIFE, Task, TaskRequest

EDGES = ("edge-1", "edge-2")
LINES = 200
COUNTING = f"""
import json, time
told = json.load(open("config.json"))["joint"]
for n in range({LINES}):
    print("round", told["round"], "line", n, flush=True)
    time.sleep(0.001)
    if n == 100 and told["round"] == 1: time.sleep(1.0)  # the kill comes here
open("artifacts/share", "w").write(str(told["part"] + 1))
"""
ADDING = """
import json, pathlib
told = json.load(open("config.json"))["joint"]
total = sum(int(pathlib.Path("data", node, "share").read_text()) for node in told["nodes"])
before = pathlib.Path("data/before/total")
total += int(before.read_text()) if before.exists() else 0
print("total", total)
pathlib.Path("artifacts/total").write_text(str(total))
"""
SLEEPING = "import time; print('up', flush=True); time.sleep(100)"


@pytest.fixture(scope="module")
def system(assets):
    with LocalSystem(len(EDGES), [], assets, pace=FAST) as running:
        running.start()
        yield running


@pytest.fixture
def client(system):
    with connect(system) as client:
        until(lambda: {view.report.name for view in client.nodes() if view.state == "ready"} >= {*EDGES})
        yield client


def ended(client: Client, id: str) -> Task:
    return until(lambda: (found := client.task(id)).state in TASK_LIFE.terminal and found)


class Following:
    """A thread that follows a log through whatever happens."""

    def __init__(self, system: LocalSystem, id: str) -> None:
        self._system, self._id = system, id
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with connect(self._system) as client:
            for event in client.follow_task(self._id):
                if event.event == "log":
                    self.lines.extend(str(event.data["text"]).splitlines())

    def whole(self) -> list[str]:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.lines


def expected(rounds: int) -> set[str]:
    return {f"{edge} | round {r} line {n}" for edge in EDGES for r in range(1, rounds + 1) for n in range(LINES)}


def test_an_edge_is_killed_in_the_middle_and_no_line_and_no_share_is_missing(system, client) -> None:
    joint = {"rounds": 2, "combine": {"script": ADDING}}
    task = client.submit_task(TaskRequest.model_validate({"name": "sum", "script": COUNTING, "joint": joint}))
    assert (task.parts, task.round) == (2, 1)
    following = Following(system, task.id)
    until(lambda: "edge-1 | round 1 line 100" in following.lines)
    system.kill("edge-1")
    system.restart("edge-1")
    over = ended(client, task.id)
    assert (over.state, over.reason, over.round, over.code) == ("finished", "", 2, 0)
    lines = following.whole()
    assert sorted(lines) == sorted([*expected(2), "combine | total 3", "combine | total 6"])
    assert b"".join(client.get_blob(over.artifacts[0].blob)) == b"6"
    for number in (1, 2):
        parts = client.task_parts(task.id, number)
        assert [(part.node, part.state, part.attempt) for part in parts] == [
            ("edge-1", "finished", 1),
            ("edge-2", "finished", 1),
            ("cloud-1", "finished", 1),
        ]
        started = [part.started_at for part in parts[:2]]
        assert abs(started[0] - started[1]) < 1.0  # 250 ms where nothing else runs: docs/decisions/0026
    assert client.tasks().items[0].id == task.id, "parts are not among the tasks that are listed"


def test_the_cloud_is_killed_in_the_middle_and_takes_the_joint_task_to_its_end(system, client) -> None:
    task = client.submit_task(TaskRequest.model_validate({"script": COUNTING, "joint": {"nodes": EDGES}}))
    following = Following(system, task.id)
    until(lambda: any(line.endswith("line 100") for line in following.lines))
    system.kill(CLOUD)
    system.restart(CLOUD)
    over = ended(client, task.id)
    assert (over.state, [one.path for one in over.artifacts]) == ("finished", ["edge-1/share", "edge-2/share"])
    assert sorted(following.whole()) == sorted(expected(1))


def test_a_stop_reaches_every_part(system, client, capsys: pytest.CaptureFixture[str]) -> None:
    task = client.submit_task(TaskRequest.model_validate({"name": "naps", "script": SLEEPING, "joint": {}}))
    until(lambda: {part.state for part in client.task_parts(task.id)} == {"running"})
    assert client.stop_task(task.id).stopping
    assert ended(client, task.id).state == "stopped"
    assert {part.state for part in client.task_parts(task.id)} == {"stopped"}
    here = ["--url", system.url(CLOUD), "--token-file", str(system.token_file(CLOUD))]
    assert run([*here, "tasks", "parts", "naps"]) == 0
    assert "naps/edge-2" in capsys.readouterr().out


def test_a_part_that_fails_ends_the_others_where_all_are_needed(client) -> None:
    script = 'import json, sys, time\nif json.load(open("config.json"))["joint"]["part"]: sys.exit(7)\ntime.sleep(100)'
    task = client.submit_task(TaskRequest.model_validate({"script": script, "joint": {}}))
    over = ended(client, task.id)
    assert over.state == "failed"
    assert over.reason.startswith("quorum: 1 of 2 can finish, 2 are needed; ")
    assert "edge-2: exit: 7" in over.reason
    assert [part.state for part in client.task_parts(task.id)] == ["stopped", "failed"]


def test_a_quorum_starts_after_the_deadline_without_the_edge_that_is_away(system, client, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("print('hello')")
    (tmp_path / "joint.toml").write_text('file = "hello.py"\n[joint]\nquorum = 1\ndeadline_s = 1.0\n')
    here = ["--url", system.url(CLOUD), "--token-file", str(system.token_file(CLOUD))]
    system.kill("edge-2")
    try:
        assert run([*here, "tasks", "submit", str(tmp_path / "joint.toml"), "--detach"]) == 0
        over = ended(client, "@last")
        assert (over.name, over.state, [one.state for one in client.task_parts("@last")]) == (
            "joint",
            "finished",
            ["finished", "stopped"],
        )
    finally:
        system.restart("edge-2")
    with connect(system, "edge-2"):
        task = client.submit_task(TaskRequest.model_validate({"script": "print('back')", "joint": {}}))
        assert ended(client, task.id).state == "finished"
