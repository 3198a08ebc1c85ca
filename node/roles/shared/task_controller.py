"""What becomes of the tasks that this node has accepted?

Each task that is not final is driven by one loop of its own, which reads its state from the store and takes the next step; a
node that starts again drives on from what the store says and what the folders of the attempts hold. Nothing here is remembered
that could not be found again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Forbidden, Invalid, NotBuilt, NotFound, Rejected, Unavailable
from node.model.process import Facts
from node.model.task import TASK_LIFE, Failure, GitSource, Task, TaskChange, TaskEvent, TaskRequest, TaskSpec, TaskState
from node.model.value import new_id
from node.roles.shared import task_logs
from node.roles.shared.joint_tasks import JointTasks
from node.roles.shared.runner.runner import Run
from node.roles.shared.task_git import GitSources
from node.roles.shared.task_link import LOG_WAIT_S, NOT_YET_S, TaskLink
from node.roles.shared.task_logs import LogPart
from node.roles.shared.task_policy import Rules, permit
from node.roles.shared.task_revisions import Revisions
from node.roles.shared.task_runtime import Attempt, TaskRuntime
from node.storage.tasks import NOTE, REASON_MOST, Step, Tasks, after_step

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0  # between two looks at whether a node is there
AGAIN_S: Final = 1.0  # after the disk refused, or no process could be started
STOP_GRACE: Final = 5.0
NOTES_KEPT: Final = 100  # lines of a script's own, of one attempt
_BEFORE_START: Final = {
    TaskState.CREATED: ("stage", "prepare", "start"),
    TaskState.STAGING: ("prepare", "start"),
    TaskState.READY: ("start",),
}  # and the steps from there to the start


class TaskController:
    """The tasks of a node, and the loops that drive them."""

    def __init__(  # noqa: PLR0917 - what only the composition root brings together
        self,
        store: Tasks,
        runtime: TaskRuntime,
        clock: Clock,
        rules: Rules,
        link: TaskLink | None = None,
        git: GitSources | None = None,
    ) -> None:
        self._git = git
        self._store = store
        self._runtime = runtime
        self._clock = clock
        self._rules = rules
        self._link = link
        self._bells: dict[str, asyncio.Event] = {}  # of tasks that run elsewhere
        self._revisions = Revisions(store, runtime, clock, self._allow)
        self._places = asyncio.Semaphore(rules.at_once)
        self._driven: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, Run] = {}
        self._ordered: dict[str, set[str]] = {}  # what another node was told to do, in this life of this one
        self._attempts: dict[str, int] = {}  # of those that are driven
        self._specs: dict[str, tuple[int, TaskSpec]] = {}  # with their revision, of those that are driven
        self._overs: dict[str, asyncio.Event] = {}  # set when a task that is driven here is over
        self._hints: dict[str, tuple[str, ...]] = {}  # other nodes that have the blobs of a task
        self._joint = JointTasks(store, runtime, link, clock, rules.circle, self)
        self._group: asyncio.TaskGroup | None = None

    @property
    def running(self) -> int:
        """How many programs of tasks run here."""
        return len(self._runs)

    async def run(self) -> None:
        """Drives every task that is not final; ends by cancellation, which ends no program."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            live = await self._store.live()
            for task in live:
                self._drive_on(task.id)
                if self._is_foreign(task):
                    self.prepare(task.id)
                    with suppress(Unavailable):  # its next step is told anyway
                        await self._report("found", task)
            await self._runtime.ladder()  # what runs already is followed before the next ones can start
            await self._runtime.sweep([task.id for task in live])
            await asyncio.get_running_loop().create_future()  # the loops are what runs from here on

    # What a caller may do

    async def submit(self, request: TaskRequest) -> tuple[Task, bool]:
        """The stored task and whether it is new; raises as `TaskRuntime.check` and `GitSources.bundle` do."""
        if request.git is not None:
            request = await self._fetched(request, request.git)
        await self._permit(request)
        now = self._clock.wall()
        task = Task(
            id=request.id or new_id("t", now),
            name=request.name,
            description=request.description,
            labels=request.labels,
            state=TaskState.CREATED,
            node=request.node or self._rules.name,
            origin=self._rules.name,
            created_at=now,
            updated_at=now,
        )
        if request.joint is None:
            task, new = await self._store.create(task, request)
        else:
            task, parts = self._joint.plan(task, request)
            task, new = await self._store.create_joint(task, request, parts)
        if new:
            log.info("task accepted", extra={"task": task.id})
            self._specs[task.id] = (task.revision, request)
            self._drive_on(task.id, task)
        return task, new

    async def _fetched(self, request: TaskRequest, git: GitSource) -> TaskRequest:
        """The same with the commit as its bundle, and what it was made of among its labels."""
        if self._git is None or self._rules.allow == "none":
            raise Forbidden("this node fetches nobody's code")
        bundle = await self._git.bundle(git)
        return request.replace(git=None, bundle=bundle, labels={"git": git.url, "commit": git.commit, **request.labels})

    async def _permit(self, request: TaskRequest) -> None:
        await self._runtime.has(request)
        if request.joint is not None:
            if request.joint.combine is not None:
                await self._runtime.has(request.joint.combine)
                await self._allow(request.joint.combine)
        elif request.node is None or request.node == self._rules.name:
            await self._allow(request)
        elif request.node not in self._rules.circle.edges() or self._link is None:
            known = ", ".join(sorted(self._rules.circle.edges()))
            raise Invalid(f"no edge is called '{request.node}' here", hint=f"edges that were heard of: {known or 'none'}")

    async def _allow(self, request: TaskSpec) -> None:
        permit(self._rules, request)
        await self._runtime.check(request)

    async def get(self, ref: str) -> Task:
        """The task that `ref` names."""
        return await self._store.get(await self._store.resolve(ref))

    async def list(self, state: TaskState | None, limit: int, after: str | None) -> tuple[Task, ...]:
        """Newest first, behind the id `after`."""
        return await self._store.list(state, limit, after)

    async def events(self, ref: str) -> Sequence[TaskEvent]:
        """Every step of a task's life."""
        return await self._store.events(await self._store.resolve(ref))

    async def describe(self, ref: str, change: TaskChange, version: int | None) -> Task:
        """The task under other words."""
        return await self._store.describe(await self._store.resolve(ref), change, version)

    async def stop(self, ref: str) -> Task:
        """Ends a task, recorded before anything ends; one that is over stays as it is."""
        id = await self._store.resolve(ref)
        try:
            task = await self._store.note(id, stopping=True)
        except Conflict:
            return await self._store.get(id)
        self.look(id, waits=task.state in _BEFORE_START)
        return task

    def look(self, id: str, *, waits: bool = True) -> None:
        """Has the loop of a task look at it again, or begin; `waits` says that it may be waiting for a place or for blobs."""
        if self._joint.drives(id):
            return  # it hears of every change by itself
        if (bell := self._bells.get(id)) is not None:
            bell.set()
        elif (run := self._runs.get(id)) is not None:
            self._stop_if_asked(id, run)
        elif waits:
            self._drive_anew(id)

    def drive(self, id: str) -> None:
        """Sees to it that a task is driven."""
        self._drive_on(id)

    def hint(self, id: str, sources: Sequence[str]) -> None:
        """Other nodes that have the blobs of a task that comes."""
        if sources:
            self._hints[id] = tuple(sources)

    def drives(self, id: str) -> bool:
        """Whether a task has a loop, which is so until it is over."""
        return id in self._driven

    def _stop_if_asked(self, id: str, run: Run) -> None:
        if self._group is not None:
            self._group.create_task(self._stop_run(id, run), name=f"stop of {id}")

    async def _stop_run(self, id: str, run: Run) -> None:
        if await self._is_to_end(id):
            run.stop(grace=STOP_GRACE)

    async def _is_to_end(self, id: str) -> bool:
        task, has_next = await self._store.now(id)
        return task.stopping or has_next

    async def revise(self, ref: str, spec: TaskSpec) -> Task:
        """Has the task do something else under the same id. What it will do is made ready first: where that fails, the present
        revision runs on. Then that is ended, and the next one begins. Its own node makes it ready; where that is another one,
        this returns when the order is sure to come there.

        Raises:
            Conflict: the task is over, about to stop, or about to be revised over there.
        """
        task = await self.get(ref)
        if task.parts or task.parent:
            raise NotBuilt("a joint task cannot be changed while it runs", hint="stop it and submit another one")
        await self._runtime.has(spec)
        if task.node != self._rules.name and self._link is not None:
            return await self._link.order_revision(task, await self._movable(spec))
        task = await self._revisions.make(task.id, spec)
        self.look(task.id, waits=task.state in _BEFORE_START)
        return task

    def prepare(self, id: str) -> None:
        """Has a revision that was ordered made ready beside what runs."""
        if self._group is not None and self._link is not None:
            self._group.create_task(self._revisions.make_ordered(id, self._link, self.look), name=f"revision of {id}")

    async def retry(self, ref: str) -> tuple[Task, bool]:
        """A new task that does what the present revision of another did; Conflict while that is under way."""
        task = await self.get(ref)
        if task.state not in TASK_LIFE.terminal:
            raise Conflict(f"task {task.id} is {task.state}", hint="stop it first, or wait until it ends")
        words: dict[str, object] = {"name": task.name, "description": task.description, "labels": task.labels}
        if task.parts:
            return await self.submit((await self._store.request(task.id)).replace(**words, id=None))
        spec = await self._store.spec(task.id)
        return await self.submit(TaskRequest.model_validate({**dict(spec), **words}))

    async def parts(self, ref: str, round: int | None = None) -> Sequence[Task]:
        """The parts of a joint task in its present round, or in another."""
        task = await self.get(ref)
        return await self._store.parts(task.id, task.round if round is None else round) if task.parts else ()

    def _log(self, task: Task, attempt: int | None) -> Path:
        number = task.attempt if attempt is None else attempt
        return self._runtime.output(task.id, task.revision, number)

    async def log_part(self, ref: str, offset: int, *, lines: int | None = None, attempt: int | None = None) -> LogPart:
        """Bytes of a log behind `offset`, or its last `lines` lines; of the newest attempt unless another is named."""
        task = await self.get(ref)
        if task.node != self._rules.name and self._link is not None:
            number = task.attempt if attempt is None else attempt
            return await self._link.log(task, number, offset, lines=lines)
        path = self._log(task, attempt)
        return task_logs.read(path, task_logs.tail(path, lines) if lines is not None else offset)

    async def log_grown(self, id: str, offset: int) -> Task:
        """The task, once the log of its newest attempt is longer than `offset` or the task is over."""
        task = await self._store.get(id)
        if task.node != self._rules.name and self._link is not None:
            if task.state not in TASK_LIFE.terminal:
                if task.attempt:
                    await self._link.log(task, task.attempt, offset, wait=LOG_WAIT_S)
                await self._clock.sleep(NOT_YET_S)  # where it is over there, its end is on the way here
                task = await self._store.get(id)
            return task
        driven = self._driven.get(id)
        if driven is not None and task.state not in TASK_LIFE.terminal:
            path = self._log(task, None)
            over = self._overs[id]
            await task_logs.grown(
                self._clock, path, offset, over, lambda: driven.done() or self._attempts.get(id, task.attempt) != task.attempt
            )
            task = await self._store.get(id)
        return task

    # The loops

    def _drive_on(self, id: str, known: Task | None = None) -> None:
        if self._group is None or id in self._driven:
            return
        self._overs.setdefault(id, asyncio.Event())
        task = self._group.create_task(self._drive(id, known), name=f"task {id}")
        self._driven[id] = task
        task.add_done_callback(lambda done: self._forget(id, done))

    def _forget(self, id: str, done: asyncio.Task[None]) -> None:
        if self._driven.get(id) is done:
            del self._driven[id]
            self._bells.pop(id, None)
            self._ordered.pop(id, None)
            self._attempts.pop(id, None)
            self._overs.pop(id).set()
            self._specs.pop(id, None)
            self._hints.pop(id, None)

    def _drive_anew(self, id: str) -> None:
        """Has a loop that waits look again."""
        if (driven := self._driven.pop(id, None)) is not None:
            driven.cancel()
        self._drive_on(id)

    async def _drive(self, id: str, known: Task | None) -> None:
        while True:
            try:
                fresh = known is not None
                task, known = known or await self._store.get(id), None
                if task.state in TASK_LIFE.terminal:
                    await self._gather(task)
                    return
                await self._step(task, fresh=fresh)
            except Conflict:
                continue  # somebody was faster: look again
            except NotFound:
                return
            except Rejected as error:
                await self._advance(task, Step("fail", f"{Failure.REFUSED}: {error.message}"))
            except Unavailable as error:
                log.warning("a task waits", extra={"task": id, "reason": error.message})
                with suppress(EcnodeError):  # the store may be what is unavailable
                    await self._explain(task, error.message)
                await self._clock.sleep(AGAIN_S)

    async def _explain(self, task: Task, reason: str) -> None:
        """Says why a task waits, here and where it came from."""
        if reason[:REASON_MOST] != task.reason:
            after = await self._store.note(task.id, reason=reason[:REASON_MOST])
            if self._is_foreign(task):
                await self._report("wait", after)

    def _is_foreign(self, task: Task) -> bool:
        return task.origin != self._rules.name and self._link is not None

    async def _report(self, event: str, task: Task) -> None:
        if self._link is not None:
            await self._link.report(event, task)

    async def _advance(self, task: Task, *steps: Step, attempt: int | None = None) -> Task:
        """Takes steps of a task; one that another node has accepted is reported there.

        The end is reported before it is kept: what cuts in between makes the same end again from the same facts, where an end
        that was kept first might never be told.
        """
        if not self._is_foreign(task):
            return await self._store.advance(task.id, *steps, attempt=attempt)
        now = self._clock.wall()
        after = reduce(lambda before, step: after_step(before, step, now), steps, await self._store.get(task.id))
        if after.state in TASK_LIFE.terminal:
            await self._report(steps[-1].event, after)
            return await self._store.advance(task.id, *steps, attempt=attempt)
        after = await self._store.advance(task.id, *steps, attempt=attempt)
        await self._report(steps[-1].event, after)
        return after

    async def _gather(self, task: Task) -> None:
        """Fetches what a task has made on another node."""
        if task.node == self._rules.name:
            return
        for artifact in task.artifacts:
            try:
                await self._runtime.fetch(artifact.blob, task.node)
            except EcnodeError as error:
                log.warning(
                    "an artifact stays at its node", extra={"task": task.id, "node": task.node, "reason": error.message}
                )

    async def _tend(self, task: Task, link: TaskLink) -> None:
        """Has another node run the task, and waits for what it reports."""
        bell = self._bells.setdefault(task.id, asyncio.Event())
        bell.clear()
        ordered = self._ordered.setdefault(task.id, set())
        if "start" not in ordered:
            sources = await self._joint.turn(task)
            await link.order(task, await self._movable(await self._store.spec(task.id)), sources)
            ordered.add("start")
        if task.parent and not task.held and "go" not in ordered:
            await link.order_go(task)
            ordered.add("go")
        if task.stopping and "stop" not in ordered:
            await link.order_stop(task)
            ordered.add("stop")
            if task.held:  # nothing is to be waited for: without a go it never starts
                await self._store.advance(task.id, Step("stop", "stopped before it started"))
                return
        known = await self._store.get(task.id)
        if (known.state, known.stopping, known.held) == (task.state, task.stopping, task.held):
            await self._hear(known, bell)

    async def _hear(self, task: Task, bell: asyncio.Event) -> None:
        """Waits for news of a task on another node; one that has not begun says meanwhile whether that node is there."""
        while not bell.is_set():
            silent = self._rules.circle.is_silent(task.node)
            reason = f"{task.node} is silent, the task begins when it is back" if silent else f"sent to {task.node}"
            if task.state is TaskState.CREATED and not task.attempt and task.reason != reason:
                task = await self._store.note(task.id, reason=reason)
            with suppress(TimeoutError):
                async with self._clock.timeout(LOOK_S):
                    await bell.wait()

    async def _movable(self, spec: TaskSpec) -> TaskSpec:
        """The same, with its script as a blob: a message carries less than a script may be."""
        if spec.script is None:
            return spec
        return spec.replace(script=None, bundle=await self._runtime.put_script(spec.script))

    async def _step(self, task: Task, *, fresh: bool) -> None:
        if task.node != self._rules.name and self._link is not None:
            await self._tend(task, self._link)
            return
        if task.parts:
            await self._joint.drive(task)
            return
        if task.state in _BEFORE_START and not fresh:
            task, has_next = await self._store.now(task.id)
            if task.stopping or has_next:
                await self._give_up(task)
                return
        if task.state in {TaskState.CREATED, TaskState.STAGING}:
            await self._stage(task)
        elif task.state is TaskState.READY:
            await self._wait_for_a_place(task)
        else:
            await self._follow(task)

    async def _stage(self, task: Task) -> None:
        spec = await self._spec(task)
        first = task.state is TaskState.CREATED
        number = task.attempt + 1 if first else task.attempt
        quick = first and spec.bundle is None and not spec.data
        begin = Step("stage", changes={"attempt": number})
        if first and not quick:
            await self._advance(task, begin)
        try:
            if self._is_foreign(task):
                await self._allow(spec)
            sources = (*self._hints.get(task.id, ()), task.origin) if self._is_foreign(task) else ()
            await self._runtime.stage(Attempt(task.id, task.revision, number, spec, sources))
        except Rejected as error:
            steps = (begin,) if quick else ()
            await self._advance(task, *steps, Step("fail", f"{Failure.STAGING}: {error.message}"))
            return
        steps = (*((begin,) if quick else ()), Step("prepare"))
        if self._places.locked():
            await self._advance(task, *steps)
            return
        async with self._places:
            if task.held:
                await self._advance(task, *steps)
                if not await self._is_released(task.id):
                    return
                steps = ()
            await self._launch(task, Attempt(task.id, task.revision, number, spec), *steps, Step("start"))

    async def _is_released(self, id: str) -> bool:
        """Waits, in the place that it has, until a part may start; False where it is to stop instead."""
        bell = self._bells[id] = asyncio.Event()
        try:
            while True:
                bell.clear()
                task = await self._store.get(id)
                if task.stopping or not task.held:
                    return not task.stopping
                await bell.wait()
        finally:
            del self._bells[id]

    async def _launch(self, task: Task, attempt: Attempt, *steps: Step) -> None:
        """Starts the program and keeps all steps to it as one: that it runs once is held by its folder's claim, by no row."""
        await self._launched(task, attempt, await self._runtime.start(attempt), *steps)

    async def _launched(self, task: Task, attempt: Attempt, run: Run, *steps: Step) -> None:
        level = (await self._runtime.ladder()).level
        self._attempts[task.id] = attempt.number
        begun = Step("run", changes={"started_at": self._clock.wall(), "level": level})
        task = await self._advance(task, *steps, begun)
        await self._end(task, attempt, await self._until_over(task, run))

    async def _give_up(self, task: Task) -> None:
        """Ends a task before its start, or takes up its next revision. A start that nobody recorded is recorded first."""
        number = task.attempt + 1 if task.state is TaskState.CREATED else task.attempt
        attempt = Attempt(task.id, task.revision, number, await self._spec(task))
        run = self._runtime.forbid(attempt)
        if run is not None:
            first, *others = _BEFORE_START[task.state]
            changes: dict[str, object] = {"attempt": number} if first == "stage" else {}
            await self._launched(task, attempt, run, Step(first, changes=changes), *map(Step, others))
        elif task.stopping:
            await self._advance(task, Step("stop", "stopped before it started"))
            await self._runtime.clear(task.id, task.revision, number)
        else:
            await self._take_next(task)

    async def _take_next(self, task: Task) -> None:
        after = await self._store.take_next(task.id)
        if self._is_foreign(task):
            await self._report("revise", after)  # cut before it: the next step tells the same

    async def _spec(self, task: Task) -> TaskSpec:
        """What the task's present revision does, which never changes."""
        revision, spec = self._specs.get(task.id, (0, None))
        if spec is None or revision != task.revision:
            spec = await self._store.spec(task.id)
            self._specs[task.id] = (task.revision, spec)
        return spec

    async def _wait_for_a_place(self, task: Task) -> None:
        if self._places.locked():
            await self._explain(task, f"waits for a place: {self._rules.at_once} tasks run on {self._rules.name}")
        async with self._places:
            if task.held and not await self._is_released(task.id):
                return
            attempt = Attempt(task.id, task.revision, task.attempt, await self._spec(task))
            await self._launch(task, attempt, Step("start"))

    async def _follow(self, task: Task) -> None:
        """What became meanwhile of a program that was started, or was about to be, to its end."""
        attempt = Attempt(task.id, task.revision, task.attempt, await self._spec(task))
        self._attempts[task.id] = task.attempt
        if task.state is TaskState.RUNNING:
            run = self._runtime.find(attempt)
        elif task.stopping:
            run = self._runtime.forbid(attempt)
        else:
            run = await self._runtime.start(attempt)
        if run is None:
            await self._end(task, attempt, Facts(lost=task.state is TaskState.RUNNING, stopped=task.stopping))
        elif task.state is TaskState.RUNNING:
            await self._end(task, attempt, await self._until_over(task, run))
        else:
            await self._launched(task, attempt, run)

    async def _until_over(self, task: Task, run: Run) -> Facts:
        self._runs[task.id] = run
        try:
            if await self._is_to_end(task.id):
                run.stop(grace=STOP_GRACE)
            return await run.wait()
        finally:
            del self._runs[task.id]

    async def _end(self, task: Task, attempt: Attempt, facts: Facts) -> None:
        artifacts = await self._runtime.artifacts(attempt)
        task, has_next = await self._store.now(task.id)
        if has_next and not task.stopping:
            await self._take_next(task)
            await self._runtime.clear(task.id, attempt.revision, attempt.number)
            return
        notes = [Step(NOTE, line) for line in await self._runtime.notes(attempt, NOTES_KEPT)]
        step = _last_step(task, attempt.spec, facts)
        if step.event == "again":
            ended = await self._advance(task, *notes, step, attempt=attempt.number)
        else:
            figures: dict[str, object] = {
                "code": facts.code,
                "signal": facts.signal,
                "limit": facts.limit,
                "cpu_s": facts.cpu_s,
                "memory_bytes": facts.memory_bytes,
                "artifacts": artifacts,
            }
            ended = await self._advance(task, *notes, Step(step.event, step.reason, figures), attempt=attempt.number)
            self._overs[task.id].set()  # who follows it need not wait until its folder is cleared
        log.info(
            "task attempt over",
            extra={"task": task.id, "attempt": attempt.number, "state": ended.state, "reason": ended.reason},
        )
        await self._runtime.clear(task.id, attempt.revision, attempt.number)


def _last_step(task: Task, spec: TaskSpec, facts: Facts) -> Step:
    """What the end of an attempt means for its task."""
    if task.stopping and (facts.stopped or facts.lost):
        return Step("stop", "stopped")
    if facts.good and task.state is TaskState.RUNNING:
        return Step("finish")
    reason = _reason(facts)
    may_repeat = spec.retry.safe or not facts.lost
    if may_repeat and task.attempt < spec.retry.attempts and not task.stopping:
        return Step("again", f"attempt {task.attempt} of {spec.retry.attempts}: {reason}")
    return Step("fail", reason)


def _reason(facts: Facts) -> str:
    if facts.lost:
        return f"{Failure.LOST}: nobody saw how it ended"
    if facts.error:
        return f"{Failure.NOT_STARTED}: {facts.error}"
    if facts.limit is not None:
        return f"{Failure.LIMIT}: {facts.limit}"
    if facts.signal is not None:
        return f"{Failure.SIGNAL}: {facts.signal}"
    return f"{Failure.EXIT}: {facts.code}"
