"""How is a joint task taken through its rounds?

Its parts are tasks of their own, driven and told of as any other; what is added here is when they may start and what their ends
mean. Everything is decided from the rows of the parts, so a node that was killed decides the same again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from node.clock import Clock
from node.errors import EcnodeError, Invalid, Unavailable
from node.model.task import ARTIFACTS_MOST, Artifact, DataFile, Failure, Joint, Task, TaskRequest, TaskState
from node.model.wire.task import SOURCES_MOST
from node.roles.shared import task_logs
from node.roles.shared.joint_log import JointLog
from node.roles.shared.joint_rules import (
    COMBINE,
    GiveUp,
    Start,
    as_data,
    barrier,
    combine_id,
    is_over,
    outcome,
    planned_combine,
    planned_parts,
)
from node.roles.shared.task_link import LOG_WAIT_S, NOT_YET_S, TaskLink
from node.roles.shared.task_logs import LogPart
from node.roles.shared.task_policy import Circle
from node.roles.shared.task_runtime import TaskRuntime, blobs_of
from node.storage.tasks import REASON_MOST, Planned, Step, Tasks

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0  # how often it is looked whether edges are still there
AGAIN_S: Final = 1.0
LARGE_BYTES: Final = 4 * 2**20
FIRST_WAVE: Final = 2
TURN_S: Final = 20.0  # a turn comes, whatever becomes of those before
_HAVE: Final = {TaskState.READY, TaskState.STARTING, TaskState.RUNNING, TaskState.FINISHED}


class Driver(Protocol):
    """Who drives tasks."""

    def drive(self, id: str) -> None:
        """Sees to it that a task is driven."""

    def look(self, id: str) -> None:
        """Has the loop of a task look at it again."""

    async def log_grown(self, id: str, offset: int) -> Task:
        """A task that runs here, once it has said more or is over."""


class JointTasks:
    """The joint tasks that this node has accepted."""

    def __init__(  # noqa: PLR0917 - what only the controller of all tasks brings together
        self, store: Tasks, runtime: TaskRuntime, link: TaskLink | None, clock: Clock, circle: Circle, driver: Driver
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._link = link
        self._clock = clock
        self._circle = circle
        self._driver = driver
        self._bells: dict[str, set[asyncio.Event]] = {}  # of those who wait for news of a task, or of its parts
        self._driven: set[str] = set()
        store.watch(self._heard)

    def plan(self, task: Task, request: TaskRequest) -> tuple[Task, list[Planned]]:
        """The joint task and the parts of its first round.

        Raises:
            Invalid: an edge is not known, or there are too few.
        """
        joint = request.joint or Joint()
        known = sorted(self._circle.edges())
        nodes = joint.nodes or tuple(known)
        if unknown := [node for node in nodes if node not in known]:
            raise Invalid(
                f"no edge is called '{unknown[0]}' here", hint=f"edges that were heard of: {', '.join(known) or 'none'}"
            )
        if len(nodes) < max(joint.quorum or 1, 1):
            raise Invalid(f"{len(nodes)} edges are there, {joint.quorum or 1} are needed")
        task = task.replace(parts=len(nodes), round=1)
        return task, planned_parts(task, request, nodes, 1, ())

    async def drive(self, task: Task) -> None:
        """Takes the joint task from where it stands to its end; raises what the store raises."""
        self._driven.add(task.id)
        try:
            await self._drive(task)
        finally:
            self._driven.discard(task.id)

    async def _drive(self, task: Task) -> None:
        joint = (await self._store.request(task.id)).joint or Joint()
        merging = JointLog(self._runtime.output(task.id, task.revision, 1), self, self._clock)
        await merging.open()
        while not is_over(task):
            task = await self._round(task, joint, merging)

    def drives(self, id: str) -> bool:
        """Whether a task is a joint one that is under way here."""
        return id in self._driven

    async def turn(self, part: Task) -> tuple[str, ...]:
        """Waits until it is a part's turn to be sent to its edge; the edges that can give it the blobs.

        What is large goes to two edges, then to two more for each that has it: the cloud sends it twice, not once an edge.
        """
        if not part.parent or not part.held:
            return ()
        spec = await self._store.spec(part.id)
        if sum([(await self._runtime.size(blob)) for blob in blobs_of(spec)]) < LARGE_BYTES:
            return ()
        end = self._clock.monotonic() + TURN_S
        with self._news_of(part.parent) as news:
            while True:
                news.clear()
                parts = await self._store.parts(part.parent, part.round)
                have = [one.node for one in parts if one.id != part.id and one.state in _HAVE]
                place = next((place for place, one in enumerate(parts) if one.id == part.id), 0)
                left = end - self._clock.monotonic()
                if place < FIRST_WAVE * (1 + len(have)) or left <= 0 or (await self._store.get(part.id)).stopping:
                    return tuple(have[-SOURCES_MOST:])
                await self._wait(news, left)

    # What the log asks for

    async def part(self, id: str) -> Task:
        """The part as it stands."""
        return await self._store.get(id)

    async def changed(self, known: Task) -> Task:
        """The part once it stands otherwise, or after a while."""
        with self._news_of(known.id) as news:
            part = await self._store.get(known.id)
            if part == known:
                await self._wait(news, LOOK_S)
                part = await self._store.get(known.id)
        return part

    async def said(self, part: Task, attempt: int, offset: int) -> LogPart:
        """What an attempt said behind an offset; waits a while where that is nothing yet."""
        waits = not is_over(part) and attempt == part.attempt
        if self._link is not None and part.node != part.origin:
            found = await self._link.log(part, attempt, offset, wait=LOG_WAIT_S if waits else 0.0)
            if waits and not found.content:
                await self._clock.sleep(NOT_YET_S)  # where it is over there, its end is on the way here
            return found
        if waits:
            await self._driver.log_grown(part.id, offset)
        return task_logs.read(self._runtime.output(part.id, part.revision, attempt), offset)

    # One round

    async def _round(self, task: Task, joint: Joint, merging: JointLog) -> Task:
        try:
            async with asyncio.TaskGroup() as group:
                parts = await self._parts(task)
                for part in parts:
                    self._driver.drive(part.id)
                    group.create_task(merging.follow(part.id, part.node), name=f"log of {part.id}")
                if task.state is TaskState.CREATED:
                    task = await self._store.advance(task.id, Step("stage", changes={"attempt": 1}))
                if task.state is TaskState.STAGING:
                    task = await self._start_together(task, joint)
                ending: Step | list[Planned] | None = await self._end_of_parts(task, joint)
                if ending is None:
                    ending = await self._combined(task, joint, merging, group)
        except* EcnodeError as refused:
            raise refused.exceptions[0] from None
        if isinstance(ending, Step):  # told once every line of the round is in the log
            return await self._store.advance(task.id, ending)
        reason = f"round {task.round} of {joint.rounds} is over"
        return await self._store.next_round(task.id, task.round + 1, reason, ending)

    async def _parts(self, task: Task) -> list[Task]:
        parts = await self._store.parts(task.id, task.round)
        return [part for part in parts if part.id != combine_id(task, task.round)]

    def _quorum(self, joint: Joint, parts: Sequence[Task]) -> int:
        return joint.quorum or len(parts)

    async def _start_together(self, task: Task, joint: Joint) -> Task:
        """Waits until the parts may start and has them start; the task as it was where they never will."""
        end = self._clock.monotonic() + joint.deadline_s
        with self._news_of(task.id) as news:
            while True:
                news.clear()
                task, parts = await self._store.get(task.id), await self._parts(task)
                verdict = barrier(parts, self._quorum(joint, parts), late=self._clock.monotonic() >= end)
                if task.stopping or isinstance(verdict, GiveUp):
                    return task
                if isinstance(verdict, Start):
                    return await self._release(task, verdict)
                if verdict.reason[:REASON_MOST] != task.reason:
                    await self._store.note(task.id, reason=verdict.reason[:REASON_MOST])
                    continue
                await self._wait(news, max(min(LOOK_S, end - self._clock.monotonic()), 0.0))

    async def _release(self, task: Task, verdict: Start) -> Task:
        begun: dict[str, object] = {} if task.started_at else {"started_at": self._clock.wall()}
        steps = (Step("prepare", verdict.reason), Step("start"), Step("run", changes=begun))
        task = await self._store.release(task.id, verdict.parts, *steps)
        for part in verdict.parts:
            self._driver.look(part)
        return task

    async def _end_of_parts(self, task: Task, joint: Joint) -> Step | None:
        """Waits until all parts are over; how the joint task ends by that, None where it goes on."""
        started = task.state is TaskState.RUNNING
        doomed = "" if started else await self._why_not(task, joint)
        with self._news_of(task.id) as news:
            while True:
                news.clear()
                task, parts = await self._store.get(task.id), await self._parts(task)
                verdict = outcome(parts, self._quorum(joint, parts))
                if isinstance(verdict, GiveUp):
                    doomed = doomed or verdict.reason
                ends = bool(doomed) or task.stopping
                for part in parts:
                    if not is_over(part):
                        await self._see_to(part, joint, ends=ends or (started and part.held))
                if all(map(is_over, parts)):
                    break
                await self._wait(news, LOOK_S)
        if task.stopping:
            return Step("stop", "stopped")
        return Step("fail", f"{Failure.QUORUM}: {doomed}"[:REASON_MOST]) if doomed else None

    async def _why_not(self, task: Task, joint: Joint) -> str:
        parts = await self._parts(task)
        verdict = barrier(parts, self._quorum(joint, parts), late=True)
        return verdict.reason

    async def _see_to(self, part: Task, joint: Joint, *, ends: bool) -> None:
        """Has a part stop that is to end, and gives up one whose edge is not heard of."""
        if ends and not part.stopping:
            await self._store.note(part.id, stopping=True)
            self._driver.look(part.id)
        if (silent := self._circle.silent(part.node)) >= joint.absent_s:
            if self._link is not None:
                await self._link.order_stop(part)  # should it come back
            reason = f"{Failure.LOST}: {part.node} was not heard of for {silent:.0f} s"
            await self._store.advance(part.id, Step("fail", reason))
            self._driver.look(part.id)

    # What becomes of what they made

    async def _combined(self, task: Task, joint: Joint, merging: JointLog, group: asyncio.TaskGroup) -> Step | list[Planned]:
        """The parts of the next round, or how the joint task ends."""
        parts = await self._parts(task)
        finished = await self._gathered(parts, joint)
        if len(finished) < self._quorum(joint, parts):
            return Step("fail", f"{Failure.QUORUM}: what {len(parts) - len(finished)} edges have made did not come")
        if joint.combine is None:
            return Step("finish", changes={"code": 0, "artifacts": _all_of(finished)})
        planned = planned_combine(task, joint, finished, await self._before(task))
        combining, _ = await self._store.create(*planned)
        self._driver.drive(combining.id)
        group.create_task(merging.follow(combining.id, COMBINE), name=f"log of {combining.id}")
        with self._news_of(task.id) as news:
            while not is_over(combining):
                news.clear()
                if (await self._store.get(task.id)).stopping and not combining.stopping:
                    await self._store.note(combining.id, stopping=True)
                    self._driver.look(combining.id)
                combining = await self._store.get(combining.id)
                if not is_over(combining):
                    await self._wait(news, LOOK_S)
        if combining.state is TaskState.STOPPED:
            return Step("stop", "stopped")
        if combining.state is TaskState.FAILED:
            return Step("fail", combining.reason, {"code": combining.code})
        if task.round >= joint.rounds:
            return Step("finish", changes={"code": 0, "artifacts": combining.artifacts})
        nodes = [part.node for part in parts]
        following = task.round + 1
        return planned_parts(task, await self._store.request(task.id), nodes, following, as_data(combining.artifacts))

    async def _before(self, task: Task) -> tuple[DataFile, ...]:
        if task.round < 2:
            return ()
        return as_data((await self._store.get(combine_id(task, task.round - 1))).artifacts)

    async def _gathered(self, parts: Sequence[Task], joint: Joint) -> list[Task]:
        """The parts that have finished and whose artifacts are here; waits `deadline_s` for those of edges that are away."""
        end = self._clock.monotonic() + joint.deadline_s
        missing = [part for part in parts if part.state is TaskState.FINISHED]
        here: list[Task] = []
        while True:
            came = await asyncio.gather(*map(self._came, missing))
            here += [part for part, whole in zip(missing, came, strict=True) if whole]
            missing = [part for part, whole in zip(missing, came, strict=True) if not whole]
            if not missing or self._clock.monotonic() >= end:
                return sorted(here, key=parts.index)
            await self._clock.sleep(AGAIN_S)

    async def _came(self, part: Task) -> bool:
        try:
            for artifact in part.artifacts:
                await self._runtime.fetch(artifact.blob, part.node)
        except Unavailable as error:
            log.warning("a part's artifact is not here yet", extra={"task": part.id, "reason": error.message})
            return False
        return True

    # News

    def _heard(self, task: Task) -> None:
        for name in filter(None, (task.id, task.parent)):
            for bell in self._bells.get(name, ()):
                bell.set()

    @contextmanager
    def _news_of(self, id: str) -> Iterator[asyncio.Event]:
        """An event that is set when a task or one of its parts changes: clear it, look, then wait."""
        news = asyncio.Event()
        self._bells.setdefault(id, set()).add(news)
        try:
            yield news
        finally:
            self._bells[id].discard(news)
            if not self._bells[id]:
                del self._bells[id]

    async def _wait(self, news: asyncio.Event, most: float) -> None:
        with suppress(TimeoutError):
            async with self._clock.timeout(most):
                await news.wait()


def _all_of(finished: Sequence[Task]) -> tuple[Artifact, ...]:
    return tuple(one.replace(path=f"{part.node}/{one.path}") for part in finished for one in part.artifacts)[:ARTIFACTS_MOST]
