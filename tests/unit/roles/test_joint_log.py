"""The merged log of a joint task: whole lines, each once, whatever cuts in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.errors import PeerUnreachable
from node.model.task import Task, TaskState
from node.roles.shared import joint_log
from node.roles.shared.joint_log import JointLog
from node.roles.shared.task_logs import LogPart

CLOCK = SystemClock()


class Talker:
    """A part whose log grows as a test says."""

    def __init__(self, node: str = "edge-1") -> None:
        self.task = Task(id="t-" + "0" * 26, state="created", node=node, created_at=1.0, updated_at=1.0)
        self.logs: dict[int, bytes] = {}
        self.news = asyncio.Event()
        self.away = False

    def say(self, content: bytes, attempt: int = 1) -> None:
        self.logs[attempt] = self.logs.get(attempt, b"") + content
        self.task = self.task.replace(attempt=attempt, started_at=1.0, state=TaskState.RUNNING)
        self.news.set()

    def end(self) -> None:
        self.task = self.task.replace(state=TaskState.FINISHED)
        self.news.set()

    async def part(self, id: str) -> Task:
        return self.task

    async def changed(self, known: Task) -> Task:
        await self.news.wait()
        return self.task

    async def said(self, part: Task, attempt: int, offset: int) -> LogPart:
        if self.away:
            raise PeerUnreachable("away")
        content = self.logs.get(attempt, b"")
        if len(content) <= offset and part.state is TaskState.RUNNING and attempt == self.task.attempt:
            self.news.clear()
            await self.news.wait()
        content = self.logs.get(attempt, b"")
        return LogPart(offset, content[offset:], len(content))


@pytest.fixture
def talker() -> Talker:
    return Talker()


async def merged(tmp_path: Path, talker: Talker) -> str:
    log = JointLog(tmp_path / "log" / "output", talker, CLOCK)
    await log.open()
    await log.follow(talker.task.id, talker.task.node)
    return log.path.read_text()


async def test_lines_are_led_by_their_edge_and_only_whole_ones_are_told(tmp_path: Path, talker: Talker) -> None:
    log = JointLog(tmp_path / "output", talker, CLOCK)
    async with CLOCK.timeout(5.0), asyncio.TaskGroup() as group:
        group.create_task(log.follow(talker.task.id, "edge-1"))
        talker.say(b"one\ntw")
        while not (log.path.exists() and log.path.read_bytes()):
            await CLOCK.sleep(0.001)
        assert log.path.read_text() == "edge-1 | one\n"
        talker.say(b"o\n\nend")
        talker.end()
    assert log.path.read_text() == "edge-1 | one\nedge-1 | two\nedge-1 | \nedge-1 | end\n"


async def test_every_attempt_is_told_to_its_end(tmp_path: Path, talker: Talker) -> None:
    talker.say(b"first")
    talker.say(b"second\n", attempt=2)
    talker.end()
    assert await merged(tmp_path, talker) == "edge-1 | first\nedge-1 | second\n"


async def test_a_line_without_an_end_becomes_several(tmp_path: Path, talker: Talker) -> None:
    talker.say(b"x" * (joint_log.LINE_MOST + 1))
    talker.end()
    assert [len(line) for line in (await merged(tmp_path, talker)).splitlines()] == [joint_log.LINE_MOST + 9, 10]


async def test_the_next_life_goes_on_where_the_last_was_cut_off(tmp_path: Path, talker: Talker) -> None:
    talker.say(b"one\ntwo\n")
    log = JointLog(tmp_path / "log" / "output", talker, CLOCK)
    following = asyncio.create_task(log.follow(talker.task.id, "edge-1"))
    async with CLOCK.timeout(5.0):
        while not (log.path.exists() and log.path.read_bytes().endswith(b"two\n")):
            await CLOCK.sleep(0.001)
    following.cancel()
    with log.path.open("ab") as file:  # a kill between what is about to be added and all of it
        file.truncate(5)
    talker.say(b"three\n")
    talker.end()
    assert await merged(tmp_path, talker) == "edge-1 | one\nedge-1 | two\nedge-1 | three\n"


async def test_a_part_that_never_started_has_nothing_to_tell(tmp_path: Path, talker: Talker) -> None:
    talker.task = talker.task.replace(state=TaskState.STOPPED, attempt=1)
    talker.away = True
    log = JointLog(tmp_path / "output", talker, CLOCK)
    async with CLOCK.timeout(1.0):
        await log.follow(talker.task.id, "edge-1")
    assert not log.path.exists()


async def test_an_edge_that_stays_away_after_the_end_keeps_the_rest(
    tmp_path: Path, talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_log, "AWAY_S", 0.001)
    monkeypatch.setattr(joint_log, "PATIENCE_S", 0.003)
    talker.say(b"one\n")
    talker.end()
    talker.away = True
    async with CLOCK.timeout(5.0):
        await JointLog(tmp_path / "output", talker, CLOCK).follow(talker.task.id, "edge-1")
